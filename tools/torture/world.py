"""One world from one seed: its store, its pods, its faults, and what the auditor found."""

import hashlib
import json
import os
import random
import re
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from job.storage import s3
from job.storage.s3 import S3Store, Session
from tools.torture import pods, stand_ins
from tools.torture.auditor import Auditor
from tools.torture.bucket import Bucket
from tools.torture.clock import Clock, replace_time_and_chance
from tools.torture.disk import Disk
from tools.torture.pods import Pod
from tools.torture.scheduler import Fault, Process, Scheduler, Stuck

KINDS_OF_FAULT = (
    *("kill",) * 6,
    *("sigterm",) * 2,
    *("lost", "repeated") * 2,
    *("500", "503", "429", "409", "412", "slow", "expired", "cut", "wrong", "enospc", "eio"),
)
EPOCHS = 2
IMAGES = 5


@dataclass(frozen=True, order=True, kw_only=True)
class RunPlan:
    """One run: GRAFT_SEED, the kind of its machine, and its cache."""

    seed: int
    machine: str
    cache: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a seed decides about its world.

    Attributes:
        seed: of the world.
        kind: of its store: `bucket` or `folder`.
        runs: what runs, perhaps at once.
        promotions: how often a person promotes.
        readers: how often somebody reads.
        interval: seconds between checkpoints.
        stickiness: how probably one process goes on after an operation.
        serves: whether each champion becomes a version for servers.
        faults: what goes wrong, and when.
    """

    seed: int
    kind: str
    runs: tuple["RunPlan", ...]
    promotions: int
    readers: int
    interval: float
    stickiness: float
    serves: bool
    faults: tuple[tuple[int, str], ...]

    @classmethod
    def draw(cls, seed: int) -> "Plan":
        """The plan of a seed."""
        chance = random.Random(f"plan {seed}")
        is_shared = chance.random() < 0.5
        runs = []
        for number in range(chance.choice((1, 2, 2, 3, 4))):
            cache = "shared" if is_shared else f"own{number}"
            seed_of_run, machine = chance.choice((0, 0, 0, 1, 2)), chance.choice("aab")
            runs.append(RunPlan(seed=seed_of_run, machine=machine, cache=cache))
        faults = []
        for _ in range(chance.choice((0, 1, 1, 2, 3, 5))):
            faults.append((chance.randrange(900 * len(runs)), chance.choice(KINDS_OF_FAULT)))
        # A byte that is wrong twice at one place counts as damage.
        wrong = [fault for fault in faults if fault[1] == "wrong"]
        faults = [fault for fault in faults if fault not in wrong[1:]]
        return cls(
            seed=seed,
            kind=chance.choice(("bucket", "bucket", "folder")),
            runs=tuple(runs),
            promotions=chance.choice((0, 0, 1, 2)),
            readers=chance.choice((0, 1, 2)),
            interval=chance.choice((0.0, 2.0, 5.0, 100.0)),
            stickiness=chance.choice((0.0, 0.5, 0.9, 0.98)),
            serves=chance.choice((True, True, False)),
            faults=tuple(sorted(faults)),
        )

    @classmethod
    def sweep(cls, store: str, operation: int, fault: str) -> "Plan":
        """One run alone, and one fault at its n-th operation or the next that can have it."""
        return cls(
            seed=0,
            kind=store,
            runs=(RunPlan(seed=0, machine="a", cache="own"),),
            promotions=0,
            readers=0,
            interval=2.0,
            stickiness=1.0,
            serves=True,
            faults=((operation, fault),),
        )


@dataclass(kw_only=True)
class World:
    """A world while it lasts.

    Attributes:
        plan: what its seed decides.
        root: its folder: bucket, caches and scratch.
    """

    plan: Plan
    root: Path
    scheduler: Scheduler = field(init=False)
    clock: Clock = field(default_factory=Clock)
    machines: dict[str, str] = field(default_factory=dict)
    seeds: dict[str, int] = field(default_factory=dict)
    # By the address of the checkpoints: the last durable step of the training, and where it is.
    durable: dict[str, int] = field(default_factory=dict)
    begun: list[tuple[str, int, int]] = field(default_factory=list)
    images: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        chance = random.Random(f"turns {self.plan.seed}")
        faults = [Fault(after=after, kind=kind) for after, kind in self.plan.faults]
        self.scheduler = Scheduler(random=chance, stickiness=self.plan.stickiness, faults=faults)
        self.bucket = Bucket(scheduler=self.scheduler, clock=self.clock)
        self.auditor = Auditor(
            read=self._read_key,
            list_keys=self._list_keys,
            is_folder=self.plan.kind == "folder",
        )
        self.disk = Disk(self.scheduler, self.root, self._is_writable)
        self.pods: dict[str, Pod] = {}
        self.scheduler.after_operation = self._audit
        self.scheduler.after_process = self._end_process

    @property
    def address(self) -> str:
        """Of the bucket or the folder that plays its part."""
        if self.plan.kind == "bucket":
            return "s3://bucket"
        return (self.root / "bucket").as_uri()

    def live(self) -> None:
        """From the first operation to the last finding."""
        self._write_images()
        for number, run in enumerate(self.plan.runs):
            delay = self.scheduler.random.randrange(400) * number
            self._add_run(f"run{number}", run, delay=delay, attempts=6)
        self._add_people()
        try:
            self.scheduler.run()
            if all(process.alive for process in self.scheduler.processes):
                # Without a kill nothing is left that would have to be swept.
                self._judge_scratch()
            self.scheduler.faults.clear()
            # What killed runs have left is swept when nobody can be at it any more.
            self.clock.now += 8 * 24 * 3600
            # Faults have stopped: one more attempt of each run must do.
            for number, run in enumerate(sorted(set(self.plan.runs))):
                self._add_run(f"last{number}", run, delay=0, attempts=1)
                self.scheduler.run()
            self.pods["check"] = Pod(
                name="check",
                act=lambda _: pods.read_champion(f"{self.address}/out/pets"),
                judge=lambda process: pods.judge_reader(process, self.auditor),
            )
            self._start("check", 0)
            self.scheduler.run()
        except Stuck as error:
            self.auditor.violations.append(f"the world is stuck: {error}")
        self._judge_end()

    def _add_run(self, name: str, run: "RunPlan", *, delay: int, attempts: int) -> None:
        environment = {
            "GRAFT_NAME": "pets",
            "GRAFT_DATASET_URI": f"{self.address}/data",
            "GRAFT_OUTPUT_URI": f"{self.address}/out",
            "GRAFT_CACHE_DIR": str(self.root / "caches" / run.cache),
            "GRAFT_OUTPUT_SERVING": str(self.plan.serves).lower(),
            "GRAFT_SEED": str(run.seed),
            "GRAFT_TRAINING_EPOCHS": str(EPOCHS),
            "GRAFT_BACKBONE_WEIGHTS": "none",
            "GRAFT_TRANSFER_MODE": "all",
            "GRAFT_TELEMETRY_PORT": "0",
            "GRAFT_CHECKPOINT_INTERVAL_SECONDS": str(self.plan.interval),
        }
        self.machines[name] = run.machine
        self.seeds[name] = run.seed
        self.pods[name] = Pod(
            name=name,
            act=lambda process: pods.run_job(process, environment),
            judge=lambda process: pods.judge_run(process, self.auditor),
            attempts=attempts,
            delay=delay,
        )
        self._start(name, delay)

    def _add_people(self) -> None:
        registry = f"{self.address}/out/pets"
        choose = random.Random(f"choices {self.plan.seed}").choice
        for number in range(self.plan.promotions):
            self.pods[f"person{number}"] = Pod(
                name=f"person{number}",
                act=lambda _: pods.promote_any(registry, self.auditor, choose),
                judge=lambda process: pods.judge_promotion(process, self.auditor),
            )
        for number in range(self.plan.readers):
            self.pods[f"reader{number}"] = Pod(
                name=f"reader{number}",
                act=lambda _: pods.read_champion(registry),
                judge=lambda process: pods.judge_reader(process, self.auditor),
            )
        for name in self.pods:
            if name.startswith(("person", "reader")):
                self._start(name, self.scheduler.random.randrange(900 * len(self.plan.runs)))

    def _start(self, name: str, delay: int) -> None:
        pod = self.pods[name]
        pod.attempts -= 1
        process = Process(name=f"{name}.{pod.attempts}", work=lambda: None, delay=delay)
        process.work = lambda: pod.act(process)
        self.scheduler.start(process)

    def _end_process(self, process: Process) -> None:
        name, _, _ = process.name.partition(".")
        pod = self.pods[name]
        if pod.judge(process) and pod.attempts > 0:
            self._start(name, 1)
        elif name.startswith("last") and (process.error or not self._has_succeeded(process)):
            self.auditor.violations.append(f"{process.name} did not end well without faults")

    def _has_succeeded(self, process: Process) -> bool:
        return getattr(process.outcome, "error", None) is None

    def _make_workers(self) -> Any:
        process = self.scheduler.current
        assert process
        name, _, _ = process.name.partition(".")
        seed = self.seeds[name]

        def find_durable(address: str) -> int:
            run_id = address.rsplit("/", 2)[1]
            # A release takes the place of its states. Of two runs of one id that train at once,
            # the next attempt may take the states of either.
            is_alone = sum(run.seed == seed for run in self.plan.runs) == 1
            is_due = is_alone and run_id not in self.auditor.manifests
            return self.durable.get(address, 0) if is_due else 0

        def report_start(address: str, step: int, durable: int) -> None:
            if find_durable(address):
                self.begun.append((address, step, durable))

        def report_checkpoint(address: str, step: int) -> None:
            self.durable[address] = step

        return stand_ins.Workers(
            machine=self.machines[name],
            find_durable=find_durable,
            report_start=report_start,
            report_checkpoint=report_checkpoint,
        )

    def _write_images(self) -> None:
        for label in stand_ins.CLASSES:
            for number in range(IMAGES):
                name, data = f"data/{label}/{number}.jpg", f"{label} {number}".encode() * 5
                self.images.add(hashlib.sha256(data).hexdigest())
                if self.plan.kind == "bucket":
                    self.bucket.put(name, data)
                else:
                    path = self.root / "bucket" / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(data)
        if self.plan.kind == "folder":
            (self.root / "bucket" / "out").mkdir()

    def _read_key(self, key: str) -> bytes | None:
        if self.plan.kind == "bucket":
            content = self.bucket.objects.get(f"out/pets/{key}")
            return content.data if content else None
        path = self.root / "bucket" / "out" / "pets" / key
        return path.read_bytes() if path.is_file() else None

    def _list_keys(self, prefix: str) -> list[str]:
        if self.plan.kind == "bucket":
            keys = [key.removeprefix("out/pets/") for key in self.bucket.objects]
        else:
            top = self.root / "bucket" / "out" / "pets"
            paths = [path for path in top.rglob("*") if path.is_file()]
            keys = [path.relative_to(top).as_posix() for path in paths]
        return sorted(key for key in keys if key.startswith(prefix))

    def _audit(self, process: Process, _kind: str, what: str) -> None:
        _, found, key = what.partition("out/pets/")
        if found:
            self.auditor.look_at(process, key)

    def _is_writable(self, path: Path) -> bool:
        # Not resolved: a link may be looked at, and not followed.
        full = os.path.abspath(path)  # noqa: PTH100
        places = [self.root / "caches", self.root / "scratch", Path("/dev/null")]
        if self.plan.kind == "folder":
            places.append(self.root / "bucket" / "out")
        return any(full.startswith(str(place)) for place in places)

    def _judge_end(self) -> None:
        """What must hold once the last run has ended."""
        report = self.auditor.violations.append
        for run_id, manifest in self.auditor.manifests.items():
            seed = int(manifest.fields["settings"].get("GRAFT_SEED", 0))
            expected = stand_ins.follow_chain(seed, EPOCHS, self._list_training_rows(run_id))
            model = self._read_key(f"releases/{run_id}/model.keras") or b""
            if expected.hex().encode() not in model:
                report(f"{run_id} is not what an undisturbed run of seed {seed} gives")
        self.auditor.judge_end({str(run.seed) for run in self.plan.runs}, self.images)
        if self.plan.serves:
            self.auditor.judge_versions()
        for address, step, durable in self.begun:
            if step < durable:
                report(f"a training at {address} began at {step} and {durable} was durable")
        self._judge_disk()

    def _judge_disk(self) -> None:
        """What killed processes have left is gone, and what has its name is durable."""
        report = self.auditor.violations.append
        for path in self.root.glob("caches/**/*.partial"):
            report(f"{path} is left")
        self._judge_scratch()
        for stray in self.disk.strays:
            report(f"{stray} was written")
        for message in self.disk.not_durable:
            report(message)
        if not self.plan.faults:
            for folder in self.disk.find_unsynced_names():
                report(f"names in {folder} are not on the disk")

    def _judge_scratch(self) -> None:
        for path in self.root.glob("scratch/**/*"):
            # Killed before it had a lock, a process has left an empty folder.
            if path.is_file() and path.name != "lock":
                self.auditor.violations.append(f"{path} is left")

    def _list_training_rows(self, run_id: str) -> Any:
        raw = self._read_key(f"releases/{run_id}/dataset.json") or b'{"images": []}'
        rows = []
        for image in json.loads(raw)["images"]:
            if image["split"] == "train":
                rows.append((image["label"], image["sha256"]))
        pixels = [np.frombuffer(bytes.fromhex(sha256), np.uint8) for _, sha256 in sorted(rows)]
        return np.array(pixels).astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What came of a world.

    Attributes:
        violations: empty if all is well.
        events: one line per operation.
        points: the kinds of operations, and of faults at them, that occurred.
        faults: how many happened.
    """

    violations: tuple[str, ...]
    events: tuple[str, ...]
    points: frozenset[str]
    faults: int


def live(plan: Plan) -> Finding:
    """Let a world happen. `stand_ins.install` comes before the first one."""
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    root = Path(os.path.realpath(tempfile.mkdtemp(prefix="torture-", dir=place)))
    try:
        for name in ("scratch", "caches", "bucket"):
            (root / name).mkdir()
        world = World(plan=plan, root=root)
        with _inside(world):
            world.live()
        scheduler = world.scheduler
        return Finding(
            violations=tuple(world.auditor.violations),
            events=tuple(scheduler.events),
            points=frozenset(scheduler.points),
            faults=sum(len(process.faults) for process in scheduler.processes),
        )
    finally:
        shutil.rmtree(root)


@contextmanager
def _inside(world: World) -> Iterator[None]:
    """Everything that processes touch is the world's, and nothing is the machine's."""

    def connect(_bucket: str, prefix: str, _access: Any = None) -> S3Store:
        return S3Store(Session(world.bucket, {}), "bucket", prefix)

    def give_way() -> None:
        world.scheduler.operate("sleep", "")

    s3.WORKED.clear()
    chance = random.Random(f"bytes {world.plan.seed}")
    ignore: Callable[..., Any] = lambda *_: signal.SIG_DFL  # noqa: E731
    with ExitStack() as stack:
        stack.enter_context(
            replace_time_and_chance(world.clock, chance, world.root / "scratch", give_way)
        )
        stack.enter_context(world.disk.replace_system_calls())
        stack.enter_context(patch.object(S3Store, "connect", connect))
        stack.enter_context(patch.object(signal, "signal", ignore))
        stack.enter_context(patch.object(stand_ins.Workers, "of_this_process", world._make_workers))
        yield


def digest_events(finding: Finding) -> str:
    """SHA-256 of the log of events.

    Names that are digests are left out: some cover the address of a folder, which is another one
    each time.
    """
    text = re.sub("[0-9a-f]{16,}", "…", "\n".join(finding.events))
    return hashlib.sha256(text.encode()).hexdigest()
