"""Lock the dependencies of pyproject.toml with hashes, or check that the locks are still theirs.

    python -m tools.generate_locks [--upgrade | --check]

`--check` needs no network: each lock begins with a digest of the tables it was made from. The locks
name no registry, so that they install from whichever one the machine is set up for.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path

from tools.paths import ROOT

# The development lock comes first and lends its pins to the others: what is tested is what is
# shipped.
EXTRAS = {"dev": ("cpu", "dev"), "cpu": ("cpu",), "gpu": ("gpu",)}
# Locks of a dependency group alone: a part of the dependencies, for an image without TensorFlow.
GROUPS = ("launcher",)
LOCKS = (*EXTRAS, *GROUPS)
# The oldest Python that we support; its pins install on the newer ones too.
PYTHON = "3.11"


def main() -> None:
    """Write the locks, or exit with a message when they are stale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions")
    parser.add_argument("--check", action="store_true", help="only compare")
    arguments = parser.parse_args()
    if not arguments.check:
        lock(upgrade=arguments.upgrade)
    elif stale := [
        str(_lock_path(name).relative_to(ROOT)) for name in LOCKS if not _is_fresh(name)
    ]:
        raise SystemExit(
            f"{', '.join(stale)}: not locked from this pyproject.toml. Run `make lock`."
        )


def lock(*, upgrade: bool) -> None:
    """Compile every lock; pins stay as they are where they still fit, unless `upgrade`."""
    for name in LOCKS:
        if name != "dev":
            _lock_path(name).write_text(_lock_path("dev").read_text())
        _compile_lock(name, upgrade=upgrade and name == "dev")
        _lock_path(name).write_text(f"{_digest_line(name)}\n{_lock_path(name).read_text()}")


def _compile_lock(name: str, *, upgrade: bool) -> None:
    uv = Path(sys.executable).with_name("uv")
    options = [
        "--quiet",
        "--generate-hashes",
        "--no-emit-index-url",
        "--no-header",
        "--python-version",
        PYTHON,
    ]
    if name in GROUPS:
        source = [f"--group={name}"]
    else:
        source = ["pyproject.toml", *(f"--extra={extra}" for extra in EXTRAS[name])]
    options += ["--upgrade"] * upgrade
    subprocess.run(
        [uv, "pip", "compile", *source, *options, "--output-file", _lock_path(name)],
        cwd=ROOT,
        check=True,
    )


def _is_fresh(name: str) -> bool:
    path = _lock_path(name)
    return path.is_file() and path.read_text().startswith(f"{_digest_line(name)}\n")


def _digest_line(name: str) -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    keys = ("requires-python", "dependencies", "optional-dependencies")
    declared = [project["project"][key] for key in keys]
    if name in GROUPS:
        declared = [project["project"]["requires-python"], project["dependency-groups"][name]]
    digest = hashlib.sha256(
        json.dumps([*declared, project["tool"]["uv"]], sort_keys=True).encode()
    ).hexdigest()
    return f"# Locked by `make lock` from pyproject.toml with the dependencies {digest[:16]}"


def _lock_path(name: str) -> Path:
    return ROOT / "requirements" / f"{name}.txt"


if __name__ == "__main__":
    main()
