"""The kinds of worlds: what each draws from its seed."""

import random
from collections.abc import Callable, Mapping
from dataclasses import replace

from tools.torture.plan import KINDS_OF_FAULT, Plan, RunPlan
from tools.torture.scheduler import Fault

# What changes promoted.json, what looks at it, and what deletes releases beside them.
DEEDS = ("promote", "promote", "promote", "roll back", "roll back", "prune", "read")
RIVALS = ("promote", "promote", "roll back")
CHECKPOINTS = "/checkpoints/"
# The checkpoints in the store, and not those in a cache.
STATES = "/pets/runs/"
PROBE = "graft-probe"
IMAGE = ".jpg"
POINTER = "promoted.json"
# Where a publisher is killed or waits in vain: staged files, the claim, the release, the pointer.
PUBLISHED = ("/attempts/", "claim.json", "/releases/", "manifest.json", POINTER)
# What is written under a condition, so that a reply that is lost leaves a question.
ANSWERED = ("claim.json", "manifest.json", POINTER)
HOUR = 3600.0


def _draw_runs(seed: int, chance: random.Random, *, has_new_data: bool) -> Plan:
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
    return Plan(
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


def _draw_relay(seed: int, chance: random.Random) -> Plan:
    """One long training that is killed again and again where its checkpoints are written."""
    faults: list[Fault] = []
    for _ in range(chance.choice((2, 3, 4))):
        kind = chance.choice(("kill", "kill", "kill", "rot", "cut", "lost", "sigterm"))
        # Only what is read can be damaged or cut, and an attempt reads once.
        most = 2 if kind in ("rot", "cut") else 16
        faults.append(Fault(kind=kind, at=CHECKPOINTS, skip=chance.randrange(most)))
    store, interval = chance.choice(("bucket", "folder")), chance.choice((0.0, 0.0, 1.5))
    # On another node the store alone has the checkpoints.
    run = RunPlan(seed=0, machine="a", cache="own", keeps_cache=chance.random() < 0.5)
    return Plan(
        seed=seed,
        kind=store,
        runs=(run,),
        interval=interval,
        stickiness=1.0,
        faults=tuple(faults),
        epochs=5,
    )


def _draw_crowd(seed: int, chance: random.Random) -> Plan:
    """Releases first, and then many who promote, roll back, prune and read at once."""
    runs = []
    for number in range(chance.choice((2, 3))):
        runs.append(RunPlan(seed=number, machine="a", cache="shared"))
    faults: list[Fault] = []
    for _ in range(chance.choice((0, 0, 1, 2))):
        kind = chance.choice(("kill", "lost", "repeated", "409", "412", "503"))
        faults.append(Fault(kind=kind, at=POINTER, skip=chance.randrange(30)))
    return Plan(
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


def _draw_starts(seed: int, chance: random.Random) -> Plan:
    """Runs that begin at the same moment, as schedules do, on machines whose clocks differ."""
    runs = []
    for number in range(chance.choice((2, 3))):
        skew = chance.choice((0.0, HOUR, -HOUR))
        runs.append(RunPlan(seed=0, machine="a", cache=f"own{number}", skew=skew))
    faults: list[Fault] = []
    for _ in range(chance.choice((0, 1, 2))):
        kind = chance.choice(("kill", "lost", "repeated", "503"))
        faults.append(Fault(kind=kind, at=PROBE, skip=chance.randrange(6)))
    return Plan(
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


def _draw_publish(seed: int, chance: random.Random) -> Plan:
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
    return Plan(
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


def _draw_workers(seed: int, chance: random.Random) -> Plan:
    """One run of several workers, of which some are lost, hang or are asked to stop."""
    faults: list[Fault] = []
    for _ in range(chance.choice((1, 2, 3))):
        kind = chance.choice(("kill", "kill", "hang", "sigterm"))
        faults.append(Fault(kind=kind, after=chance.randrange(1200)))
    workers = chance.choice((2, 2, 3))
    return Plan(
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


def _draw_twins(seed: int, chance: random.Random) -> Plan:
    """Two attempts of one run at once. One pauses at a checkpoint, and the other goes on."""
    is_shared = chance.random() < 0.7
    runs = []
    for number in range(2):
        cache = "shared" if is_shared else f"own{number}"
        runs.append(RunPlan(seed=0, machine=chance.choice("aab"), cache=cache))
    # Who saves pauses before the upload, or who begins between a listing and a read.
    saving = Fault(kind="pause", at=CHECKPOINTS, on=("open",), who="run0", skip=chance.randrange(6))
    beginning = Fault(kind="pause", at=STATES, on=("GET", "open"), who="run1")
    faults = [chance.choice((saving, beginning))]
    if chance.random() < 0.5:
        kind = chance.choice(("pause", "kill", "lost", "sigterm"))
        faults.append(Fault(kind=kind, at=CHECKPOINTS, skip=chance.randrange(40)))
    return Plan(
        seed=seed,
        kind=chance.choice(("bucket", "bucket", "folder")),
        runs=tuple(runs),
        interval=chance.choice((0.0, 0.0, 1.5)),
        stickiness=chance.choice((0.0, 0.3, 0.6)),
        faults=tuple(faults),
        epochs=4,
        spread=150,
        serves=False,
    )


def _draw_rivals(seed: int, chance: random.Random) -> Plan:
    """Several workers win, and people promote before any of them has promoted the release."""
    runs = (
        RunPlan(seed=chance.randrange(100), machine="a", cache="first"),
        RunPlan(seed=100, machine="a", cache="own", workers=chance.choice((2, 2, 3))),
    )
    chief = Fault(kind=chance.choice(("pause", "kill")), at=POINTER, on=("PUT",), who="run1-0")
    faults = [chief]
    for index in range(1, runs[1].workers):
        if chance.random() < 0.8:
            faults.append(Fault(kind="pause", at=POINTER, on=("HEAD",), who=f"run1-{index}"))
    return Plan(
        seed=seed,
        kind="bucket",
        runs=runs,
        interval=100.0,
        stickiness=chance.choice((0.0, 0.5, 0.9)),
        faults=tuple(faults),
        epochs=1,
        in_turn=True,
        rivals=tuple(chance.choice(RIVALS) for _ in range(chance.choice((1, 1, 2)))),
    )


def _draw_fetch(seed: int, chance: random.Random) -> Plan:
    """Runs with empty caches, whose images are cut, wrong or late on their way."""
    is_shared = chance.random() < 0.5
    runs = []
    for number in range(chance.choice((1, 2))):
        cache = "shared" if is_shared else f"own{number}"
        runs.append(RunPlan(seed=number, machine="a", cache=cache))
    # A byte that is wrong twice at one place counts as damage.
    faults = [Fault(kind="wrong", at=IMAGE, skip=chance.randrange(10))]
    for _ in range(chance.choice((1, 2, 3))):
        kind = chance.choice(("cut", "slow", "500", "503", "kill", "sigterm"))
        faults.append(Fault(kind=kind, at=IMAGE, skip=chance.randrange(20)))
    return Plan(
        seed=seed,
        # Images in a folder are read in place.
        kind="bucket",
        runs=tuple(runs),
        interval=100.0,
        stickiness=chance.choice((0.0, 0.5, 0.9)),
        faults=tuple(faults),
        epochs=1,
        spread=30,
        serves=False,
    )


def _draw_prunes(seed: int, chance: random.Random) -> Plan:
    """Releases first, and then deletions that pause while people promote."""
    runs = []
    for number in range(4):
        runs.append(RunPlan(seed=number, machine="a", cache="shared"))
    on = ("DELETE", "unlink")
    pause = Fault(kind="pause", at="manifest.json", on=on, skip=chance.choice((0, 0, 1)))
    return replace(
        _draw_crowd(seed, chance),
        runs=tuple(runs),
        faults=(pause,),
        crowd=("prune",) * chance.choice((1, 2)) + ("promote",) * chance.choice((2, 3, 4)),
    )


def _draw_settled(seed: int, chance: random.Random) -> Plan:
    """Runs beside each other, on data that nobody changes."""
    return _draw_runs(seed, chance, has_new_data=False)


def _draw_nights(seed: int, chance: random.Random) -> Plan:
    """Runs beside each other, and an image that is replaced."""
    return _draw_runs(seed, chance, has_new_data=True)


# The first four are drawn, `runs` three times as often. The others are only asked for.
DRAWN = ("runs", "runs", "runs", "relay", "crowd", "nights")
SCENES: Mapping[str, Callable[[int, random.Random], Plan]] = {
    "runs": _draw_settled,
    "relay": _draw_relay,
    "crowd": _draw_crowd,
    "nights": _draw_nights,
    "starts": _draw_starts,
    "publish": _draw_publish,
    "workers": _draw_workers,
    "twins": _draw_twins,
    "rivals": _draw_rivals,
    "fetch": _draw_fetch,
    "prunes": _draw_prunes,
}


def draw_plan(seed: int, scene: str = "") -> Plan:
    """The plan of a seed.

    Args:
        seed: of the world.
        scene: one of `SCENES`. Empty for the one that the seed decides.
    """
    chance = random.Random(f"plan {seed}")
    drawn = chance.choice(DRAWN)
    return SCENES[scene or drawn](seed, chance)
