"""SIGTERM, as an exception at once or as a wish that a phase asks about."""

import contextlib
import logging
import signal
from collections.abc import Iterator
from types import FrameType

from job.errors import Interrupted

logger = logging.getLogger(__name__)


class Terminated(BaseException):
    """SIGTERM where it struck. It is no `Exception`, which a library (logging, for one) would catch and forget.

    Attributes:
        run_id: of the run that it ended, once that is known.
    """

    run_id: str | None = None

    def told(self) -> Interrupted:
        """The same as an error for people."""
        error = Interrupted.by_sigterm()
        error.run_id = self.run_id
        return error


class Stop:
    """SIGTERM as `Terminated`: at once, or as `Interrupted` at the next safe point while a phase defers it.

    Attributes:
        requested: a stop was asked for.
        struck: `Terminated` was raised. Native code in which it strikes may swallow it or make
            another error of it (TensorFlow does both).
    """

    def __init__(self) -> None:
        self.requested = False
        self.struck = False
        self._deferred = False

    def install(self) -> None:
        """Take SIGTERM. TensorFlow's multi-worker strategy takes it too, so install after that is made (facts 3)."""
        signal.signal(signal.SIGTERM, self._on_signal)

    def ignore(self) -> None:
        """The outcome is known: a stop that comes now would only keep it from being told."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self.requested:
            return  # The first one is on its way out, and a second one would cut its clearing up short.
        self.requested = True
        if not self._deferred:
            self.struck = True
            raise Terminated

    def check(self) -> None:
        """Raise `Interrupted` if a stop was requested."""
        if self.requested:
            raise Terminated().told()

    def explained(self, error: BaseException) -> BaseException:
        """The error as people are told it: what follows a stop that struck is the stop, unless it says so itself."""
        if not self.struck or isinstance(error, Interrupted):
            return error
        if isinstance(error, Terminated):
            return error.told()
        logger.info("what SIGTERM became: %s: %s", type(error).__name__, error)
        return Terminated().told()

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside, the phase itself asks `requested` between steps; what it leaves undone is raised at the end."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        self.check()
