"""Programs that validate an example or take a chart: five minutes on two cores, once per machine.

python -m tools.checkers
"""

from pathlib import Path

from tools import go
from tools.cluster import binaries
from tools.image import programs
from tools.paths import PROGRAMS

CHECKERS = ("argo", "podsecurity", "tekton")


def checker(name: str) -> Path:
    """The program of `tools/programs/<name>`: it reads objects on stdin and prints their faults."""
    return go.program(PROGRAMS / name)


if __name__ == "__main__":
    for name in CHECKERS:
        print(checker(name))
    print(binaries.versitygw())
    for publishing in (programs.oras, programs.registry):
        print(publishing())
