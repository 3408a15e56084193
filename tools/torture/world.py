"""One world from one seed: its store, its pods, its faults, and what the auditor found."""

import hashlib
import json
import logging
import os
import random
import re
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from job import publish
from job.context import RunContext
from job.distributed import multi_worker
from job.errors import ReleaseError
from job.release import MANIFEST, POINTER, open_release
from job.storage import s3_session
from job.storage.s3 import S3Store
from job.storage.s3_session import Session
from job.telemetry.logs import JsonFormatter
from job.workers import SINGLE_WORKER, WorkerGroup
from tools.torture import pods, stand_ins
from tools.torture.auditor import Auditor
from tools.torture.bucket import Bucket
from tools.torture.clock import Clock, replace_time_and_chance
from tools.torture.disk import Disk
from tools.torture.plan import Plan, RunPlan
from tools.torture.pods import Pod
from tools.torture.scheduler import Process, Scheduler, Stuck
from tools.torture.together import Meeting

IMAGES = 5
# Of so many worlds one writes its logs, which takes time.
LOGGED = 4
# What the log says of a checkpoint that Graft did not write. In a world nobody else writes any.
ACCUSATION = "see who can write to"
# What no output may hold.
SECRET = "torture-planted-secret-7f3b"
SECRETS = {
    "AWS_ACCESS_KEY_ID": "torture-key",
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_SESSION_TOKEN": SECRET,
}


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
    groups: dict[str, WorkerGroup] = field(default_factory=dict)
    meetings: dict[str, Meeting] = field(default_factory=dict)
    # By the address of the checkpoints: the last durable step of the training, and where it is.
    durable: dict[str, int] = field(default_factory=dict)
    begun: list[tuple[str, int, int]] = field(default_factory=list)
    # SHA-256 of the images of each version of the data set.
    versions: list[set[str]] = field(default_factory=lambda: [set()])
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        chance = random.Random(f"turns {self.plan.seed}")
        self.scheduler = Scheduler(
            random=chance, stickiness=self.plan.stickiness, faults=list(self.plan.faults)
        )
        self.skews: dict[str, float] = {}
        self.clock.find_skew = self._find_skew
        self.bucket = Bucket(scheduler=self.scheduler, clock=self.clock)
        self.auditor = Auditor(
            read=self._read_key,
            list_keys=self._list_keys,
            is_folder=self.plan.kind == "folder",
        )
        self.disk = Disk(self.scheduler, self.root, self._is_writable)
        self.pods: dict[str, Pod] = {}
        # Who may delete releases.
        self.pruners: set[str] = set()
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
            delay = self.scheduler.random.randrange(self.plan.spread) * number
            self._add_run(f"run{number}", run, delay=delay, attempts=6)
            if self.plan.in_turn and run != self.plan.runs[-1]:
                self.scheduler.run()
        self._add_people()
        try:
            self.scheduler.run()
            self._let_crowd_act()
            if all(process.alive for process in self.scheduler.processes):
                # Without a kill nothing is left that would have to be swept.
                self._judge_scratch()
            if self.plan.serves and all(map(self._ended_well, self.scheduler.processes)):
                # No further run is needed for servers to have the champion.
                self.auditor.judge_versions()
            self.scheduler.faults.clear()
            if self.plan.has_new_data and len(self.versions) == 1:
                self._replace_image()
            # What killed runs have left is swept when nobody can be at it any more.
            self.clock.now += 8 * 24 * 3600
            # Faults have stopped: one more attempt of each run must do.
            last = {replace(run, keep=0, skew=0.0) for run in self.plan.runs}
            for number, run in enumerate(sorted(last)):
                self._add_run(f"last{number}", run, delay=0, attempts=1)
                self.scheduler.run()
            self._add_person("check", "read", delay=0)
            self.scheduler.run()
        except Stuck as error:
            self.auditor.violations.append(f"the world is stuck: {error}")
        self._judge_end()

    def _add_run(self, name: str, run: "RunPlan", *, delay: int, attempts: int) -> None:
        """Start a run: one pod, or one per worker."""
        addresses = tuple(f"{name}-{index}:2222" for index in range(run.workers))
        meeting = Meeting(scheduler=self.scheduler, size=run.workers)
        for index in range(run.workers):
            is_alone = run.workers == 1
            pod = name if is_alone else f"{name}-{index}"
            self.groups[pod] = SINGLE_WORKER if is_alone else WorkerGroup(addresses, index)
            self.meetings[pod] = meeting
            cache = run.cache if is_alone else f"{run.cache}-{index}"
            self._add_pod(pod, replace(run, cache=cache), delay=delay, attempts=attempts)

    def _add_pod(self, name: str, run: "RunPlan", *, delay: int, attempts: int) -> None:
        environment = {
            "GRAFT_NAME": "pets",
            "GRAFT_DATASET_URI": f"{self.address}/data",
            "GRAFT_OUTPUT_URI": f"{self.address}/out",
            "GRAFT_CACHE_DIR": str(self.root / "caches" / run.cache),
            "GRAFT_OUTPUT_SERVING": str(self.plan.serves).lower(),
            "GRAFT_SEED": str(run.seed),
            "GRAFT_TRAINING_EPOCHS": str(self.plan.epochs),
            "GRAFT_BACKBONE_WEIGHTS": "none",
            "GRAFT_TRANSFER_MODE": "all",
            "GRAFT_TELEMETRY_PORT": "0",
            "GRAFT_CHECKPOINT_INTERVAL_SECONDS": str(self.plan.interval),
            **SECRETS,
        }
        if run.keep:
            environment["GRAFT_OUTPUT_KEEP"] = str(run.keep)
            self.pruners.add(name)
        self.machines[name] = run.machine
        self.seeds[name] = run.seed
        self.skews[name] = run.skew
        self.pods[name] = Pod(
            name=name,
            act=lambda process: pods.run_job(process, environment),
            judge=lambda process: pods.judge_run(process, self.auditor),
            attempts=attempts,
            loses=None if run.keeps_cache else self.root / "caches" / run.cache,
        )
        self._start(name, delay)

    def _add_people(self) -> None:
        place, most = self.scheduler.random.randrange, 900 * len(self.plan.runs)
        for number, deed in enumerate(self.plan.deeds):
            self._add_person(f"person{number}", deed, delay=place(most))
        for number in range(self.plan.readers):
            self._add_person(f"reader{number}", "read", delay=place(most))
        if self.plan.has_new_data and self.plan.kind == "bucket":
            # The files of a folder must not be changed while a run lasts.
            owner = Pod(name="owner", act=lambda _: self._replace_image(), judge=lambda _: False)
            self.pods["owner"] = owner
            self._start("owner", place(most))

    def _let_crowd_act(self) -> None:
        """Many promote, roll back, prune and read at once."""
        for number, deed in enumerate(self.plan.crowd):
            self._add_person(f"crowd{number}", deed, delay=self.scheduler.random.randrange(30))
        self.scheduler.run()
        self.auditor.judge_pointer()

    def _let_rivals_act(self) -> None:
        """Begin once: several workers have released."""
        for number, deed in enumerate(self.plan.rivals):
            if f"rival{number}" not in self.pods:
                self._add_person(f"rival{number}", deed, delay=0)

    def _add_person(self, name: str, deed: str, *, delay: int) -> None:
        registry = f"{self.address}/out/pets"
        choose = random.Random(f"choices {self.plan.seed} {name}").choice
        acts: dict[str, Callable[[Process], Any]] = {
            "promote": lambda _: pods.promote_any(registry, self.auditor, choose),
            "roll back": lambda _: pods.roll_back_any(registry),
            "prune": lambda _: pods.prune_any(registry),
            "read": lambda _: pods.read_champion(registry),
        }
        is_choice = deed in ("promote", "roll back")
        judge = pods.judge_promotion if is_choice else pods.judge_reader
        if deed == "prune":
            self.pruners.add(name)
        self.pods[name] = Pod(
            name=name,
            act=acts[deed],
            judge=lambda process: judge(process, self.auditor),
            attempts=3,
        )
        self._start(name, delay)

    def _start(self, name: str, delay: int) -> None:
        pod = self.pods[name]
        pod.attempts -= 1
        if pod.loses:
            shutil.rmtree(pod.loses, ignore_errors=True)
        process = Process(name=f"{name}.{pod.attempts}", work=lambda: None, delay=delay)
        process.work = lambda: pod.act(process)
        self.scheduler.start(process)

    def _end_process(self, process: Process) -> None:
        name, _, _ = process.name.partition(".")
        pod = self.pods[name]
        if pod.judge(process) and pod.attempts > 0:
            self._start(name, 1)
        elif name.startswith("last") and not self._ended_well(process):
            self.auditor.violations.append(f"{process.name} did not end well without faults")

    def _ended_well(self, process: Process) -> bool:
        failed = process.error or getattr(process.outcome, "error", None)
        return process.alive and failed is None

    def find_group(self) -> WorkerGroup:
        """The workers that the present process belongs to, as TF_CONFIG says it."""
        return self.groups[self._name_pod()]

    def train_together(self, job: Any, context: RunContext, join_seconds: float) -> None:
        """What the present process does with the other workers of its run."""
        self.meetings[self._name_pod()].train(job, context, join_seconds)

    def _name_pod(self) -> str:
        assert self.scheduler.current
        return self.scheduler.current.name.partition(".")[0]

    def _make_workers(self, group: WorkerGroup = SINGLE_WORKER, *, together: bool = False) -> Any:
        process = self.scheduler.current
        assert process
        name = self._name_pod()
        seed = self.seeds[name]

        def find_durable(address: str) -> int:
            run_id = address.rsplit("/", 2)[1]
            # A release takes the place of its states. Of two runs of one id that train at once,
            # the next attempt may take the states of either.
            is_due = (
                sum(run.seed == seed for run in self.plan.runs) == 1
                and run_id not in self.auditor.manifests
                and run_id not in self.auditor.pruned
                # A damaged state gives way to the one before it, and a stale list hides the newest.
                and not self.bucket.rotten
                and not self._is_rotten(run_id)
                and not any("stale" in each.faults for each in self.scheduler.processes)
            )
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
            chief=group.chief or not together,
            count=group.size if together else 1,
            round=self.meetings[name].find_round(process) if together else None,
            process=process,
        )

    def _find_skew(self) -> float:
        process = self.scheduler.current
        return self.skews.get(process.name.partition(".")[0], 0.0) if process else 0.0

    def _is_rotten(self, run_id: str) -> bool:
        """Whether a checkpoint was damaged in the folder that plays the part of the bucket."""
        return any(f"runs/{run_id}/" in path for path in self.disk.rotten)

    def _write_images(self) -> None:
        for label in stand_ins.CLASSES:
            for number in range(IMAGES):
                self._write_image(f"data/{label}/{number}.jpg", f"{label} {number}".encode() * 5)
        if self.plan.kind == "folder":
            (self.root / "bucket" / "out").mkdir()

    def _replace_image(self) -> None:
        """Another picture of the same size under the same name."""
        label = stand_ins.CLASSES[0]
        before = hashlib.sha256(f"{label} 0".encode() * 5).hexdigest()
        self.versions.append(self.versions[-1] - {before})
        with self.scheduler.outside():
            self._write_image(f"data/{label}/0.jpg", f"{label} x".encode() * 5)

    def _write_image(self, name: str, data: bytes) -> None:
        self.versions[-1].add(hashlib.sha256(data).hexdigest())
        if self.plan.kind == "bucket":
            self.bucket.put(name, data)
            return
        path = self.root / "bucket" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

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

    def _audit(self, process: Process, kind: str, what: str) -> None:
        _, found, key = what.partition("out/pets/")
        if not found:
            return
        name = process.name.partition(".")[0]
        if self.plan.rivals and key.endswith(MANIFEST) and name.startswith("run1-"):
            self._let_rivals_act()
        if key.startswith("runs/"):
            self.auditor.look_at_state(kind, key, process, self.seeds.get(name))
        else:
            self.auditor.look_at(process, key, may_prune=name in self.pruners)

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
            rows = self._list_training_rows(run_id)
            expected = stand_ins.follow_chain(seed, self.plan.epochs, rows)
            model = self._read_key(f"releases/{run_id}/model.keras") or b""
            if expected.hex().encode() not in model:
                report(f"{run_id} is not what an undisturbed run of seed {seed} gives")
        self.auditor.judge_end({str(run.seed) for run in self.plan.runs}, self.versions)
        self.auditor.judge_pointer()
        if self.plan.serves:
            self.auditor.judge_versions()
        for address, step, durable in self.begun:
            if step < durable:
                report(f"a training at {address} began at {step} and {durable} was durable")
        self._judge_disk()
        self._judge_secrets()
        if self.plan.has_damage and not self.auditor.violations:
            self._judge_damage()

    def _judge_secrets(self) -> None:
        """No object, no file and no line of a log holds a secret, and no log accuses anybody."""
        secret, report = SECRET.encode(), self.auditor.violations.append
        for key, content in self.bucket.objects.items():
            if secret in content.data or SECRET in str(content.metadata):
                report(f"{key} holds a secret")
        for path in self.root.rglob("*"):
            if path.is_file() and secret in path.read_bytes():
                report(f"{path} holds a secret")
        for line in self.said:
            if SECRET in line:
                report(f"the log holds a secret: {line[:100]}")
            if ACCUSATION in line:
                report(f"the log blames a writer, and a disk was at fault: {line[:100]}")

    def _judge_damage(self) -> None:
        """Who opens or verifies a champion that was damaged in the store is told so."""
        raw = self._read_key(POINTER)
        if raw is None:
            return
        registry, release = f"{self.address}/out/pets", json.loads(raw)["release"]
        manifest = self._read_key(f"{release}/{MANIFEST}") or b""
        other = manifest.replace(b'"exact": true', b'"exact": false')
        if other != manifest:
            self._judge_change(f"{release}/{MANIFEST}", other, lambda: open_release(registry))
        name = self.scheduler.random.choice(sorted(json.loads(manifest)["files"]))
        data = bytearray(self._read_key(f"{release}/{name}") or b"")
        if data:
            data[len(data) // 2] ^= 1
            self._judge_change(f"{release}/{name}", bytes(data), lambda: publish.verify(registry))

    def _judge_change(self, key: str, data: bytes, look: Callable[[], object]) -> None:
        before = self._read_key(key) or b""
        self._write_key(key, data)
        try:
            look()
        except ReleaseError:
            return
        finally:
            self._write_key(key, before)
        self.auditor.violations.append(f"nobody noticed that {key} was changed")

    def _write_key(self, key: str, data: bytes) -> None:
        if self.plan.kind == "bucket":
            self.bucket.put(f"out/pets/{key}", data)
        else:
            (self.root / "bucket" / "out" / "pets" / key).write_bytes(data)

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
        with inside(world):
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
def inside(world: World) -> Iterator[None]:
    """Everything that processes touch is the world's, and nothing is the machine's."""

    def connect(_bucket: str, prefix: str, _access: Any = None) -> S3Store:
        return S3Store(Session(world.bucket, {}), "bucket", prefix)

    def give_way() -> None:
        world.scheduler.operate("sleep", "")

    s3_session.WORKED.clear()
    chance = random.Random(f"bytes {world.plan.seed}")
    ignore: Callable[..., Any] = lambda *_: signal.SIG_DFL  # noqa: E731
    with ExitStack() as stack:
        stack.enter_context(
            replace_time_and_chance(world.clock, chance, world.root / "scratch", give_way)
        )
        stack.enter_context(world.disk.replace_system_calls())
        stack.enter_context(patch.object(S3Store, "connect", connect))
        stack.enter_context(patch.object(signal, "signal", ignore))
        stack.enter_context(patch.dict(os.environ, SECRETS))
        if world.plan.seed % LOGGED == 0:
            stack.enter_context(_hear_logs(world.said))
        stack.enter_context(patch.object(stand_ins.Workers, "of_this_process", world._make_workers))
        stack.enter_context(patch.object(WorkerGroup, "parse", lambda _: world.find_group()))
        stack.enter_context(patch.object(multi_worker, "_watch_process", world.train_together))
        yield


class LogKeeper(logging.Handler):
    """Keeps each line as it is written for people."""

    def __init__(self, said: list[str]) -> None:
        super().__init__()
        self._said = said
        self.setFormatter(JsonFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        self._said.append(self.format(record))


@contextmanager
def _hear_logs(said: list[str]) -> Iterator[None]:
    """Inside, what is logged is kept, and runs write their logs as they do for people."""
    keeper, ours = LogKeeper(said), logging.getLogger("job")
    disabled, level = logging.root.manager.disable, ours.level
    logging.disable(logging.NOTSET)
    ours.setLevel(logging.INFO)
    logging.getLogger().addHandler(keeper)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(keeper)
        logging.disable(disabled)
        ours.setLevel(level)


def digest_events(finding: Finding) -> str:
    """SHA-256 of the log of events.

    Names that are digests are left out: some cover the address of a folder, which is another one
    each time.
    """
    text = re.sub("[0-9a-f]{16,}", "…", "\n".join(finding.events))
    return hashlib.sha256(text.encode()).hexdigest()
