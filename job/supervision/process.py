"""Two processes: the started one, which watches, and the one that works."""

import ctypes
import logging
import mmap
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import TracebackType

from job.supervision.copying import Copier
from job.supervision.ending import Ending

# Linux: the signal that a process gets when its parent ends (prctl(2)).
PR_SET_PDEATHSIG = 1
# What the watching process waits for.
WATCHED = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
# Terminals: back to the start of the line, and erase it. A progress bar may be on it.
ERASE_LINE = "\r\x1b[K"


def supervise(work: Callable[[], int], report_unfinished: Callable[[Ending], int]) -> int:
    """Do `work` in a process of its own.

    It returns in both processes, each time with the exit code to leave with. Call it before any
    thread is started. SIGTERM reaches the working process whenever it comes, and that process never
    outlives this one. Only Linux has what this needs: elsewhere the work is done here.

    Args:
        work: what to do. `SystemExit` is an end like any other.
        report_unfinished: called in this process if the other one died before the end of `work`. It
            gives the exit code.
    """
    if sys.platform != "linux" or sys.stderr is None:
        return work()
    # A process inherits what its parent ignores or blocks. With SIGCHLD ignored the end of our own
    # child would be lost, and with SIGTERM a stop.
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    # Blocked signals wait until they are asked for, so none is lost before there is a child to pass
    # it on to.
    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
    own, finished, channel = os.getpid(), mmap.mmap(-1, 1), _Channel(terminal=os.isatty(2))

    child = os.fork()
    if child == 0:
        die_with(own)
        channel.enter_child()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, WATCHED)
        return _work_to_end(work, finished)

    copier = Copier(*channel.enter_parent())
    copier.start()
    code = _wait_for_child(child)
    copier.finish()

    complete = bool(finished[0]) or copier.result is not None
    ending = Ending(
        code=128 - code if code < 0 else code,
        signal=max(-code, 0),
        finished=complete,
        last_lines=tuple(copier.last_lines),
    )
    if channel.terminal and not complete and not ending.requested:
        lines = "".join(f"{line}\n" for line in ending.last_lines)
        print(ERASE_LINE + lines, end="", file=sys.stderr, flush=True)
    return ending.code if complete else report_unfinished(ending)


def die_with(parent: int) -> None:
    """Die with a parent that was killed with -9.

    A thread could not do it: while native code works, no Python code runs.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has died before the call above
        os._exit(1)


def _work_to_end(work: Callable[[], int], finished: mmap.mmap) -> int:
    """Do the work, and note in the shared memory `finished` that it came to its end."""
    try:
        code = work()
    except SystemExit:
        finished[0] = 1
        raise
    finished[0] = 1
    return code


def _wait_for_child(child: int) -> int:
    """The exit code of the child, or minus the signal that killed it.

    Signals are passed on until then. As process 1 of a container this process also collects the
    orphans of others.
    """
    while True:
        received = signal.sigwaitinfo(WATCHED)
        if received.si_signo == signal.SIGCHLD:
            pid, status = os.waitpid(-1, os.WNOHANG)
            while pid:
                if pid == child:
                    return os.waitstatus_to_exitcode(status)
                pid, status = os.waitpid(-1, os.WNOHANG)
        elif received.si_code <= 0:
            # A process has sent it. Ctrl-C comes from the kernel, which sends it to the child too.
            os.kill(child, received.si_signo)


class _Channel:
    """What connects both processes: a pipe for descriptor 2 of the child, and one for its log.

    On a terminal the child writes its log there itself.
    """

    def __init__(self, terminal: bool) -> None:
        self.terminal = terminal
        self._native_read, self._native_write = os.pipe()
        self._log_read: int | None = None
        if terminal:
            self._log_write = os.dup(2)
        else:
            self._log_read, self._log_write = os.pipe()

    def enter_child(self) -> None:
        """From here on Python's stderr is the log, and descriptor 2 belongs to native code."""
        os.dup2(self._native_write, 2)
        os.close(self._native_read)
        os.close(self._native_write)
        if self._log_read is not None:
            os.close(self._log_read)
        # Not through a buffer of a process that may die: each line leaves at once.
        sys.stderr = os.fdopen(
            self._log_write, "w", buffering=1, encoding="utf-8", errors="backslashreplace"
        )
        if not self.terminal:
            sys.excepthook = _log_uncaught
            threading.excepthook = _log_uncaught_in_thread
            sys.unraisablehook = _log_uncaught_in_thread

    def enter_parent(self) -> tuple[int, int | None]:
        """Where to read native lines, and the log if it is not written to a terminal."""
        os.close(self._native_write)
        os.close(self._log_write)
        return self._native_read, self._log_read


def _log_uncaught(
    kind: type[BaseException], error: BaseException | None, trace: TracebackType | None
) -> None:
    logging.getLogger("job").critical(
        "%s was caught nowhere", kind.__name__, exc_info=(kind, error or kind(), trace)
    )


def _log_uncaught_in_thread(
    failure: "threading.ExceptHookArgs | sys.UnraisableHookArgs",
) -> None:
    _log_uncaught(failure.exc_type, failure.exc_value, failure.exc_traceback)
