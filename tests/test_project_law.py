"""The architecture is a law: who imports whom, what is imported late, how long a thing may be."""

import ast
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted((ROOT / "job").rglob("*.py"))

LONGEST_MODULE = 320
LONGEST_FUNCTION = 35

# Whoever runs `graft check`, `--help`, `verify` or mistypes a setting never pays seconds for
# TensorFlow.
IMPORTED_WITHOUT_TENSORFLOW = (
    "errors",
    "result",
    "catalogue",
    "settings",
    "workers",
    "telemetry",
    "storage",
    "identity",
    "dataset",
    "release",
    "weights",
    "publish",
    "pipeline",
    "__main__",
)
NAME_THE_ROOM_THAT_BRINGS_TENSORFLOW = """
import importlib, sys
for room in sys.argv[1:]:
    importlib.import_module("job." + room)
    heavy = {"tensorflow", "keras"} & set(sys.modules)
    if heavy:
        sys.exit(f"job.{room} imports {heavy}")
"""


def test_a_command_that_needs_no_tensorflow_does_not_import_it() -> None:
    command = [
        sys.executable,
        "-c",
        NAME_THE_ROOM_THAT_BRINGS_TENSORFLOW,
        *IMPORTED_WITHOUT_TENSORFLOW,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_module_is_longer_than_what_one_reads_in_a_sitting() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in MODULES}
    assert {path: length for path, length in lengths.items() if length > LONGEST_MODULE} == {}


def test_no_function_is_longer_than_a_screen() -> None:
    found = {
        f"{path.relative_to(ROOT)}:{name}": length
        for path in MODULES
        for name, length in _functions(path)
    }
    assert {name: length for name, length in found.items() if length > LONGEST_FUNCTION} == {}


def test_no_room_is_a_drawer_for_odds_and_ends() -> None:
    drawers = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}
    assert [
        path for path in MODULES if drawers & set(path.relative_to(ROOT).with_suffix("").parts)
    ] == []


def _functions(path: Path) -> Iterator[tuple[str, int]]:
    """Each function's name and its number of lines without the docstring."""
    with tokenize.open(path) as source:
        tree = ast.parse(source.read())
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, _lines(node) - (_lines(node.body[0]) if ast.get_docstring(node) else 0)


def _lines(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1
