"""The note of which process is the cluster, written by that process before it does anything else.

A process id alone may belong to somebody else tomorrow: the time that the process started goes with
it.
"""

import json
from pathlib import Path

from tools.cluster.layout import RECORD


def write() -> None:
    """Record the calling process by its id in the machine's own namespace, which /proc shows."""
    pid = int(Path("/proc/self").readlink().name)
    unfinished = RECORD.with_suffix(".new")
    unfinished.write_text(
        json.dumps({"pid": pid, "started": _read_start_time(pid), "boot": _read_boot_id()})
    )
    unfinished.rename(RECORD)


def living() -> int | None:
    """Return the id of the noted process, if it still is the one that was noted."""
    try:
        noted = json.loads(RECORD.read_text())
        same = noted["boot"] == _read_boot_id() and noted["started"] == _read_start_time(
            noted["pid"]
        )
    except (FileNotFoundError, ProcessLookupError):
        return None
    return noted["pid"] if same else None


def _read_start_time(pid: int) -> str:
    """Clock ticks from boot to the start of the process: field 22, counted after the name."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    if fields[0] in "ZX":
        raise ProcessLookupError(pid)
    return fields[19]


def _read_boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
