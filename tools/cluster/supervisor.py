"""Process 1 of the cluster: it owns every program, in namespaces of its own.

When it ends, however it ends, the kernel ends all of them and drops their mounts and networks;
nothing has to be tidied one by one. `python3 -m tools.cluster.supervisor PROGRAMS LOCK` is what
`node.up` runs, inside `unshare`.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tools.cluster import layout, programs, record
from tools.cluster.layout import HOST_ADDRESS, LIB, LOGS, NODE_ADDRESS

# The kubelet sets these for the whole machine. It is given files of its own to set instead.
MACHINE_SETTINGS = (
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
)


def main() -> None:
    """Start every program and restart it when it ends, until this process is stopped."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    os.set_inheritable(
        int(sys.argv[2]), False
    )  # held while this process lives, not while its programs do
    record.write()
    _hide_the_machine()
    _await_the_wire()
    _supervise_programs(programs.command_lines(Path(sys.argv[1])))


def _hide_the_machine() -> None:
    _run_command("mount", "-t", "proc", "proc", "/proc")
    settings = layout.STATE / "sysctl"
    settings.mkdir(exist_ok=True)
    for name in MACHINE_SETTINGS:
        own = settings / name.replace("/", ".")
        own.write_text((Path("/proc/sys") / name).read_text())
        _run_command("mount", "--bind", own, f"/proc/sys/{name}")
    _run_command("mount", "-t", "tmpfs", "tmpfs", "/run")
    _run_command("mount", "--bind", LOGS, "/var/log")
    _run_command("mount", "--bind", LIB, "/var/lib")
    _run_command("mount", "--make-rshared", "/")
    for controller in layout.cgroups():
        _make_cgroup(controller)


def _make_cgroup(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for name in (
        "cpuset.cpus",
        "cpuset.mems",
    ):  # empty in a new one, and nothing runs in it until they are filled
        if (folder / name).exists():
            (folder / name).write_text((folder.parent / name).read_text())


def _await_the_wire() -> None:
    for _ in range(300):
        if Path("/proc/net/dev").read_text().count("uplink:"):
            break
        time.sleep(0.1)
    for line in (
        "link set lo up",
        f"address add {NODE_ADDRESS}/30 dev uplink",
        "link set uplink up",
        f"route add default via {HOST_ADDRESS}",
    ):
        _run_command("ip", *line.split())
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def _supervise_programs(commands: dict[str, list[str]]) -> None:
    """Start all at once, and restart each that ends: another may not have been ready yet."""
    running = {_start_program(name, command): name for name, command in commands.items()}
    while True:
        pid, status = os.wait()
        if name := running.pop(pid, None):
            print(
                f"{name} ended with {os.waitstatus_to_exitcode(status)}; it starts again",
                flush=True,
            )
            time.sleep(0.5)
            running[_start_program(name, commands[name])] = name


def _start_program(name: str, command: list[str]) -> int:
    """Start one program, with its output in its own log. The caller waits for its end."""
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    outputs = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(LOGS / f"{name}.log"), append, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    return os.posix_spawnp(
        command[0], command, os.environ, file_actions=outputs, setsigdef=[signal.SIGPIPE]
    )


def _run_command(*command: str | Path) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
