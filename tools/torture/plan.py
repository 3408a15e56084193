"""What a seed decides about its world."""

from dataclasses import dataclass

from tools.torture.scheduler import Fault

KINDS_OF_FAULT = (
    *("kill",) * 6,
    *("sigterm",) * 2,
    *("lost", "repeated") * 2,
    *("500", "503", "429", "409", "412", "slow", "expired", "cut", "wrong", "enospc", "eio"),
    *("expires", "stale"),
)
# Those that only some scenes draw are among them.
EVERY_KIND = frozenset({*KINDS_OF_FAULT, "rot", "hang", "pause"})


@dataclass(frozen=True, order=True, kw_only=True)
class RunPlan:
    """One run.

    Attributes:
        seed: GRAFT_SEED.
        machine: its kind. Kinds differ in the last bits of the exports.
        cache: the name of its cache.
        skew: seconds by which its clock is ahead.
        keep: GRAFT_OUTPUT_KEEP, or 0 for all.
        workers: how many train it together.
        keeps_cache: whether the next attempt has the cache of the one before.
    """

    seed: int
    machine: str
    cache: str
    skew: float = 0.0
    keep: int = 0
    workers: int = 1
    keeps_cache: bool = True


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a seed decides about its world.

    Attributes:
        seed: of the world.
        kind: of its store: `bucket` or `folder`.
        runs: what runs, perhaps at once.
        deeds: what people do beside the runs.
        readers: how often somebody reads.
        interval: seconds between checkpoints.
        stickiness: how probably one process goes on after an operation.
        faults: what goes wrong, and when.
        epochs: of each run.
        crowd: what is done at once when the runs have ended.
        spread: the most operations between the beginnings of two runs.
        has_new_data: whether an image is replaced when a part of the runs have ended.
        has_damage: whether the champion is damaged in the store at the end, to see it noticed.
        serves: whether each champion becomes a version for servers.
        in_turn: whether a run begins when the one before has ended.
        rivals: what people do as soon as several workers have released.
    """

    seed: int
    kind: str
    runs: tuple[RunPlan, ...]
    deeds: tuple[str, ...] = ()
    readers: int = 0
    interval: float
    stickiness: float
    faults: tuple[Fault, ...]
    epochs: int = 2
    crowd: tuple[str, ...] = ()
    spread: int = 400
    has_new_data: bool = False
    has_damage: bool = False
    serves: bool = True
    in_turn: bool = False
    rivals: tuple[str, ...] = ()

    @classmethod
    def sweep(cls, store: str, operation: int, fault: str) -> "Plan":
        """One run alone, and one fault at its n-th operation or the next that can have it."""
        return cls(
            seed=0,
            kind=store,
            runs=(RunPlan(seed=0, machine="a", cache="own"),),
            interval=2.0,
            stickiness=1.0,
            faults=(Fault(after=operation, kind=fault),),
        )
