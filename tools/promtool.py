"""Prometheus and its checker of rules: those of the PATH, else of Debian's package."""

import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from tools.cache import BIN


def binary(program: str = "promtool") -> Path:
    """The path of `promtool` or `prometheus`, fetched first if need be; nothing is installed."""
    if found := shutil.which(program):
        return Path(found)
    target = BIN / program
    if not target.exists():
        BIN.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=BIN) as folder:
            subprocess.run(
                ["apt-get", "download", "--quiet", "prometheus"],
                cwd=folder,
                check=True,
                capture_output=True,
            )
            (package,) = Path(folder).glob("*.deb")
            subprocess.run(["dpkg", "-x", package, folder], check=True)
            (Path(folder) / "usr/bin" / program).rename(target)
    return target
