"""Each gate of `make check` stops its fault, planted in a copy of the tree, one at a time."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tools.paths import ROOT

TREE = ("job", "tests", "tools", "docs", "requirements", "Makefile", "pyproject.toml")
# The copy borrows this checkout's .venv, which is therefore taken as finished whatever the copy's
# dates say.
FINISHED = ("--old-file=.venv/locked", "--old-file=.venv/ready")
CATALOGUE = "--old-file=.venv/catalogue"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of everything that the gates look at, free to be spoilt."""
    copy = tmp_path / "tree"
    copy.mkdir()
    (copy / ".venv").symlink_to(ROOT / ".venv")
    for name in TREE:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(ROOT / name, copy / name)
    return copy


def gate(tree: Path, name: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run one gate as `make check` does, outside the outer make and this process's coverage."""
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("MAKE", "MFLAGS", "COV"))
    }
    command = ["make", *FINISHED, *options, name]
    return subprocess.run(
        command,
        cwd=tree,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def append(file: Path, line: str) -> None:
    """Plant a line at the end of a file."""
    with file.open("a") as source:
        source.write(f"{line}\n")


def test_the_untouched_tree_passes_the_quick_gates(tree: Path) -> None:
    for name in ("format", "lint", "imports", "fresh"):
        done = gate(tree, name, CATALOGUE)
        assert done.returncode == 0, done.stdout


def test_a_badly_formatted_line_is_stopped(tree: Path) -> None:
    append(tree / "job" / "errors.py", "x  =  1")
    done = gate(tree, "format")
    assert done.returncode
    assert "job/errors.py" in done.stdout


@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        ("import json", "F401"),
        ("def f(x=[]): return x", "B006"),
        ("assert (1, 'always true')", "F631"),
        ("def Shout(): ...", "N802"),
        ("def f(a, b, c, d, e, f): ...", "PLR0913"),
        ("def f():\n" + "".join(f"    x{i} = {i}\n" for i in range(41)), "PLR0915"),
    ],
)
def test_a_fault_that_the_linter_knows_is_stopped(tree: Path, fault: str, rule: str) -> None:
    (tree / "job" / "planted.py").write_text(f'"""Planted."""\n\n{fault}\n')
    done = gate(tree, "lint")
    assert done.returncode
    assert rule in done.stdout


@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        ("size: int = 'large'", "assignment"),
        ("def untyped(x): return x", "no-untyped-def"),
        ("from job.errors import JobError\nJobError(7)", "arg-type"),
    ],
)
def test_a_type_error_is_stopped(tree: Path, fault: str, rule: str) -> None:
    # A module in each folder is enough to check the gate, and quick.
    for name in ("job", "tests", "tools"):
        shutil.rmtree(tree / name)
        (tree / name).mkdir()
        (tree / name / "nothing.py").touch()
    shutil.copy2(ROOT / "job" / "errors.py", tree / "job")
    assert gate(tree, "types").returncode == 0
    (tree / "job" / "planted.py").write_text(f"{fault}\n")
    done = gate(tree, "types")
    assert done.returncode
    assert f"[{rule}]" in done.stdout


@pytest.mark.parametrize(
    ("file", "fault", "contract"),
    [
        (
            "job/errors.py",
            "import job.pipeline",
            "A room imports only rooms of lower floors, and every room has its floor",
        ),
        (
            "job/odds_and_ends.py",
            "import json",
            "A room imports only rooms of lower floors, and every room has its floor",
        ),
        (
            "job/audit/examples.py",
            "def late():\n    import job.audit.census",
            "No modules import each other in a circle, late imports included",
        ),
        (
            "job/evaluation/planted.py",
            "import job.batches",  # on the same floor
            "A room imports only rooms of lower floors, and every room has its floor",
        ),
        ("job/dataset/planted.py", "import boto3", "Only storage speaks to S3"),
        (
            "job/publish/planted.py",
            "from botocore.exceptions import ClientError",
            "Only storage speaks to S3",
        ),
        (
            "job/training/planted.py",
            "import prometheus_client",
            "Only telemetry speaks to Prometheus",
        ),
        ("job/errors.py", "import tools.paths", "The job needs neither tools nor tests"),
        (
            "job/workers/planted.py",
            "from kubernetes import client",
            "Only launcher speaks to Kubernetes",
        ),
    ],
)
def test_a_forbidden_import_is_stopped(tree: Path, file: str, fault: str, contract: str) -> None:
    append(tree / file, fault)
    done = gate(tree, "imports")
    assert done.returncode
    assert f"{contract} BROKEN" in done.stdout


@pytest.mark.parametrize("name", ["settings.md", "settings.schema.json"])
def test_a_stale_reference_of_the_settings_is_stopped(tree: Path, name: str) -> None:
    append(tree / "docs" / name, "an edit by hand")
    done = gate(tree, "fresh", CATALOGUE)
    assert done.returncode
    assert f"docs/{name} is not what job/settings says" in done.stdout


def test_a_changed_sentence_of_a_setting_makes_its_reference_stale(tree: Path) -> None:
    settings = tree / "job" / "settings" / "groups.py"
    settings.write_text(
        settings.read_text().replace("Where the labelled images are.", "Where the pictures are.")
    )
    done = gate(tree, "fresh", CATALOGUE)
    assert done.returncode
    assert "Run `make generate`" in done.stdout


def test_a_stale_lock_is_stopped(tree: Path) -> None:
    project = tree / "pyproject.toml"
    project.write_text(project.read_text().replace('  "boto3",', '  "boto3",\n  "requests",'))
    done = gate(tree, "fresh", CATALOGUE)
    assert done.returncode
    assert "Run `make lock`" in done.stdout


@pytest.mark.slow
def test_a_stale_catalogue_is_stopped(tree: Path) -> None:
    catalogue = tree / "job" / "catalogue.json"
    catalogue.write_text(catalogue.read_text().replace("224", "225", 1))
    assert gate(tree, "fresh").returncode
