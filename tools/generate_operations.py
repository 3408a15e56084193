"""Write the tables of `docs/operations.md` that follow from the code, or check that they are fresh.

    python -m tools.generate_operations [--check]

The page is written by hand. Between its marks are the errors with which a run or a command ends
(`job/errors.py`, `job/launcher`) and the advice of `graft watch` (`job/launcher/reasons.py`).
"""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator

from job import errors, launcher
from job.errors import JobError
from job.launcher import reasons
from tools.generated import write_or_check
from tools.paths import ROOT

PAGE = ROOT / "docs" / "operations.md"


def main() -> None:
    """Write the page, or exit with a message when it is stale."""
    write_or_check([(PAGE, fill(PAGE.read_text()))], "job/", __doc__)


def fill(page: str) -> str:
    """The page with fresh tables between its marks."""
    for name, table in (("errors", render_errors()), ("reasons", render_reasons())):
        begin, end = f"<!-- {name}: generated -->", f"<!-- {name}: end -->"
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(end)
        page = f"{before}{begin}\n\n{table}\n\n{end}{after}"
    return page


def render_errors() -> str:
    """One row for each class of error: its kind in the result, its exit code and its meaning."""
    rows = ["| `error.kind` | exit code | what it means |", "|---|---|---|"]
    meanings = _read_tree()
    for error in sorted(_iterate_errors(), key=lambda kind: (kind.exit_code, kind.__name__)):
        meaning = meanings.get(error.__name__) or inspect.getdoc(error) or ""
        sentence = meaning.partition("\n")[0].rstrip(".")
        rows.append(f"| `{_name_kind(error)}` | {error.exit_code} | {sentence} |")
    return "\n".join(rows)


def render_reasons() -> str:
    """One row for each word of Kubernetes that has advice of ours."""
    rows = ["| word | what to do |", "|---|---|"]
    rows += [f"| `{word}` | {reasons.CURES[word]} |" for word in sorted(reasons.CURES)]
    return "\n".join(rows)


def _iterate_errors() -> Iterator[type[JobError]]:
    """The classes of `job/errors.py` and of the launcher, each once."""
    for module in pkgutil.iter_modules(launcher.__path__):
        importlib.import_module(f"{launcher.__name__}.{module.name}")
    found: list[type[JobError]] = [JobError]
    for kind in found:
        found += [child for child in kind.__subclasses__() if child not in found]
    ours = (errors.__name__, launcher.__name__)
    yield from (kind for kind in found if kind.__module__.startswith(ours))


def _read_tree() -> dict[str, str]:
    """The meanings in the picture at the top of `job/errors.py`, by class."""
    return dict(re.findall(r"(\w+) +\d+ +(.+)$", errors.__doc__ or "", re.MULTILINE))


def _name_kind(error: type[JobError]) -> str:
    return error("").kind


if __name__ == "__main__":
    main()
