"""What the training process tells goes through a pipe to its parent, whose telemetry and log serve both.

A message is the name of a method of `WorkerListener` and its arguments.
"""

import contextlib
import logging
import threading
from collections.abc import Iterator, Mapping
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

from job.telemetry import Telemetry, silent


class MessagePipe:
    """The member's end of the pipe. Several threads may speak."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe, self._lock = pipe, threading.Lock()

    def send(self, method: str, *arguments: Any) -> None:
        with self._lock:
            self._pipe.send((method, arguments))


class RemoteTelemetry(Telemetry):
    """Telemetry of the member: nothing is served, logged or drawn here."""

    def __init__(self, wire: MessagePipe) -> None:
        super().__init__(silent().state)
        self._wire = wire

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        self._wire.send("begin", name)
        yield
        self._wire.send("end")

    def progress(self, done: int, total: int, unit: str) -> None:
        self._wire.send("tell", "progress", (done, total, unit), {})

    def epoch(self, stage: str, epoch: int, epochs: int, scores: Mapping[str, float]) -> None:
        self._wire.send("tell", "epoch", (stage, epoch, epochs, dict(scores)), {})

    def step(self, seconds: float, loss: float | None = None) -> None:
        self._wire.send("tell", "step", (seconds, loss), {})

    def checkpointed(self) -> None:
        self._wire.send("tell", "checkpointed", (), {})

    def facts(self, **facts: object) -> None:
        self._wire.send("tell", "facts", (), facts)


class LogRelay(QueueHandler):
    """Every record of the member, with its text made and its traceback in it."""

    def __init__(self, wire: MessagePipe) -> None:
        super().__init__(SimpleQueue())
        self._wire = wire

    def enqueue(self, record: logging.LogRecord) -> None:
        self._wire.send("log", record)


class WorkerListener:
    """The parent's side: each message happens here as if the work were done here.

    Attributes:
        together: whether the workers have met, which is the first phase to end.
        trained: whether the member has come to its end.
    """

    def __init__(self, telemetry: Telemetry, phases: contextlib.ExitStack) -> None:
        self.together = False
        self.trained = False
        self._telemetry, self._phases = telemetry, phases

    def hear(self, method: str, arguments: tuple[Any, ...]) -> None:
        """Carry out one message."""
        getattr(self, method)(*arguments)

    def begin(self, phase: str) -> None:
        self._phases.enter_context(self._telemetry.phase(phase))

    def end(self) -> None:
        self._phases.close()
        self.together = True

    def tell(self, what: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        getattr(self._telemetry, what)(*arguments, **named)

    def log(self, record: logging.LogRecord) -> None:
        logging.getLogger(record.name).handle(record)

    def ended(self, error: BaseException | None) -> None:
        if error:
            raise error
        self.trained = True
