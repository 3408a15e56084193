"""What happens in a run, as frozen values.

The phases of a run emit them, `RunState` keeps what they add up to, and a process that trains with
other workers sends the same values to its parent. An event can be pickled.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

LogLevel = Literal["info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class PhaseBegan:
    """A phase of the pipeline has begun. Phases do not nest."""

    phase: str


@dataclass(frozen=True, slots=True)
class PhaseEnded:
    """The running phase has ended, at its end or `stopped` by an error."""

    phase: str
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class Progressed:
    """The running phase has done `done` of `total` things called `unit` (images, batches, formats).

    `detail` names what is in work now, such as the format that is exported.
    """

    done: int
    total: int
    unit: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class WorkForecast:
    """About how many seconds phases to come take at most, by name.

    `races` says that candidates are trained one after the other. The pace of one of them tells
    little of the phase.
    """

    seconds: Mapping[str, float]
    races: bool = False


@dataclass(frozen=True, slots=True)
class StageBegan:
    """A stage of at most `epochs` is trained by steps from here on. `done` of them are complete.

    `metric` names the score of an epoch that chooses the best one.
    """

    stage: str
    epochs: int
    done: int
    metric: str


@dataclass(frozen=True, slots=True)
class EpochEnded:
    """An epoch (counted from 1) of at most `epochs` of a stage has ended.

    `val_…` scores belong to the validation images, the others to the training images.
    """

    stage: str
    epoch: int
    epochs: int
    scores: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class HeadSolved:
    """The linear head of a stage was solved, once for each penalty. `penalty` was kept.

    It has no epochs. `scores` are those of the kept head, named as in `EpochEnded`.
    """

    stage: str
    penalty: float
    scores: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class HistoryRestored:
    """A resumed training goes on after these epochs, and after this solved head if there is one."""

    epochs: tuple[EpochEnded, ...]
    solved: HeadSolved | None = None


@dataclass(frozen=True, slots=True)
class StepTaken:
    """A training step on `images` took `seconds`. `loss` is the newest one, if it is known.

    Before that the devices waited for its batch for `waited` seconds.
    """

    seconds: float
    loss: float | None = None
    images: int = 0
    waited: float = 0.0


@dataclass(frozen=True, slots=True)
class BatchUsed:
    """The devices waited for a batch for `waited` seconds, and used it for `seconds`.

    A training step has its own event.
    """

    seconds: float
    waited: float


@dataclass(frozen=True, slots=True)
class CheckpointSaved:
    """The state of the training is durable."""


@dataclass(frozen=True, slots=True)
class FactsFound:
    """Something has been found out: numbers, texts and lists by the names that people see."""

    facts: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class LineLogged:
    """A line of the log: seconds since 1970, its level and the message alone."""

    time: float
    level: LogLevel
    message: str


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The run has ended with this `Result.as_dict()`."""

    result: Mapping[str, object]


Event = (
    PhaseBegan
    | PhaseEnded
    | Progressed
    | WorkForecast
    | StageBegan
    | EpochEnded
    | HeadSolved
    | HistoryRestored
    | StepTaken
    | BatchUsed
    | CheckpointSaved
    | FactsFound
    | LineLogged
    | RunEnded
)
