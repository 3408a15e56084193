"""What the suite compares: a table to which a line adds a choice."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from job.settings import HeadSettings, TransferSettings


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to retrain, the same for every task.

    Attributes:
        name: of its files.
        transfer: the settings that make the plan.
        head: the settings of the head.
    """

    name: str
    transfer: TransferSettings
    head: HeadSettings = field(default_factory=HeadSettings)


_ALL_CHOICES = (
    Choice("none", TransferSettings(mode="none")),
    Choice("stages", TransferSettings(mode="none"), HeadSettings(pooling="stages")),
    Choice("part-1", TransferSettings(mode="part", stages=1)),
    Choice("part-3", TransferSettings(mode="part", stages=3)),
    Choice("all", TransferSettings(mode="all")),
)
CHOICES: Mapping[str, Choice] = {choice.name: choice for choice in _ALL_CHOICES}
