"""The pages are right where a machine can check: verbs, settings, targets, links, rooms, recipe."""

import argparse
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from job import __main__ as command
from job import errors, result, settings
from tools.paths import ROOT

README = (ROOT / "README.md").read_text()
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

of_each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def _verbs() -> set[str]:
    (verbs,) = (
        each
        for each in command.build_parser()._actions
        if isinstance(each, argparse._SubParsersAction)
    )
    return set(verbs.choices)


def _targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def _rooms() -> Iterator[str]:
    for path in (ROOT / "job").iterdir():
        is_module = path.suffix == ".py" and path.name != "__init__.py"
        if is_module or (path / "__init__.py").exists():
            yield path.stem


def _heading(text: str) -> str:
    """The anchor that a heading gets where these pages are read."""
    return re.sub(r"[^\w -]", "", text.strip().lower()).replace(" ", "-")


def _recipe() -> dict[str, str]:
    """The `export` lines below the heading of the lecture's own recipe."""
    section = README.split("## The lecture's own recipe", 1)[1].split("\n## ", 1)[0]
    return dict(re.findall(r"^export (\w+)=(\S+)$", section, re.MULTILINE))


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> settings.Settings:
    for name, value in _recipe().items():
        monkeypatch.setenv(name, value)
    return settings.load()


def test_the_readme_shows_every_verb_and_no_other() -> None:
    assert _verbs() == set(
        re.findall(r"\bgraft ([a-z]+)\b(?= s3://| RELEASE| *#|`|$)", README, re.MULTILINE)
    )


@of_each_page
def test_every_setting_that_a_page_names_exists(page: Path) -> None:
    known = set(settings.VARIABLES)
    assert (
        set(re.findall(r"\bGRAFT_(?!TEST_)[A-Z0-9_]*[A-Z0-9]", page.read_text())) <= known
    )  # TEST_: the tests' own


@of_each_page
def test_every_make_target_that_a_page_names_exists(page: Path) -> None:
    named = re.findall(r"`make ([a-z-]+)", page.read_text()) + re.findall(
        r"&& make ([a-z-]+)", page.read_text()
    )
    assert set(named) <= _targets()


@of_each_page
def test_every_link_inside_the_repository_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?://)([^)\s]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), target
        headings = re.findall(r"^#+ (.+)$", linked.read_text(), re.MULTILINE) if anchor else []
        assert not anchor or anchor in map(_heading, headings), target


def test_every_file_that_the_pages_about_the_code_name_exists() -> None:
    for page in PAGES:
        for name in re.findall(r"`((?:job|tests|docs|requirements)/[\w/.-]+)`", page.read_text()):
            assert (ROOT / name).exists(), f"{page.name}: {name}"


def test_every_room_has_its_paragraph_in_the_order_of_the_house() -> None:
    told = re.findall(
        r"^\*\*`(\w+)`\*\* ", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE
    )
    law = re.search(
        r"^layers = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.MULTILINE | re.DOTALL
    )
    assert law
    assert told == re.findall(r"\w+", law[1])
    assert set(_rooms()) <= set(told)


def test_every_decision_is_in_the_index_by_its_own_title() -> None:
    records = sorted((ROOT / "docs" / "decisions").glob("0*.md"))
    index = re.findall(
        r"^- \[(\d{4})\]\((\S+)\) (.+)$",
        (ROOT / "docs" / "decisions" / "README.md").read_text(),
        re.M,
    )
    titles = [record.read_text().splitlines()[0] for record in records]
    assert index == [
        (record.name[:4], record.name, title.partition(". ")[2])
        for record, title in zip(records, titles, strict=True)
    ]
    assert [int(title.removeprefix("# ").partition(".")[0]) for title in titles] == [
        *range(1, len(records) + 1)
    ]


def test_every_dependency_has_its_reason_in_the_first_record() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    record = (ROOT / "docs" / "decisions" / "0001-dependencies.md").read_text()
    names = {re.split(r"[\[<>=]", entry)[0] for entry in declared}
    assert {
        name for name in names if not re.search(rf"\b{name.removeprefix('pytest-')}\b", record)
    } == set()


def test_the_readme_explains_every_exit_code() -> None:
    codes = {
        result.BELOW_GATE,
        0,
        errors.JobError.exit_code,
        *(kind.exit_code for kind in _descendants(errors.JobError)),
    }
    assert codes == {int(code) for code in re.findall(r"^\| (\d+) \|", README, re.MULTILINE)}


def _descendants(kind: Any) -> Iterator[Any]:
    for child in kind.__subclasses__():
        yield child
        yield from _descendants(child)


def test_the_lectures_recipe_is_a_set_of_valid_settings(recipe: settings.Settings) -> None:
    assert {name: str(value) for name, value in _recipe().items()} == {
        name: _written(value) for name, value in recipe.values().items() if name in _recipe()
    }


def test_the_lectures_recipe_asks_for_what_the_lecture_shows(recipe: settings.Settings) -> None:
    assert (recipe.backbone.name, recipe.image_size, recipe.backbone.weights) == (
        "VGG16",
        240,
        "imagenet",
    )
    assert (recipe.head.pooling, recipe.head.units, recipe.head.dropout) == ("flatten", 64, 0.25)
    assert (recipe.transfer.mode, recipe.transfer.probe) == ("all", False)
    assert (recipe.training.schedule, recipe.training.learning_rate) == ("constant", 1e-3)


def _written(value: Any) -> str:
    return (
        str(value).lower()
        if isinstance(value, bool)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )
