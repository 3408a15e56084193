"""What pip knows of this machine's package registry, as secrets of a build.

They are mounted while pip runs. In a layer, a build argument or the history they would be in the
image of everybody who pulls it.
"""

import ast
import configparser
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

CARRIED = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout")
AUTHORITY = "/run/secrets/ca.pem"  # where the Dockerfile mounts the certificate authority


@contextmanager
def secrets() -> Iterator[list[str]]:
    """The build options that bring pip's configuration and certificate authority, if any."""
    known = _read_pip_configuration()
    chosen = {key: known[key] for key in CARRIED if key in known}
    with TemporaryDirectory(prefix="graft-pip-") as folder:  # for the owner alone
        options = []
        if authority := known.get("cert"):
            chosen["cert"] = AUTHORITY
            options.append(f"--secret=id=ca.pem,src={authority}")
        if chosen:
            configuration = _write_configuration(Path(folder) / "pip.conf", chosen)
            options.append(f"--secret=id=pip.conf,src={configuration}")
        yield options


def _read_pip_configuration() -> dict[str, str]:
    """Pip's options for every command and for `install`; a variable PIP_… goes before its files."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    ).stdout
    found: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        section, _, key = name.partition(".")
        if section in found:
            found[section][key] = ast.literal_eval(value)
    return {key: value for section in found.values() for key, value in section.items()}


def _write_configuration(file: Path, options: dict[str, str]) -> Path:
    configuration = configparser.RawConfigParser()
    configuration["global"] = options
    with file.open("w") as target:
        configuration.write(target)
    return file
