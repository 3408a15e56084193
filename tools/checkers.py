"""The programs that say what is wrong with an example: three and a half minutes on two cores, once a machine.

python -m tests.manifests.programs
"""

from pathlib import Path

from tests.cluster import binaries
from tests.tools import go

CHECKERS = Path(__file__).resolve().parent / "checkers"


def checker(name: str) -> Path:
    """The program of `checkers/<name>`: it reads objects on stdin and prints what is wrong with them."""
    return go.program(CHECKERS / name)


if __name__ == "__main__":
    for name in sorted(path.name for path in CHECKERS.iterdir()):
        print(checker(name))
    print(binaries.versitygw())
