"""The pages are right where a machine can check: verbs, settings, links, rooms, recipe, prose."""

import argparse
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from job import __main__ as command
from job import errors, pipeline, result, settings
from tools import generate_operations
from tools.measure_prose import measure_page
from tools.paths import ROOT

README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
LECTURE = (ROOT / "docs" / "guides" / "lecture.md").read_text()
RESULT = (ROOT / "docs" / "reference" / "result.md").read_text()
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
METRICS = (ROOT / "docs" / "reference" / "metrics.md").read_text()
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

# Written by hand and by the rules of docs/style.md. Decisions and figures are records.
PROSE = [
    page
    for page in PAGES
    if page.parent.name != "decisions" and page.name not in ("figures.md", "settings.md")
]
SEMICOLONS_PER_100_SENTENCES = 5

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
    """The `export` lines of the lecture's recipe."""
    return dict(re.findall(r"^export (\w+)=(\S+)$", LECTURE, re.MULTILINE))


def _layers() -> list[set[str]]:
    """The rooms on each floor, from the top, as import-linter holds them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (contract,) = (
        each for each in project["tool"]["importlinter"]["contracts"] if each["type"] == "layers"
    )
    return [set(re.findall(r"\w+", layer)) for layer in contract["layers"]]


def _picture() -> tuple[list[set[str]], dict[str, list[str]]]:
    """The picture of the floors: the rooms on each floor, and those in each wing, from the top."""
    drawing = ARCHITECTURE.split("## The floors", 1)[1].split("```", 2)[1]
    _, heading, *rows = drawing.rstrip().splitlines()
    columns = [
        (column.start(), column.group())
        for column in re.finditer(r"\S+(?: \S+)*", heading)
        if column.group() != "floor"
    ]
    floors: list[set[str]] = []
    wings: dict[str, list[str]] = {wing: [] for _, wing in columns}
    for row in rows:
        if re.match(r" *\d", row):
            floors.append(set())
        for room in re.finditer(r"[a-z_]+", row):
            floors[-1].add(room.group())
            wing = [name for start, name in columns if start <= room.start()][-1]
            wings[wing].append(room.group())
    return floors, wings


def _wings() -> dict[str, list[str]]:
    """The rooms that have a paragraph, in their order, below the heading of each wing."""
    sections = re.findall(r"^## (.+)\n((?:(?!^## ).*\n)*)", ARCHITECTURE, re.MULTILINE)
    paragraphs = {
        heading: re.findall(r"^\*\*`(\w+)`\*\* ", text, re.MULTILINE) for heading, text in sections
    }
    return {heading: rooms for heading, rooms in paragraphs.items() if rooms}


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
    text = page.read_text()
    links = re.findall(r"\]\(\s*(?!https?://)([^)\s]+)\)", text)
    pictures = re.findall(r'\bsrc(?:set)?="(?!https?://)([^"]+)"', text)
    for target in links + pictures:
        path, _, anchor = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), target
        headings = re.findall(r"^#+ (.+)$", linked.read_text(), re.MULTILINE) if anchor else []
        assert not anchor or anchor in map(_heading, headings), target


def test_every_guide_and_reference_page_is_reached_from_the_readme() -> None:
    pages = [*(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "guides").glob("*.md")]
    pages += (ROOT / "docs" / "reference").glob("*.md")
    linked = {ROOT / target for target in re.findall(r"\]\(([\w/.-]+\.md)\)", README)}
    assert set(pages) <= linked


def test_every_file_that_a_page_names_exists() -> None:
    for page in PAGES:
        names = re.findall(r"`((?:job|tests|tools|docs|requirements)/[\w/.-]+)`", page.read_text())
        for name in names:
            assert (ROOT / name).exists(), f"{page.name}: {name}"


def test_the_picture_of_the_floors_shows_the_layers_that_are_checked() -> None:
    floors, _ = _picture()
    assert floors == _layers()


def test_every_room_is_in_the_picture() -> None:
    floors, _ = _picture()
    assert set(_rooms()) <= set().union(*floors)


def test_every_room_has_its_paragraph_in_its_wing_from_the_top_floor_down() -> None:
    _, wings = _picture()
    assert _wings() == wings


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


@pytest.mark.parametrize("page", [README, RESULT], ids=["README.md", "result.md"])
def test_a_page_explains_every_exit_code(page: str) -> None:
    codes = {
        result.BELOW_GATE,
        0,
        errors.JobError.exit_code,
        *(kind.exit_code for kind in _descendants(errors.JobError)),
    }
    assert codes == {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}


def test_the_operators_page_explains_every_phase_and_every_exit_code_of_a_run() -> None:
    sections = dict(re.findall(r"^## (.+)\n((?:(?!^## ).*\n)*)", OPERATIONS, re.MULTILINE))
    phases, codes = sections["Phases"], sections["Exit codes"]
    assert tuple(re.findall(r"^\| ([a-z]+) \|", phases, re.MULTILINE)[1:]) == pipeline.PHASES
    explained = {int(code) for code in re.findall(r"^\| (\d+) \|", codes, re.MULTILINE)}
    assert explained >= {0, result.BELOW_GATE, 137, 143} | {
        kind.exit_code for kind in _descendants(errors.JobError)
    }


def test_the_tables_of_the_operators_page_are_what_the_code_says() -> None:
    assert generate_operations.fill(OPERATIONS) == OPERATIONS
    assert set(re.findall(r"^\| `(\w+)` \| \d+ \|", OPERATIONS, re.MULTILINE)) >= {
        "settings",
        "storenotfound",
        "workerlost",
        "workerstopped",
    }


def test_every_field_of_the_result_is_explained() -> None:
    written = result.Result(
        status="unchanged",
        reason="another was chosen",
        new_images=1,
        input_wait={"training": 0.1},
        forecast_ratio={"total": 1.2},
        classes=5,
    ).as_dict()
    assert set(written) == set(re.findall(r"^\| `(\w+)` \|", RESULT, re.MULTILINE))


def test_every_metric_is_explained_and_no_other() -> None:
    source = (ROOT / "job" / "telemetry" / "metrics.py").read_text()
    named = set(re.findall(r'"(graft_\w+)"', source))
    # Prometheus adds these endings to the names of counters and of the info metric.
    explained = set(re.findall(r"`(graft_\w+?)(?:_total)?`", METRICS)) - {"graft_info"}
    assert explained == named


@pytest.mark.parametrize("page", PROSE, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_is_written_in_sentences_without_semicolons(page: Path) -> None:
    figures = measure_page(page.read_text())
    assert figures.semicolons_per_100 <= SEMICOLONS_PER_100_SENTENCES
    assert figures.archaic == ()


@pytest.mark.parametrize(
    "turn", ["It is mended.", "Whoever reads it", "A file lies there.", "This is no JSON."]
)
def test_an_archaic_turn_is_found(turn: str) -> None:
    assert len(measure_page(turn).archaic) == 1


def test_only_prose_is_measured() -> None:
    figures = measure_page("One; two. `a; b`\n\n```sh\nc; d.\n```\n\n[Three](a;b)!\n")
    assert (figures.sentences, figures.semicolons, figures.words) == (2, 1, 4)


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
