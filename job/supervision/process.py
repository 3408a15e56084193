"""Two processes: the started one, which watches, and the one that works."""

import atexit
import ctypes
import logging
import mmap
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import NoReturn

from job.console import escape
from job.errors import STOP_SIGNALS, Interrupted
from job.supervision.copying import ERASE_LINE, Copier
from job.supervision.ending import Ending

# Linux: the signal that a process gets when its parent ends (prctl(2)).
PR_SET_PDEATHSIG = 1
# What the watching process waits for.
WATCHED = (*STOP_SIGNALS, signal.SIGCHLD)
# One request may arrive several times: `timeout` sends it to a process and then to its whole group.
SAME_REQUEST_SECONDS = 0.2


def supervise(
    work: Callable[[], int], report_unfinished: Callable[[Ending], int], stop_note: str = ""
) -> int:
    """Do `work` in a process of its own.

    It returns in the started process, with the exit code to leave with. Call it before any thread
    is started. A request to stop (SIGTERM, SIGINT, SIGHUP) reaches the working process
    whenever it comes, and that process never outlives this one. SIGINT after such a request ends it
    at once. Only Linux has what this needs: elsewhere the work is done here.

    Args:
        work: what to do. `SystemExit` is an end like any other.
        report_unfinished: called in this process if the other one died before the end of `work`. It
            gives the exit code.
        stop_note: a sentence for people, written when the work is first asked to stop.
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
        if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
            # Until the work handles it: a KeyboardInterrupt inside of an import is a traceback.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, WATCHED)
        leave(_work_to_end(work, finished))

    copier = Copier(*channel.enter_parent())
    copier.start()
    watch = _ChildWatch(child, finished, copier, stop_note)
    code = watch.wait()
    copier.finish()

    complete = watch.is_complete()
    ending = Ending(
        code=128 - code if code < 0 else code,
        signal=max(-code, 0),
        finished=complete,
        last_lines=tuple(copier.last_lines),
        cut_off=watch.cut_off,
    )
    if channel.terminal and not complete and not ending.requested:
        lines = "".join(f"{escape(line)}\n" for line in ending.last_lines)
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


def leave(code: int) -> NoReturn:
    """End this process without the interpreter's end, which takes TensorFlow apart for a second.

    What was registered for the end is still done. Threads that run by then are daemons.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        # Whoever reads it may be gone.
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _work_to_end(work: Callable[[], int], finished: mmap.mmap) -> int:
    """Do the work, and note in the shared memory `finished` that it came to its end."""
    try:
        code = work()
    except SystemExit:
        finished[0] = 1
        raise
    finished[0] = 1
    return code


class _ChildWatch:
    """Waits for the end of the child, and passes requests to stop on to it.

    Attributes:
        cut_off: whether a second Ctrl-C ended the child.
    """

    def __init__(self, child: int, finished: mmap.mmap, copier: Copier, stop_note: str) -> None:
        self.cut_off = False
        self._child = child
        self._finished = finished
        self._copier = copier
        self._stop_note = stop_note
        self._asked: float | None = None
        self._ignores_sigint = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
        self._ignores_sighup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN

    def wait(self) -> int:
        """The exit code of the child, or minus the signal that killed it.

        As process 1 of a container this process also collects the orphans of others.
        """
        while True:
            received = signal.sigwaitinfo(WATCHED)
            if received.si_signo != signal.SIGCHLD:
                # Ctrl-C comes from the kernel, which sends it to the child too.
                self._pass_on(received.si_signo, from_kernel=received.si_code > 0)
                continue
            pid, status = os.waitpid(-1, os.WNOHANG)
            while pid:
                if pid == self._child:
                    return os.waitstatus_to_exitcode(status)
                pid, status = os.waitpid(-1, os.WNOHANG)

    def is_complete(self) -> bool:
        """Whether the work came to its end, so that everything has been reported."""
        return bool(self._finished[0]) or self._copier.result is not None

    def _pass_on(self, number: int, *, from_kernel: bool) -> None:
        if number == signal.SIGHUP and self._ignores_sighup:
            return  # as nohup wants it
        pressed = number == signal.SIGINT
        if pressed and self._ignores_sigint:
            # A shell script has what it starts in the background ignore the Ctrl-C of others. A
            # process that sends SIGINT to this one means it.
            if from_kernel:
                return
            number = signal.SIGTERM

        if self.is_complete():
            return
        now = time.monotonic()
        if self._asked is None:
            self._asked = now
            if self._stop_note:
                name = Interrupted.by_signal(number).message.removesuffix(".")
                self._copier.add_note(f"{name}: {self._stop_note}")
        elif pressed and now - self._asked > SAME_REQUEST_SECONDS:
            # Not left to the child: while native code works there, no Python code runs.
            self.cut_off = True
            os.kill(self._child, signal.SIGKILL)
            return
        if not from_kernel:
            os.kill(self._child, number)


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
