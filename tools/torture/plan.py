"""What a seed decides about its world."""

import random
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
EVERY_KIND = frozenset({*KINDS_OF_FAULT, "rot", "hang"})
# What changes promoted.json, what looks at it, and what deletes releases beside them.
DEEDS = ("promote", "promote", "promote", "roll back", "roll back", "prune", "read")
# Runs beside each other, one that is killed again and again, many people at once, new data, runs
# that begin at the same moment, publishers that are killed or get no answer, and a run of several
# workers. A seed draws one of the first four. The others happen only if they are asked for.
SCENES = ("runs", "relay", "crowd", "nights", "starts", "publish", "workers")
CHECKPOINTS = "/checkpoints/"
PROBE = "graft-probe"
# Where a publisher is killed or waits in vain: staged files, the claim, the release, the pointer.
PUBLISHED = ("/attempts/", "claim.json", "/releases/", "manifest.json", "promoted.json")
# What is written under a condition, so that a reply that is lost leaves a question.
ANSWERED = ("claim.json", "manifest.json", "promoted.json")
HOUR = 3600.0


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
    """

    seed: int
    machine: str
    cache: str
    skew: float = 0.0
    keep: int = 0
    workers: int = 1


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

    @classmethod
    def draw(cls, seed: int, scene: str = "") -> "Plan":
        """The plan of a seed.

        Args:
            seed: of the world.
            scene: one of `SCENES`. Empty for the one that the seed decides.
        """
        chance = random.Random(f"plan {seed}")
        drawn = chance.choice(("runs", "runs", "runs", "relay", "crowd", "nights"))
        match scene or drawn:
            case "relay":
                return cls._draw_relay(seed, chance)
            case "crowd":
                return cls._draw_crowd(seed, chance)
            case "starts":
                return cls._draw_starts(seed, chance)
            case "publish":
                return cls._draw_publish(seed, chance)
            case "workers":
                return cls._draw_workers(seed, chance)
            case other:
                return cls._draw_runs(seed, chance, has_new_data=other == "nights")

    @classmethod
    def _draw_runs(cls, seed: int, chance: random.Random, *, has_new_data: bool) -> "Plan":
        """Runs beside each other, with people and readers."""
        is_shared = chance.random() < 0.5
        runs = []
        for number in range(chance.choice((1, 2, 2, 3, 4))):
            runs.append(
                RunPlan(
                    seed=chance.choice((0, 0, 0, 1, 2)),
                    machine=chance.choice("aab"),
                    cache="shared" if is_shared else f"own{number}",
                    skew=chance.choice((0.0, 0.0, 0.0, HOUR, -HOUR)),
                    keep=chance.choice((0, 0, 0, 0, 1, 2)),
                )
            )
        faults: list[Fault] = []
        for _ in range(chance.choice((0, 1, 1, 2, 3, 5))):
            after, kind = chance.randrange(900 * len(runs)), chance.choice(KINDS_OF_FAULT)
            # A byte that is wrong twice at one place counts as damage.
            if kind != "wrong" or not any(fault.kind == "wrong" for fault in faults):
                faults.append(Fault(after=after, kind=kind))
        return cls(
            seed=seed,
            kind=chance.choice(("bucket", "bucket", "folder")),
            runs=tuple(runs),
            deeds=tuple(chance.choice(DEEDS) for _ in range(chance.choice((0, 0, 1, 2, 3)))),
            readers=chance.choice((0, 1, 2)),
            interval=chance.choice((0.0, 2.0, 5.0, 100.0)),
            stickiness=chance.choice((0.0, 0.5, 0.9, 0.98)),
            faults=tuple(faults),
            has_new_data=has_new_data,
            has_damage=chance.random() < 0.1,
            serves=chance.choice((True, True, False)),
        )

    @classmethod
    def _draw_relay(cls, seed: int, chance: random.Random) -> "Plan":
        """One long training that is killed again and again where its checkpoints are written."""
        faults: list[Fault] = []
        for _ in range(chance.choice((2, 3, 4))):
            kind = chance.choice(("kill", "kill", "kill", "rot", "lost", "sigterm"))
            faults.append(Fault(kind=kind, at=CHECKPOINTS, skip=chance.randrange(16)))
        return cls(
            seed=seed,
            kind=chance.choice(("bucket", "folder")),
            runs=(RunPlan(seed=0, machine="a", cache="own"),),
            interval=chance.choice((0.0, 0.0, 1.5)),
            stickiness=1.0,
            faults=tuple(faults),
            epochs=5,
        )

    @classmethod
    def _draw_crowd(cls, seed: int, chance: random.Random) -> "Plan":
        """Releases first, and then many who promote, roll back, prune and read at once."""
        runs = []
        for number in range(chance.choice((2, 3))):
            runs.append(RunPlan(seed=number, machine="a", cache="shared"))
        faults: list[Fault] = []
        for _ in range(chance.choice((0, 0, 1, 2))):
            kind = chance.choice(("kill", "lost", "repeated", "409", "412", "503"))
            faults.append(Fault(kind=kind, at="promoted.json", skip=chance.randrange(30)))
        return cls(
            seed=seed,
            kind=chance.choice(("bucket", "bucket", "folder")),
            runs=tuple(runs),
            interval=100.0,
            stickiness=chance.choice((0.0, 0.3, 0.6)),
            faults=tuple(faults),
            crowd=tuple(chance.choice(DEEDS) for _ in range(chance.choice((3, 4, 6)))),
            has_damage=chance.random() < 0.3,
            serves=chance.choice((True, True, False)),
        )

    @classmethod
    def _draw_starts(cls, seed: int, chance: random.Random) -> "Plan":
        """Runs that begin at the same moment, as schedules do, on machines whose clocks differ."""
        runs = []
        for number in range(chance.choice((2, 3))):
            skew = chance.choice((0.0, HOUR, -HOUR))
            runs.append(RunPlan(seed=0, machine="a", cache=f"own{number}", skew=skew))
        faults: list[Fault] = []
        for _ in range(chance.choice((0, 1, 2))):
            kind = chance.choice(("kill", "lost", "repeated", "503"))
            faults.append(Fault(kind=kind, at=PROBE, skip=chance.randrange(6)))
        return cls(
            seed=seed,
            kind=chance.choice(("bucket", "folder")),
            runs=tuple(runs),
            interval=100.0,
            stickiness=chance.choice((0.0, 0.3, 0.6)),
            faults=tuple(faults),
            epochs=1,
            spread=1,
            serves=False,
        )

    @classmethod
    def _draw_publish(cls, seed: int, chance: random.Random) -> "Plan":
        """Attempts that publish, promote and read. One is killed, and replies are lost."""
        runs = []
        for number in range(2):
            # Mostly two attempts of one run, whose files differ if their machines do.
            runs.append(
                RunPlan(
                    seed=chance.choice((0, 0, number)),
                    machine=chance.choice("ab"),
                    cache=f"own{number}",
                )
            )
        faults = [Fault(kind="kill", at=chance.choice(PUBLISHED), skip=chance.randrange(20))]
        for _ in range(chance.choice((1, 2))):
            kind = chance.choice(("lost", "repeated"))
            faults.append(Fault(kind=kind, at=chance.choice(ANSWERED), skip=chance.randrange(2)))
        return cls(
            seed=seed,
            # A folder loses no replies.
            kind="bucket",
            runs=tuple(runs),
            deeds=("promote",) * chance.choice((1, 2)),
            readers=chance.choice((1, 2)),
            interval=100.0,
            stickiness=chance.choice((0.0, 0.5, 0.9)),
            faults=tuple(faults),
            epochs=1,
            spread=60,
            serves=False,
        )

    @classmethod
    def _draw_workers(cls, seed: int, chance: random.Random) -> "Plan":
        """One run of several workers, of which some are lost, hang or are asked to stop."""
        faults: list[Fault] = []
        for _ in range(chance.choice((1, 2, 3))):
            kind = chance.choice(("kill", "kill", "hang", "sigterm"))
            faults.append(Fault(kind=kind, after=chance.randrange(1200)))
        workers = chance.choice((2, 2, 3))
        return cls(
            seed=seed,
            # Files of a folder have real times. After the days that a world skips, a probe of one
            # worker would look old to another that begins at the same moment.
            kind="bucket",
            runs=(RunPlan(seed=0, machine="a", cache="own", workers=workers),),
            readers=chance.choice((0, 1)),
            interval=chance.choice((0.0, 2.0, 100.0)),
            stickiness=chance.choice((0.0, 0.5, 0.9)),
            faults=tuple(faults),
        )

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
