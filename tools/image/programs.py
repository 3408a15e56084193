"""The programs of publishing: that of the PATH if its major version fits, else from its Go module.

`oras` copies between a layout and a registry. `cosign` signs with its own keys, and verifies in
tests. `registry` is a registry for the tests.
"""

import re
import shutil
import subprocess
from pathlib import Path

from tools import go
from tools.paths import PROGRAMS


def oras() -> Path:
    """Oras 1: half a minute of CPU to build."""
    return _find_program("oras", 1, "oras.land/oras/cmd/oras")


def cosign() -> Path:
    """Cosign 3: five minutes of CPU to build, once on each machine."""
    return _find_program("cosign", 3, "github.com/sigstore/cosign/v3/cmd/cosign")


def registry() -> Path:
    """The registry of the CNCF's project distribution: two minutes of CPU to build."""
    return go.program(PROGRAMS / "registry", "github.com/distribution/distribution/v3/cmd/registry")


def _find_program(name: str, major: int, package: str) -> Path:
    on_path = shutil.which(name)
    if on_path and _read_major(on_path) == major:
        return Path(on_path)
    return go.program(PROGRAMS / name, package)


def _read_major(program: str) -> int | None:
    """The first number that `version` prints after a word with Version; None if there is none."""
    done = subprocess.run([program, "version"], capture_output=True, text=True, check=False)
    found = re.search(r"^\w*Version:\s*v?(\d+)\.", done.stdout, re.MULTILINE)
    return int(found[1]) if found else None
