"""Processes of a simulated world: one goes on at a time, in an order that the seed decides."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from greenlet import getcurrent, greenlet  # type: ignore[import-untyped]  # it has no stubs

# So many operations end any world of this size.
MOST_OPERATIONS = 60_000
# What hangs is killed after so many, as the deadline of a Job does it.
HANG_OPERATIONS = 300
# What pauses goes on after so many. Others can train and release meanwhile.
PAUSE_OPERATIONS = 500


class Killed(BaseException):
    """The process is gone. Whatever it does while this passes through it has no effect."""


class Stuck(Exception):
    """No process can go on, or all of them go on for ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong at one operation.

    Attributes:
        after: it waits until so many operations of the world are over.
        kind: such as `kill`, `lost` or `enospc`. Only some operations can have it.
        at: a part of the name of the object. Empty for any.
        on: kinds of operations, such as `PUT`. Empty for any.
        who: the beginning of the name of the process. Empty for any.
        skip: so many operations that could have it are spared.
    """

    after: int = 0
    kind: str
    at: str = ""
    on: tuple[str, ...] = ()
    who: str = ""
    skip: int = 0


@dataclass(slots=True, kw_only=True)
class Process:
    """One process of the world.

    Attributes:
        name: in the log of events.
        work: what it does. Its value or error is kept.
        delay: it begins after so many operations of the world.
        on_signal: what SIGTERM does to it, if it listens.
        alive: whether what it does has an effect.
        ended: whether it is over.
        waits: it cannot go on at this moment, as it waits for a lock.
        faults: the kinds of faults that it met.
    """

    name: str
    work: Callable[[], object]
    delay: int = 0
    on_signal: Callable[[], None] | None = None
    alive: bool = True
    ended: bool = False
    waits: bool = False
    outcome: object = None
    error: BaseException | None = None
    faults: list[str] = field(default_factory=list)
    let: Any = None


@dataclass(slots=True, kw_only=True)
class Scheduler:
    """Chooses who goes on after each operation, and which operation fails.

    Attributes:
        random: of the seed.
        stickiness: how probably the same process goes on.
        faults: those that have not happened yet.
        after_operation: called after each operation with a durable effect.
        after_process: called when a process has ended.
        events: the log: one line per operation.
    """

    random: random.Random
    stickiness: float
    faults: list[Fault] = field(default_factory=list)
    after_operation: Callable[[Process, str, str], None] | None = None
    after_process: Callable[[Process], None] | None = None
    processes: list[Process] = field(default_factory=list)
    operations: int = 0
    points: set[str] = field(default_factory=set)
    events: list[str] = field(default_factory=list)
    _current: Process | None = None
    _quiet: bool = False
    # Where control goes when a process has ended.
    _main: Any = field(default_factory=getcurrent)

    @property
    def current(self) -> Process | None:
        """The process that does what happens now. None for the world itself."""
        return None if self._quiet else self._current

    @contextmanager
    def outside(self) -> Iterator[None]:
        """What is done inside is done by the world itself: no turn, no fault, no event."""
        before, self._quiet = self._quiet, True
        try:
            yield
        finally:
            self._quiet = before

    def start(self, process: Process) -> None:
        """Add a process to the world. It begins with one of the next operations."""
        process.delay += self.operations
        process.let = greenlet(lambda: self._live(process), self._main)
        self.processes.append(process)

    def run(self) -> None:
        """Let all processes go on until they have ended.

        Raises:
            Stuck: they never do.
        """
        while left := [process for process in self.processes if not process.ended]:
            ready = [process for process in left if process.delay <= self.operations]
            if not ready:
                self.operations = min(process.delay for process in left)
                continue
            self._resume(self._choose(ready))
            self._current = None

    def operate(self, kind: str, what: str, can: tuple[str, ...] = ()) -> str:
        """One operation of the current process begins. Others may have their turn before.

        Args:
            kind: of the operation, such as `PUT` or `rename`.
            what: its object.
            can: the kinds of faults that it can have, besides those of any operation.

        Returns:
            the kind of the fault that the caller carries out, or nothing.

        Raises:
            Killed: the process is gone.
        """
        process = self.current
        if process is None:
            return ""
        if not process.alive:
            raise Killed
        self._take_turns(process)
        self.operations += 1
        if self.operations > MOST_OPERATIONS:
            raise Stuck(f"{process.name} goes on for ever: {kind} {what}")
        self.points.add(kind)
        fault = self._take_fault(kind, what, ("kill", "sigterm", "hang", "pause", *can))
        self.events.append(f"{self.operations} {process.name} {kind} {what} {fault}".rstrip())
        if fault:
            process.faults.append(fault)
            self.points.add(f"{kind} {fault}")
        if fault == "pause":
            self._do_nothing(process, PAUSE_OPERATIONS)
        if fault == "hang":
            self._do_nothing(process, HANG_OPERATIONS)
            self.kill(process)
        if fault == "kill":
            self.kill(process)
        if fault == "sigterm" and process.on_signal:
            process.on_signal()
        return "" if fault in ("sigterm", "pause") else fault

    def done(self, kind: str, what: str) -> None:
        """The operation of the current process has had its effect."""
        process = self.current
        if process and self.after_operation:
            with self.outside():
                self.after_operation(process, kind, what)

    def kill(self, process: Process) -> None:
        """End the current process at once.

        Raises:
            Killed: always.
        """
        process.alive = False
        raise Killed

    def _do_nothing(self, process: Process, operations: int) -> None:
        """Let others go on for so many operations, or until none of them can."""
        process.waits = True
        until = self.operations + operations
        while self.operations < until:
            others = [other for other in self.processes if self._is_ready(other)]
            if not others:
                break
            self._switch_to(self.random.choice(others))
        process.waits = False

    def wait(self, what: str) -> None:
        """Give way to others, because a lock is held by one of them.

        Raises:
            Stuck: nobody can release it.
        """
        process = self.current
        self.operations += 1
        others = [other for other in self.processes if other is not process and not other.ended]
        if process is None or not others or self.operations > MOST_OPERATIONS:
            raise Stuck(f"{process.name if process else 'the world'} waits for {what} for ever")
        process.waits = True
        # Another one that waits may find its lock free now.
        free = [other for other in others if self._is_ready(other)]
        self._switch_to(self.random.choice(free or others))
        process.waits = False
        if not process.alive:
            raise Killed

    def _is_ready(self, process: Process) -> bool:
        return not process.ended and not process.waits and process.delay <= self.operations

    def _choose(self, ready: list[Process]) -> Process:
        # Whoever waits for a lock tries again, when nobody else can go on.
        free = [process for process in ready if not process.waits]
        return self.random.choice(free or ready)

    def _take_turns(self, process: Process) -> None:
        if self.random.random() < self.stickiness:
            return
        ready = [other for other in self.processes if self._is_ready(other)]
        # Who waited for a lock may find it free now.
        for other in self.processes:
            if other.waits and not other.ended and self.random.random() < 0.5:
                ready.append(other)
        chosen = self.random.choice(ready)
        if chosen is not process:
            self._switch_to(chosen)
            if not process.alive:
                raise Killed

    def _take_fault(self, kind: str, what: str, can: tuple[str, ...]) -> str:
        name = self._current.name if self._current else ""
        for place, fault in enumerate(self.faults):
            if fault.after > self.operations or fault.kind not in can or fault.at not in what:
                continue
            if (fault.on and kind not in fault.on) or not name.startswith(fault.who):
                continue
            if fault.skip:
                self.faults[place] = replace(fault, skip=fault.skip - 1)
                continue
            del self.faults[place]
            return fault.kind
        return ""

    def _switch_to(self, process: Process) -> None:
        before = self._current
        self._resume(process)
        self._current = before

    def _resume(self, process: Process) -> None:
        self._current = process
        process.let.switch()

    def _live(self, process: Process) -> None:
        try:
            process.outcome = process.work()
        except BaseException as error:  # noqa: BLE001 - how a process ends is judged later
            process.error = error
        process.ended = True
        if self.after_process:
            with self.outside():
                self.after_process(process)
