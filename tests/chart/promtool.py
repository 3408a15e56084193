"""Prometheus's own checker of rules: the one on the PATH, else unpacked from Debian's package into the cache."""

import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.tools.helm import CACHE


def binary() -> Path:
    """The path of promtool, fetched first if need be; nothing is installed."""
    if found := shutil.which("promtool"):
        return Path(found)
    target = CACHE / "promtool"
    if not target.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=CACHE) as folder:
            subprocess.run(
                ["apt-get", "download", "--quiet", "prometheus"], cwd=folder, check=True, capture_output=True
            )
            (package,) = Path(folder).glob("*.deb")
            subprocess.run(["dpkg", "-x", package, folder], check=True)
            (Path(folder) / "usr/bin/promtool").rename(target)
    return target
