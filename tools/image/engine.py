"""The program that builds and runs images: docker, podman, buildah, or a podman of our own.

Their `build` takes the same options. Ours is Debian's podman with its own storage and
configuration, for machines where nobody has set one up: it changes nothing outside our cache and
needs root, but no service.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools import cache

CACHE = cache.CACHE / "images"
KNOWN = ("docker", "podman", "buildah")
PACKAGES = ("podman", "runc")
INSTALL = ("apt-get", "install", "--yes", "--no-install-recommends")

CONTAINERS = """\
[containers]
netns = "host"
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]

[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "/run/graft-images/engine"
"""
STORAGE = f"""\
[storage]
driver = "overlay"
graphroot = "{CACHE}/storage"
runroot = "/run/graft-images/storage"
"""


@dataclass(frozen=True, slots=True)
class Engine:
    """A program, its environment, and the options that its builds need on this machine.

    If it is `own`, its storage holds our images alone, and what they no longer use may be deleted.
    """

    program: str
    environment: Mapping[str, str] = field(default_factory=dict)
    build_options: tuple[str, ...] = ()
    own: bool = False

    def run(
        self, *arguments: str | Path, check: bool = True, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run the program; it has to succeed unless `check` is false."""
        environment = {**os.environ, **self.environment}
        return subprocess.run(
            [self.program, *arguments], check=check, text=True, env=environment, **options
        )

    def ask(self, *arguments: str | Path) -> str:
        """What the program prints."""
        return str(self.run(*arguments, stdout=subprocess.PIPE).stdout.strip())

    def has(self, image: str) -> bool:
        return (
            self.run("inspect", "--type=image", image, check=False, capture_output=True).returncode
            == 0
        )

    def digest(self, image: str) -> str:
        """The digest of the image's manifest. Of the three programs, each formats this alike."""
        return self.ask("images", "--format={{.Digest}}", image)

    def build(self, context: Path, *arguments: str) -> None:
        """Build an image from the Dockerfile of a folder."""
        self.run("build", *self.build_options, *arguments, str(context))


def found() -> Engine:
    """The first of docker, podman and buildah that is there.

    Raises:
        SystemExit: none of them is.
    """
    for program in KNOWN:
        if shutil.which(program):
            return Engine(program)
    raise SystemExit(
        f"No {', '.join(KNOWN)} on the PATH. Install one of them:  sudo {' '.join(INSTALL)} buildah"
    )


def ours() -> Engine:
    """Podman with storage and configuration of its own, installed if need be."""
    install(*(package for package in PACKAGES if not shutil.which(package)))
    CACHE.mkdir(parents=True, exist_ok=True)
    environment = {
        "CONTAINERS_CONF": str(_write_atomically(CACHE / "containers.conf", CONTAINERS)),
        "CONTAINERS_STORAGE_CONF": str(_write_atomically(CACHE / "storage.conf", STORAGE)),
    }
    return Engine("podman", environment, ("--layers", "--network=host"), own=True)


def install(*packages: str) -> None:
    """Install Debian packages.

    Raises:
        SystemExit: this is not root on a Debian; the message says what to install.
    """
    if not packages:
        return
    if os.geteuid() or not shutil.which("apt-get"):
        raise SystemExit(
            f"Please install {', '.join(packages)}:  sudo {' '.join([*INSTALL, *packages])}"
        )
    if subprocess.run(
        [*INSTALL, *packages], check=False
    ).returncode:  # its lists may be old, or not there yet
        subprocess.run(["apt-get", "update"], check=True)
        subprocess.run([*INSTALL, *packages], check=True)


def _write_atomically(file: Path, content: str) -> Path:
    """Write beside the file and rename: somebody else may be reading it."""
    part = file.with_suffix(f".{os.getpid()}.part")
    part.write_text(content)
    return part.rename(file)
