"""The tree of errors and their exit codes: what was at fault, and whether a retry helps.

JobError                    1   a fault of Graft itself
├── SettingsError           2   the settings cannot work
│   ├── StoreNotFound       2   no such bucket, folder or object
│   └── StoreForbidden      2   the credentials lack a right
├── DatasetError            3   the images cannot be used for training
├── WeightsError            4   the backbone or its pre-trained weights
├── DivergedError           5   training produced NaN or infinity
├── ReleaseError            1   a release does not verify, or an export disagrees with its model
│   └── ReleaseNotFound     2   there is no release at an address that somebody gave
├── StoreConflict           1   a conditional write lost; the writer decides what that means
└── TemporaryError         75   a retry resumes
    ├── StoreUnavailable   75   the store is unreachable, slow or throttles requests
    ├── AcceleratorMissing 75   GPUs were promised and none is visible
    ├── WorkerLost         76   another worker of this run was lost or did not come
    └── Interrupted        75   SIGTERM, SIGINT (Ctrl-C) or SIGHUP
        └── WorkerStopped  76   another worker of this run was asked to stop

Exit code 6 (below the quality gate) is an outcome, not an error: the release exists.
A room that knows better re-raises with its own class: a missing data set is a `DatasetError` from a
`StoreNotFound`.
"""

import signal
from importlib.util import find_spec
from typing import ClassVar

# What asks a run to stop. Kubernetes and init systems send the first, a terminal sends the second
# for Ctrl-C and the third when it is closed.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class JobError(Exception):
    """A failure that a user can act on.

    Args:
        message: what was received and what was expected.
        cure: what to do about it, as an imperative sentence.
        problems: every single problem when there is more than one; `message` then summarises them.

    Attributes:
        run_id: id of the run that it ended, once that is known.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, cure: str = "", problems: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.cure = cure
        self.problems = problems
        self.run_id: str | None = None

    @property
    def kind(self) -> str:
        """The class's name without its suffix, in lower case: `settings`, `storeunavailable`."""
        return type(self).__name__.removesuffix("Error").lower()

    def __str__(self) -> str:
        return "\n".join(
            filter(
                None, [self.message, *(f"  - {problem}" for problem in self.problems), self.cure]
            )
        )


class SettingsError(JobError):
    exit_code = 2


class StoreNotFound(SettingsError):
    pass


class StoreForbidden(SettingsError):
    pass


class DatasetError(JobError):
    exit_code = 3


class WeightsError(JobError):
    exit_code = 4


class DivergedError(JobError):
    exit_code = 5


class ReleaseError(JobError):
    pass


class ReleaseNotFound(ReleaseError):
    exit_code = 2


class StoreConflict(JobError):
    pass


class TemporaryError(JobError):
    exit_code = 75


class StoreUnavailable(TemporaryError):
    pass


class AcceleratorMissing(TemporaryError):
    pass


class WorkerLost(TemporaryError):
    # Of its own, so that a cluster need not count it: the pod that caused it is counted already.
    exit_code = 76


class Interrupted(TemporaryError):
    @classmethod
    def by_signal(cls, number: int = signal.SIGTERM) -> "Interrupted":
        """The one thing to say of a stop, whichever process notices it."""
        name = signal.Signals(number).name
        if number == signal.SIGINT:
            name = f"{name} (Ctrl-C)"
        return cls(f"{name} was received.", "Start the run again: it goes on from its checkpoint.")


class WorkerStopped(Interrupted):
    exit_code = WorkerLost.exit_code

    @classmethod
    def by_another(cls) -> "WorkerStopped":
        """The one thing to say of a stop that another worker asked for."""
        return cls(
            "Another worker of this run was asked to stop, so that all of them stopped.",
            "Start all workers again: they go on from the checkpoint.",
        )


# The run goes on from its checkpoint if it is started again.
TEMPORARY_CODES = frozenset({TemporaryError.exit_code, WorkerLost.exit_code})


def explain_missing(error: BaseException) -> BaseException:
    """The error that people are shown: a launcher image, asked to compute, has no TensorFlow."""
    if not isinstance(error, ModuleNotFoundError) or find_spec("tensorflow") is not None:
        return error
    return SettingsError(
        f"This installation has no TensorFlow, which this verb needs: no module {error.name}.",
        "Take an image without `-launcher` in its tag. This one submits, watches and promotes.",
    )
