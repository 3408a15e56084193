"""The rooms that need TensorFlow, replaced by what takes no time and shows every mistake.

The "weights" of the stand-in are a hash chain over (seed, epoch, step, digest of the batch). A step
that is lost, doubled, out of order, or fed with other features gives other bytes. Everything else
of the flow is real: `job.pipeline`, with its phases and records, runs as it is.
"""

import functools
import hashlib
import importlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from tools.torture.together import JoinedWorkers

JOB = Path(__file__).parents[2] / "job"
BATCH = 4
CLASSES = ("cat", "dog")


class Placeholder:
    """Takes the place of a class that only annotations name, or that only holds values."""

    def __init__(self, *_: Any, **values: Any) -> None:
        self.__dict__.update(values)


class Room(ModuleType):
    """A module whose unknown names are placeholders."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Placeholder


@dataclass(kw_only=True)
class Network:
    """What stands for a Keras model: its only variable is the chain."""

    chain: bytes
    output: Any = field(default_factory=lambda: SimpleNamespace(dtype="float32", shape=(None, 32)))

    def __call__(self, pixels: np.ndarray, training: bool) -> Any:  # noqa: ARG002 - Keras's name
        return SimpleNamespace(numpy=lambda: pixels)

    @property
    def variables(self) -> list[Any]:
        array = np.frombuffer(self.chain, np.uint8)
        return [SimpleNamespace(numpy=lambda: array)]


@dataclass(kw_only=True)
class StandInClassifier:
    """What stands for a classifier."""

    spec: Any
    model: Network
    image_size: int = 32
    solvable: bool = False

    @property
    def head(self) -> Any:
        """Its last layer, whose kernel is never looked at."""
        layer = SimpleNamespace(kernel=SimpleNamespace(numpy=lambda: np.zeros(0)))
        return SimpleNamespace(get_layer=lambda _name: layer)

    @property
    def classes(self) -> tuple[str, ...]:
        classes: tuple[str, ...] = self.spec.classes
        return classes


@dataclass(kw_only=True)
class StandInFeed:
    """What stands for the batches."""

    splits: Any
    seed: int
    image_size: int = 32
    image_fit: str = "letterbox"

    def load_images(self, examples: Sequence[Any]) -> Iterator[np.ndarray]:
        """Pixels [32, 32]: the SHA-256 of each file's content."""
        from job.batches import EVALUATION_BATCH

        for start in range(0, len(examples), EVALUATION_BATCH):
            rows = [read_pixels(example.path) for example in examples[start:][:EVALUATION_BATCH]]
            rows += rows[-1:] * (EVALUATION_BATCH - len(rows))
            yield np.array(rows)

    def choose_batch(self, epoch: int, step: int, count: int) -> list[int]:
        """The rows of a batch: a function of seed, epoch and step."""
        order = sorted(range(count), key=lambda row: digest(self.seed, epoch, row))
        return order[step * BATCH :][:BATCH]


def read_pixels(path: Path) -> np.ndarray:
    """float32 [32]: the SHA-256 of a file's content."""
    content = hashlib.sha256(path.read_bytes()).digest()
    return np.frombuffer(content, np.uint8).astype(np.float32)


def digest(*values: Any) -> bytes:
    """SHA-256 of some values."""
    return hashlib.sha256(repr(values).encode()).digest()


def follow_chain(seed: int, epochs: int, rows: np.ndarray) -> bytes:
    """The weights of a training that nothing has disturbed.

    Args:
        seed: of the settings.
        epochs: of the settings.
        rows: the features of the training images, float32 [n, 32].
    """
    feed = StandInFeed(splits=None, seed=seed)
    chain = b""
    for epoch in range(epochs):
        for step in range(-(-len(rows) // BATCH)):
            chosen = feed.choose_batch(epoch, step, len(rows))
            chain = digest(chain, seed, epoch, step, rows[chosen].tobytes())
    return chain


def fit(classifier: StandInClassifier, plan: Any, feed: StandInFeed, context: Any) -> Any:
    """Train from the latest checkpoint on, as `job.training.fit` does."""
    from job.checkpoint import TrainingState
    from job.features import FrozenNetwork

    done, machines, is_over = _resume_training(classifier, context)

    def save(step: int, *, over: bool = False) -> None:
        if not context.workers.chief:
            return
        arrays = {"model": [np.frombuffer(classifier.model.chain, np.uint8)]}
        facts = {"step": step, "over": over, "machines": machines}
        context.checkpoints.save(TrainingState(arrays, facts))
        context.workers.report_checkpoint(context.checkpoints.store.uri, step)

    network = FrozenNetwork(classifier.model, "stand-in")
    train = feed.splits.train
    rows = context.cache.load(network, feed, train, context.telemetry)
    steps = -(-len(train) // BATCH)
    for number in range(done, steps * context.settings.epochs):
        with context.stop.deferred():
            if context.agree_to_stop():
                save(number)
                context.workers.wait()
                context.stop.check()
            epoch, step = divmod(number, steps)
            chosen = feed.choose_batch(epoch, step, len(train))
            content = rows[np.array(chosen)].tobytes()
            classifier.model.chain = digest(classifier.model.chain, feed.seed, epoch, step, content)
            time.sleep(1)
            if context.checkpoints.should_save():
                save(number + 1)
    if not is_over:
        with context.stop.deferred():
            save(steps * context.settings.epochs, over=True)
            # The others wait until the state is there.
            context.agree_to_stop()
    classifier.machines = machines  # type: ignore[attr-defined]  # for the export
    return Placeholder(
        classifier=classifier,
        plan=plan,
        history=(),
        refinements=(),
        candidates=(),
        exact=len(machines) == 1,
    )


def _resume_training(classifier: StandInClassifier, context: Any) -> tuple[int, list[str], bool]:
    """Steps that are done, the machines that did them, and whether the training is over."""
    from job.errors import TemporaryError

    machine = context.workers.machine
    # The class has taken the real clock for its default.
    context.checkpoints._saved_at = time.monotonic()
    # Another run of this id may save a later one while this one looks.
    durable = context.workers.find_durable(context.checkpoints.store.uri)
    found = context.checkpoints.load()
    if not context.workers.agree(context.checkpoints.latest):
        raise TemporaryError("The workers do not start from one state.", "Start again.")
    done, machines, is_over = 0, [machine], False
    if found:
        done, is_over = found.facts["step"], found.facts["over"]
        machines = sorted({*found.facts["machines"], machine})
        classifier.model.chain = found.arrays["model"][0].tobytes()
    context.workers.report_start(context.checkpoints.store.uri, done, durable)
    return done, machines, is_over


def answer(chain: bytes, content: bytes) -> np.ndarray:
    """Probabilities float32 [2] of an image. The chain decides how often they are right."""
    label = CLASSES.index(content.decode().split()[0])
    skill = 0.5 + chain[0] / 512
    is_right = digest(chain, content)[0] / 256 < skill
    probabilities = np.full(2, 0.25, np.float32)
    probabilities[label if is_right else 1 - label] = 0.75
    return probabilities


def predict(
    classifier: StandInClassifier, _feed: Any, examples: Sequence[Any], _telemetry: Any
) -> np.ndarray:
    """Logits float32 [n, 2]."""
    chain = classifier.model.chain
    rows = [answer(chain, example.path.read_bytes()) for example in examples]
    return np.log(np.array(rows))


def judge(logits: np.ndarray, _logits_val: np.ndarray, splits: Any) -> Any:
    """The report: the accuracy, under the names of all metrics."""
    labels = np.array([example.label for example in splits.test])
    accuracy = float((logits.argmax(axis=1) == labels).mean())
    scores = dict.fromkeys(("accuracy", "balanced_accuracy", "macro_f1"), accuracy)
    return Placeholder(scores=scores, temperature=1.0, mistakes=())


def write_report(report: Any, context: Any, folder: Path) -> None:
    """report.json, with the promotion and without anything that differs from run to run."""
    fields = {"scores": report.scores, "plan": context.plan}
    (folder / "report.json").write_text(json.dumps(fields, sort_keys=True))


def compare_paired(labels: Any, ours: Any, theirs: Any, _metric: str) -> Any:
    """Both accuracies on the same images."""
    scores = [float((part.argmax(axis=1) == labels).mean()) for part in (ours, theirs)]
    values = {"challenger": scores[0], "champion": scores[1], "images": len(labels)}
    values |= {"low": scores[0] - scores[1] - 0.1, "high": scores[0] - scores[1] + 0.1}
    return SimpleNamespace(_asdict=lambda: values)


class Exporter:
    """Writes the exports. Machines that are not alike give other last bits."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> "Exporter":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def prepare(self) -> None:
        """Nothing has to be imported."""

    def start(self, request: Any) -> "Exporter":
        """Take the names of the classes."""
        self._classes = request.classes
        return self

    def send_variables(self, variables: Sequence[np.ndarray]) -> None:
        """Take the chain."""
        self._chain = variables[0].tobytes()

    def send_reference(self, *_: Any) -> None:
        """Nothing is compared."""

    def finish(self, _show_format: Any) -> Any:
        """Write the files."""
        bits = Workers.of_this_process().machine
        model = json.dumps({"chain": self._chain.hex(), "bits": bits}).encode()
        for name in ("saved_model/1/saved_model.pb", "saved_model/1/variables/data", "model.keras"):
            path = self._folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(model + name.encode() * 20)
        (self._folder / "labels.json").write_text(json.dumps(self._classes))
        seconds = {"saved_model": time.monotonic()}
        return Placeholder(folder=self._folder, parity=(), seconds=seconds)


class ServedModel:
    """A champion's model."""

    def __init__(self, folder: Path, _classes: int) -> None:
        raw = (folder / "saved_model.pb").read_bytes()
        fields, _ = json.JSONDecoder().raw_decode(raw.decode())
        self._chain = bytes.fromhex(fields["chain"])

    def classify_batches(self, images: Sequence[Path]) -> Iterator[np.ndarray]:
        """Probabilities float32 [n, 2], in one batch."""
        rows = [answer(self._chain, image.read_bytes()) for image in images]
        yield np.array(rows, np.float32)


@dataclass(kw_only=True)
class Workers(JoinedWorkers):
    """The devices of one process.

    Attributes:
        machine: its kind. Kinds differ in the last bits.
        find_durable: the last durable step of a training, by its address.
        report_start: hears at which step a training begins, and what was durable before.
        report_checkpoint: hears which step is durable.
    """

    machine: str
    find_durable: Any
    report_start: Any
    report_checkpoint: Any
    chief: bool = True
    devices: tuple[str, ...] = ("CPU:0",)
    count: int = 1
    strategy: Any = field(default_factory=lambda: SimpleNamespace(scope=nullcontext))
    of_this_process: Any = None

    @property
    def fingerprint(self) -> str:
        """What must be equal for equal bytes."""
        return self.machine

    def dtype_policy(self, _precision: str) -> str:
        return "float32"


def build(spec: Any, _weights: Any) -> StandInClassifier:
    """An untrained classifier."""
    return StandInClassifier(spec=spec, model=Network(chain=b""))


def choose_plan(*_: Any) -> Any:
    """Retrain all of it, in steps."""
    facts = {"mode": "all", "stages": ["all"]}
    stage = SimpleNamespace(solved=False, name="all")
    return Placeholder(mode="all", reason="as asked", stages=(stage,), facts=lambda: facts)


def write_history(_history: Any, folder: Path) -> None:
    """An empty table."""
    (folder / "history.csv").write_text("epoch\n")


ROOMS: dict[str, dict[str, Any]] = {
    "tensorflow": {
        "__version__": "0",
        "function": lambda function: function,
        "as_dtype": lambda dtype: SimpleNamespace(as_numpy_dtype=np.dtype(dtype)),
    },
    "keras": {"__version__": "0"},
    "job.images": {"DECODER": 0, "prepare_few": lambda encoded, *_: encoded},
    "job.batches": {
        "EVALUATION_BATCH": 8,
        "build_feed": lambda splits, _size, _fit, _training, seed: StandInFeed(
            splits=splits, seed=seed
        ),
        "collect_labels": lambda examples: np.array([example.label for example in examples]),
    },
    "job.evaluation": {"judge": judge, "write": write_report, "compare_paired": compare_paired},
    "job.export": {"Exporter": Exporter},
    "job.export.reference": {
        "classify": lambda _model, pixels: pixels,
        "read_padded": lambda images, _count: list(images),
    },
    "job.model": {"build": build, "fold_temperature": lambda *_: None},
    "job.selection": {},
    "job.training": {
        "__path__": [str(JOB / "training")],
        "fit": fit,
        "predict": predict,
        "write_history": write_history,
    },
    "job.transfer": {"choose_plan": choose_plan},
    "job.pipeline.forecast": {"forecast_time": lambda *_: Placeholder(event=Placeholder())},
    "job.publish.serving": {"TENSORFLOW": "0", "ServedModel": ServedModel},
}


class OneAfterTheOther:
    """What stands for a pool of threads: each call is done when it is submitted."""

    def __init__(self, *_: Any) -> None:
        pass

    def __enter__(self) -> "OneAfterTheOther":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def shutdown(self, **_: Any) -> None:
        """Nothing waits."""

    def map(self, function: Any, items: Any) -> Iterator[Any]:
        """As `Executor.map`, which calls the function on every item at once."""
        return iter([function(item) for item in items])

    def submit(self, function: Any, *arguments: Any) -> Any:
        """As `Executor.submit`."""
        from concurrent.futures import Future

        future: Future[Any] = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:  # noqa: BLE001 - it belongs to whoever asks for the result
            future.set_exception(error)
        return future


def install() -> None:
    """Put the stand-ins in place. This process cannot train any more."""
    job = importlib.import_module("job")
    for name, values in ROOMS.items():
        room = Room(name)
        vars(room).update(values)
        sys.modules[name] = room
        parent, _, last = name.rpartition(".")
        if parent == "job":
            setattr(job, last, room)
    training = sys.modules["job.training"]
    training.TrainingContext = importlib.import_module(  # type: ignore[attr-defined]
        "job.training.context"
    ).TrainingContext

    from job.audit import verdicts
    from job.dataset import fetching
    from job.pipeline import phases, records
    from job.publish import decision
    from job.release import parallel

    for module in (verdicts, fetching, parallel):
        module.ThreadPoolExecutor = OneAfterTheOther  # type: ignore[attr-defined]
    verdicts._make_judge = lambda **_: _judge_content  # type: ignore[assignment]
    records.version = functools.cache(records.version)  # type: ignore[attr-defined]
    # A world has few images.
    decision.LEAST_COMPARABLE = 2
    vars(vars(phases)["devices"])["join"] = lambda _, group, together: Workers.of_this_process(
        group, together=together
    )


def _judge_content(path: Path) -> Any:
    from job.audit.verdicts import Verdict

    content = hashlib.sha256(path.read_bytes()).digest()
    return Verdict("decodes", hash=int.from_bytes(content[:8], "big"), format="PNG")
