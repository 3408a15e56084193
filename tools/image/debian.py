"""A base image from Debian packages, for a machine without an image registry."""

import hashlib
import platform
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from tools.image.engine import Engine, install

SUITE = "bookworm"
RECIPE = (
    "--variant=minbase",
    "--include=ca-certificates,python3,python3-venv",
    *(f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("doc", "locale", "man")),
    "--dpkgopt=path-include=/usr/share/doc/*/copyright",
    # The mirror, the name server and the name of the machine that builds are nobody else's
    # business.
    '--customize-hook=rm -rf "$1"/etc/apt/sources.list* "$1"/etc/resolv.conf "$1"/etc/hostname',
)
SOURCES = ("/etc/apt/sources.list", "/etc/apt/sources.list.d/debian.sources")


def ensure(engine: Engine) -> str:
    """The image's name; it is made when the engine does not have it: a minute or two."""
    name = f"localhost/graft-base:{hashlib.sha256(repr(RECIPE).encode()).hexdigest()[:12]}"
    if not engine.has(name):
        install(*["mmdebstrap"] * (not shutil.which("mmdebstrap")))
        with TemporaryDirectory(prefix="graft-base-") as folder:
            archive = Path(folder) / "base.tar"
            subprocess.run(
                ["mmdebstrap", "--quiet", *RECIPE, SUITE, archive, *_find_mirrors()], check=True
            )
            (Path(folder) / "Dockerfile").write_text(f"FROM scratch\nADD {archive.name} /\n")
            engine.build(Path(folder), f"--tag={name}")
    return name


def _find_mirrors() -> list[str]:
    """This machine's own mirrors if they are of the suite; else mmdebstrap takes Debian's."""
    if platform.freedesktop_os_release().get("VERSION_CODENAME") != SUITE:
        return []
    return [file for file in SOURCES if Path(file).is_file()]
