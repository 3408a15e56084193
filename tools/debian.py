"""Debian packages as plain folders: downloaded and unpacked without root."""

import shutil
import subprocess
from pathlib import Path


def unpack_package(package: str, work: Path) -> Path:
    """Download a package and unpack it into `work/root`, which is returned.

    Args:
        package: its name.
        work: an empty folder.

    Raises:
        SystemExit: apt is missing, or could not bring the package.
    """
    if not shutil.which("apt-get"):
        raise SystemExit(f"The files are in Debian's package {package}, and apt-get is missing.")
    _download_package(package, work)
    (archive,) = work.glob(f"{package}*.deb")
    _run_command("dpkg", "-x", archive, work / "root")
    return work / "root"


def _download_package(package: str, work: Path) -> None:
    """Download the .deb to `work`, with own package lists where the system's are too old."""
    # Without this, root's apt complains that its sandbox user cannot write here.
    options = ["-q", "-o", "APT::Sandbox::User=root"]
    command = ["apt-get", *options, "download", package]
    if subprocess.run(command, cwd=work, capture_output=True, check=False).returncode == 0:
        return
    (work / "lists" / "partial").mkdir(parents=True)
    options += ["-o", f"Dir::State::Lists={work / 'lists'}", "-o", f"Dir::Cache={work}"]
    _run_command("apt-get", *options, "update", cwd=work)
    _run_command("apt-get", *options, "download", package, cwd=work)


def _run_command(*command: str | Path, cwd: Path | None = None) -> None:
    """Run a command whose output matters only when it fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(
            f"{' '.join(map(str, command))} failed ({done.returncode}):\n{done.stdout}{done.stderr}"
        )
