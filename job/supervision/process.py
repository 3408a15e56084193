"""Two processes: the started one, which watches, and the one that works."""

import ctypes
import logging
import mmap
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import TracebackType

from job.supervision.copying import Copier
from job.supervision.ending import Ending

PR_SET_PDEATHSIG = 1
STOPS = (signal.SIGTERM, signal.SIGINT)


def supervise(work: Callable[[], int], unfinished: Callable[[Ending], int]) -> int:
    """Do `work` in a process of its own. Returns in both processes, each time with the exit code to leave with.

    Call it before any thread is started. SIGTERM reaches the working process whenever it comes, and
    that process never outlives this one. Only Linux has what this needs: elsewhere the work is done
    here.

    Args:
        work: what to do; `SystemExit` is an end like any other.
        unfinished: called in this process if the other one died before the end of `work`; gives the
            exit code.
    """
    if sys.platform != "linux" or sys.stderr is None:
        return work()
    signal.signal(
        signal.SIGCHLD, signal.SIG_DFL
    )  # an ignored one, as some parents leave it, loses the child's end
    # Blocked and asked for one by one, no signal is lost before there is a child to pass it on to.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {*STOPS, signal.SIGCHLD})
    own, finished, channel = os.getpid(), mmap.mmap(-1, 1), _Channel(os.isatty(2))
    child = os.fork()
    if child == 0:
        die_with(own)
        channel.enter()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return _finish_work(work, finished)
    copier = Copier(*channel.outlets())
    copier.start()
    code = _await_end(child)
    copier.finish()
    complete = bool(finished[0]) or copier.result is not None
    ending = Ending(128 - code if code < 0 else code, max(-code, 0), complete, tuple(copier.words))
    if channel.terminal and not complete and not ending.asked_for:
        # Over what is left of a progress bar.
        print(
            "\r\x1b[K",
            *(f"{line}\n" for line in ending.words),
            sep="",
            end="",
            file=sys.stderr,
            flush=True,
        )
    return ending.code if complete else unfinished(ending)


def die_with(parent: int) -> None:
    """Die with a parent that was killed with -9. A thread could not see to it: native calls keep Python waiting."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _finish_work(work: Callable[[], int], finished: mmap.mmap) -> int:
    try:
        code = work()
    except SystemExit:
        finished[0] = 1
        raise
    finished[0] = 1
    return code


def _await_end(child: int) -> int:
    """The exit code of `child`, or minus the signal that killed it; signals are passed on until then."""
    while True:
        received = signal.sigwaitinfo({*STOPS, signal.SIGCHLD})
        if received.si_signo == signal.SIGCHLD:
            for pid, status in _ended_children():
                if pid == child:
                    return os.waitstatus_to_exitcode(status)
        elif (
            received.si_code <= 0
        ):  # from a process; Ctrl-C comes from the kernel, and to the child as well
            os.kill(child, received.si_signo)


def _ended_children() -> Iterator[tuple[int, int]]:
    """As process 1 of a container, this process also collects the orphans of others."""
    while (ended := os.waitpid(-1, os.WNOHANG))[0]:
        yield ended


class _Channel:
    """How the working process speaks to the outside: its descriptor 2 and its log."""

    def __init__(self, terminal: bool) -> None:
        self.terminal = terminal
        self._native = os.pipe()
        self._log = (-1, os.dup(2)) if terminal else os.pipe()

    def enter(self) -> None:
        """In the working process: from here on Python's stderr is the log, and descriptor 2 is native code's."""
        os.dup2(self._native[1], 2)
        self._close(*self._native, self._log[0])
        # Through no buffer of a process that may die: each line leaves at once.
        sys.stderr = os.fdopen(
            self._log[1], "w", buffering=1, encoding="utf-8", errors="backslashreplace"
        )
        if not self.terminal:
            sys.excepthook = _log_uncaught
            threading.excepthook = lambda it: _log_uncaught(
                it.exc_type, it.exc_value, it.exc_traceback
            )
            sys.unraisablehook = lambda it: _log_uncaught(
                it.exc_type, it.exc_value, it.exc_traceback
            )

    def outlets(self) -> tuple[int, int]:
        """In the started process: where to read native lines and the log's, -1 for none."""
        self._close(self._native[1], self._log[1])
        return self._native[0], self._log[0]

    def _close(self, *descriptors: int) -> None:
        for descriptor in descriptors:
            if descriptor >= 0:
                os.close(descriptor)


def _log_uncaught(
    kind: type[BaseException], error: BaseException | None, trace: TracebackType | None
) -> None:
    error = error or kind()
    logging.getLogger("job").critical(
        "%s was caught nowhere", kind.__name__, exc_info=(kind, error, trace)
    )
