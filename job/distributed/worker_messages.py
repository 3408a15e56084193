"""What the worker process is given, and what it sends back through a pipe.

Events and log records of the worker process appear in its parent as if the work were done there.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from job.context import RunContext
from job.telemetry import Event, PhaseBegan, PhaseEnded, Telemetry
from job.workers import WorkerGroup


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerJob:
    """What the worker process runs.

    Attributes:
        function: a function of a module, so that it can be pickled; it gets `inputs` and the
            context of the process in which it runs.
        inputs: anything that can be pickled.
        worker_group: the workers that compute together.
        keras_home: where Keras keeps its own weights files.
    """

    function: Callable[[Any, RunContext], None]
    inputs: Any
    worker_group: WorkerGroup
    keras_home: Path


@dataclass(frozen=True, slots=True)
class EventEmitted:
    """Something has happened in the run."""

    event: Event


@dataclass(frozen=True, slots=True)
class RecordLogged:
    """A line for the log."""

    record: logging.LogRecord


@dataclass(frozen=True, slots=True)
class WorkEnded:
    """The last message: the function has returned, or failed with an error for people."""

    error: Exception | None


Message = EventEmitted | RecordLogged | WorkEnded


class MessagePipe:
    """The sending end of the pipe. Several threads may send."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def send(self, message: Message) -> None:
        with self._lock:
            self._connection.send(message)


class RemoteTelemetry(Telemetry):
    """Telemetry of the worker process: every event goes to the parent, which shows it."""

    def __init__(self, pipe: MessagePipe) -> None:
        self._pipe = pipe

    def emit(self, event: Event) -> None:
        self._pipe.send(EventEmitted(event))


class RemoteLogHandler(QueueHandler):
    """Sends every log record of the worker process to the parent.

    `QueueHandler` makes a record picklable: its message is formatted and holds the traceback.
    """

    def __init__(self, pipe: MessagePipe) -> None:
        super().__init__(SimpleQueue())
        self._pipe = pipe

    def enqueue(self, record: logging.LogRecord) -> None:
        self._pipe.send(RecordLogged(record))


class MessageReceiver:
    """The parent's side: shows what the worker process sends.

    Attributes:
        joined: whether the workers have met, which is the first phase to end.
        ended: whether the work is done.
    """

    def __init__(self, telemetry: Telemetry) -> None:
        self.joined = False
        self.ended = False
        self._telemetry = telemetry
        self._running: str | None = None

    def receive(self, message: Message) -> None:
        """Show one message.

        Raises:
            JobError: the work has failed with it.
        """
        match message:
            case EventEmitted():
                self._telemetry.emit(message.event)
                self._follow_phases(message.event)
            case RecordLogged():
                logging.getLogger(message.record.name).handle(message.record)
            case WorkEnded():
                if message.error:
                    raise message.error
                self.ended = True

    def close(self) -> None:
        """End the phase that the worker process has left open, if there is one."""
        if self._running:
            self._telemetry.emit(PhaseEnded(self._running, stopped=True))
            self._running = None

    def _follow_phases(self, event: Event) -> None:
        if isinstance(event, PhaseBegan):
            self._running = event.phase
        elif isinstance(event, PhaseEnded):
            self._running = None
            self.joined = True
