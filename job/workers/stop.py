"""A signal that asks to stop, as an exception at once or as a request that a phase asks about."""

import contextlib
import logging
import signal
from collections.abc import Iterator
from types import FrameType

from job.errors import STOP_SIGNALS, Interrupted, WorkerStopped

logger = logging.getLogger(__name__)


class Terminated(BaseException):
    """A request to stop, raised wherever the signal was handled.

    It is not an `Exception`, since a library (logging, for one) would catch that and go on.

    Args:
        number: the signal.

    Attributes:
        run_id: of the run that it ended, once that is known.
    """

    run_id: str | None = None

    def __init__(self, number: int = signal.SIGTERM) -> None:
        super().__init__(number)
        self._number = number

    def as_error(self) -> Interrupted:
        """The same as an error for people."""
        error = Interrupted.by_signal(self._number)
        error.run_id = self.run_id
        return error


class Stop:
    """Turns a signal into `Terminated` at once, or into `Interrupted` at the next safe point.

    A further signal changes nothing, since kubelets and shells repeat theirs. Who presses Ctrl-C
    twice means it: the supervisor ends this process then, even where native code holds it.

    Attributes:
        requested: a stop was asked for, by a signal or by another worker.
        raised: `Terminated` was raised. Native code in which that happens may drop it or make
            another error of it (TensorFlow does both).
    """

    def __init__(self) -> None:
        self.requested = False
        self.raised = False
        self._deferred = False
        # None while a worker is only stopped by another one: it got no signal of its own.
        self._number: int | None = None

    def install(self) -> None:
        """Handle the signals.

        What the parent process has us ignore stays ignored, such as SIGHUP under nohup, except for
        SIGTERM. TensorFlow's multi-worker strategy installs a native handler over this one, so call
        it again after the strategy was made.
        """
        for number in STOP_SIGNALS:
            if number == signal.SIGTERM or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._on_signal)

    def follow_others(self) -> None:
        """Stop because another worker was asked to. A signal of its own outweighs it."""
        self.requested = True

    def ignore(self) -> None:
        """Ignore the signals from now on: the outcome is known, and must still be reported."""
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def check(self) -> None:
        """Raise `Interrupted` if a stop was requested."""
        if self.requested:
            raise self._make_error()

    def explain(self, error: BaseException) -> BaseException:
        """The error that people are shown.

        Whatever error follows a raised stop is that stop, unless it says so itself.
        """
        if not self.raised or isinstance(error, Interrupted):
            return error
        if isinstance(error, Terminated):
            return error.as_error()
        logger.info("what the stop became: %s: %s", type(error).__name__, error)
        return self._make_error()

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside, the phase itself asks `requested` between steps.

        A request that it has not acted on is raised at the end.
        """
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        self.check()

    def _make_error(self) -> Interrupted:
        if self._number is None:
            return WorkerStopped.by_another()
        return Terminated(self._number).as_error()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._number is not None:
            # The first one is on its way out, and a second one would cut its clean-up short.
            return
        stopping = self.requested
        self.requested = True
        self._number = number
        if not self._deferred and not stopping:
            self.raised = True
            raise Terminated(number)
