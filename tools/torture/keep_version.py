"""Keep a registry and checkpoints of this version, which every later one must read.

    python -m tools.torture.keep_version     # writes tests/data/versions/<version>/

The registry is one of a simulated world: two runs, two promotions, whole releases. Run it once for
each version, before the version is raised. What is kept is never changed.
"""

import json
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from tools.torture import stand_ins

stand_ins.install()

from job.checkpoint import CheckpointStore  # noqa: E402
from job.storage.folder import FolderStore  # noqa: E402
from tools.paths import ROOT  # noqa: E402
from tools.torture.plan import Plan, RunPlan  # noqa: E402
from tools.torture.states import describe_state, make_state  # noqa: E402
from tools.torture.world import World, inside  # noqa: E402

KEPT = ROOT / "tests" / "data" / "versions"
STEPS = (41, 42)


def keep_registry(folder: Path) -> None:
    """Write the registry of a world without faults."""
    runs = [RunPlan(seed=seed, machine="a", cache="shared") for seed in (0, 1)]
    plan = Plan(
        seed=0,
        kind="bucket",
        runs=tuple(runs),
        interval=100.0,
        stickiness=1.0,
        faults=(),
        crowd=("promote", "roll back"),
    )
    root = Path(tempfile.mkdtemp())
    for name in ("scratch", "caches", "bucket"):
        (root / name).mkdir()
    world = World(plan=plan, root=root)
    with inside(world):
        world.live()
    shutil.rmtree(root)
    if world.auditor.violations:
        raise ValueError("; ".join(world.auditor.violations))
    for key, content in world.bucket.objects.items():
        name = key.removeprefix("out/pets/")
        if name != key:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.data)


def main() -> int:
    """Write the folder of this version. The exit code is 1 if it is there already."""
    folder = KEPT / version("graft")
    if folder.exists():
        print(f"{folder.relative_to(ROOT)} is there, and what is kept is never changed.")
        return 1
    keep_registry(folder / "registry")
    store = FolderStore(folder / "checkpoints")
    with tempfile.TemporaryDirectory() as scratch:
        checkpoints = CheckpointStore(folder=Path(scratch), store=store, interval_seconds=0)
        for step in STEPS:
            checkpoints.save(make_state(step))
    described = describe_state(make_state(STEPS[-1]))
    (folder / "state.json").write_text(json.dumps(described, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
