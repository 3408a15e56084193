"""Prometheus, its checker of rules, and its Pushgateway: of the PATH, else of Debian's packages."""

import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from tools.cache import BIN

PUSHGATEWAY = "prometheus-pushgateway"


def binary(program: str = "promtool") -> Path:
    """The path of `promtool`, `prometheus` or `PUSHGATEWAY`, fetched first if need be.

    Nothing is installed.
    """
    if found := shutil.which(program):
        return Path(found)
    target = BIN / program
    if not target.exists():
        BIN.mkdir(parents=True, exist_ok=True)
        source = PUSHGATEWAY if program == PUSHGATEWAY else "prometheus"
        with TemporaryDirectory(dir=BIN) as folder:
            subprocess.run(
                ["apt-get", "download", "--quiet", source],
                cwd=folder,
                check=True,
                capture_output=True,
            )
            (package,) = Path(folder).glob("*.deb")
            subprocess.run(["dpkg", "-x", package, folder], check=True)
            (Path(folder) / "usr/bin" / program).rename(target)
    return target
