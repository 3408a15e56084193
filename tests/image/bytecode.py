"""Print the modules in given folders whose byte code this Python would not take.

The image's own Python runs it.
"""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

UNCHECKED_HASH = (1).to_bytes(
    4, "little"
)  # PEP 552: the hash is there, and the source's date is never asked for


def unusable(folder: Path) -> Iterator[Path]:
    """The sources without byte code that is theirs and that this Python reads."""
    for source in folder.rglob("*.py"):
        content = source.read_bytes()
        expected = (
            importlib.util.MAGIC_NUMBER + UNCHECKED_HASH + importlib.util.source_hash(content)
        )
        compiled = Path(importlib.util.cache_from_source(str(source)))
        fits = compiled.is_file() and compiled.read_bytes()[:16] == expected
        if not fits and _is_python(content):
            yield source


def _is_python(content: bytes) -> bool:
    """Some packages ship templates, and samples of other versions, as .py."""
    try:
        compile(content, "", "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return False
    return True


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(*unusable(Path(name)), sep="\n", end="")
