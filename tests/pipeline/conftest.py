"""What tests of the whole pipeline share: pictures, weights, `graft` as a process, one release.

The line runs as its users run it, as a process with an environment, so that exit codes, signals and
the last line of the log are the real ones. A run takes ten seconds or more: each is made once for
many tests to look at.
"""

import fcntl
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
import pytest
from PIL import Image

from job import storage

COLOURS = {"blue": 2, "green": 1, "red": 0}
TINY = {
    "GRAFT_NAME": "colours",
    "GRAFT_BACKBONE_NAME": "MobileNet",
    "GRAFT_BACKBONE_IMAGE_SIZE": "32",
    "GRAFT_TRANSFER_MODE": "none",
    "GRAFT_TELEMETRY_PORT": "0",
}
"""The smallest network, frozen: 32 px, 135 tensors."""
STEPS = {
    "GRAFT_HEAD_UNITS": "16",
    "GRAFT_TRAINING_EPOCHS": "40",
    "GRAFT_TRAINING_PATIENCE": "0",
    "GRAFT_TRAINING_BATCH_SIZE": "64",
}
ONE_FORMAT = {"GRAFT_EXPORT_FORMATS": "saved_model"}
"""The format that is written and compared fastest, for a run whose exports nothing looks at."""


def draw(folder: Path, per_class: int = 12, classes: int = 3, seed: int = 7) -> Path:
    """Noise in which one colour is stronger. One picture of twelve has the wrong label."""
    chance = np.random.default_rng(seed)
    for name, channel in list(COLOURS.items())[:classes]:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(per_class):
            pixels = chance.integers(0, 90, (32, 32, 3), dtype=np.uint8)
            pixels[..., (channel + (number % 12 == 11)) % 3] += 150
            Image.fromarray(pixels).save(folder / name / f"{seed}-{number}.png")
    return folder


def run_of(
    *argv: str, environment: Mapping[str, str], measured: bool = False, **options: Any
) -> subprocess.Popen[str]:
    """`graft argv…` in a process with the `GRAFT_*` and `AWS_*` of `environment` alone.

    One process for each verb measures its coverage, which takes half as much time again.
    """
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("GRAFT_", "AWS_"))
    }
    if not measured:
        inherited.pop("COVERAGE_PROCESS_CONFIG", None)
    usual: dict[str, Any] = {
        "args": [sys.executable, "-m", "job", *argv],
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
    }
    return subprocess.Popen(env=inherited | dict(environment), text=True, **usual | options)


@dataclass(frozen=True)
class Ended:
    """What a process left: its exit code, what it said, and what was seen of it while it ran."""

    code: int
    out: str
    err: str
    seen: dict[str, str] = field(default_factory=dict)

    @property
    def result(self) -> dict[str, Any]:
        """The object on the log's last line, without what makes it a line of the log."""
        fields = json.loads(self.err.splitlines()[-1])
        del fields["time"], fields["severity"]
        return fields

    @property
    def told(self) -> str:
        """What a verb other than `run` said beside its answer."""
        return "\n".join(json.loads(line)["message"] for line in self.err.splitlines())

    @property
    def log(self) -> list[dict[str, Any]]:
        """The other lines."""
        return [json.loads(line) for line in self.err.splitlines()[:-1]]


def graft(*argv: str, **environment: str) -> Ended:
    """Run `graft` to its end."""
    return wait_for(run_of(*argv, environment=environment))


def measured_graft(*argv: str, **environment: str) -> Ended:
    """The same, with the coverage of its code."""
    return wait_for(run_of(*argv, environment=environment, measured=True))


def wait_for(process: subprocess.Popen[str]) -> Ended:
    out, err = process.communicate(timeout=300)
    return Ended(process.returncode, out, err)


def graft_until(
    pattern: str, then: Callable[[subprocess.Popen[str]], None], **environment: str
) -> Ended:
    """`graft run`; when a line of its log matches, `then` happens to it."""
    lines = []
    with run_of("run", environment=environment) as process:
        assert process.stderr
        assert process.stdout
        for line in process.stderr:
            lines.append(line)
            if re.search(pattern, line):
                then(process)
                break
        else:
            raise AssertionError(f"{pattern!r} was not in the log, which ends with {lines[-1:]}")
        lines += process.stderr
        out = process.stdout.read()
    return Ended(process.returncode, out, "".join(lines))


def files_of(uri: str) -> dict[str, bytes]:
    store = storage.connect(uri)
    return {entry.key: store.read(entry.key) for entry in store.list()}


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of xdist share."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "workshop"
    folder.mkdir(exist_ok=True)
    return folder


def once(folder: Path, make: Callable[[Path], object]) -> Path:
    """`folder`, made by the first worker that needs it."""
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (done := folder.with_suffix(".done")).exists():
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def pictures(workshop: Path) -> Path:
    """3 classes of 12 pictures."""
    return once(workshop / "pictures", draw)


WEIGHTS = """
import sys, keras, numpy
keras.utils.set_random_seed(1)
network = keras.applications.MobileNet(weights=None, include_top=False, input_shape=(32, 32, 3))
# He's scale: otherwise nothing of the picture arrives at the other end.
for layer in network.layers:
    for weight in layer.trainable_weights:
        if "kernel" in weight.name:
            depth = 1 if isinstance(layer, keras.layers.DepthwiseConv2D) else weight.shape[2]
            fan_in = numpy.prod(weight.shape[:2]) * depth
            weight.assign(numpy.random.standard_normal(weight.shape) * (2 / fan_in) ** 0.5)
network.save_weights(sys.argv[1])
"""


@pytest.fixture(scope="session")
def weights(workshop: Path) -> Path:
    """A file of MobileNet's weights as Keras writes it; random ones, but given as pre-trained."""

    def make(folder: Path) -> None:
        subprocess.run(
            [sys.executable, "-c", WEIGHTS, folder / "mobile.weights.h5"],
            check=True,
            capture_output=True,
        )

    return once(workshop / "weights", make) / "mobile.weights.h5"


@pytest.fixture(scope="session")
def tiny(pictures: Path, weights: Path, workshop: Path) -> dict[str, str]:
    """Settings of the smallest run, without its output."""
    return TINY | {
        "GRAFT_DATASET_URI": pictures.as_uri(),
        "GRAFT_BACKBONE_WEIGHTS": weights.as_uri(),
        "GRAFT_CACHE_DIR": str(workshop / "cache"),
    }


@dataclass(frozen=True)
class Released:
    """A run from a folder into a folder, never interrupted, and watched while it worked."""

    settings: dict[str, str]
    model: Path
    ended: Ended

    @property
    def folder(self) -> Path:
        return self.model / "releases" / self.ended.result["run_id"]

    @property
    def manifest(self) -> dict[str, Any]:
        return json.loads((self.folder / "manifest.json").read_text())

    def copied(self, to: Path) -> "Released":
        """The same in a bucket of one's own, where more may happen to it."""
        shutil.copytree(self.model, to / self.model.name)
        changed = {"GRAFT_OUTPUT_URI": to.as_uri(), "GRAFT_RESULT_PATH": ""}
        return Released(self.settings | changed, to / self.model.name, self.ended)


@pytest.fixture(scope="session")
def released(workshop: Path, tiny: dict[str, str]) -> Released:
    """The one release that many tests look at."""

    def settings(folder: Path) -> dict[str, str]:
        return (
            tiny
            | STEPS
            | {"GRAFT_OUTPUT_URI": folder.as_uri(), "GRAFT_RESULT_PATH": f"{folder}/result/r.json"}
        )

    def make(folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        watched = settings(folder) | {"GRAFT_TELEMETRY_PORT": str(port)}
        process = run_of("run", environment=watched, measured=True)
        watch = _Watch(port)
        out, err = process.communicate(timeout=300)
        ended = Ended(process.returncode, out, err, watch.end())
        (folder / "ended.json").write_text(json.dumps(asdict(ended)))

    folder = once(workshop / "released", make)
    ended = Ended(**json.loads((folder / "ended.json").read_text()))
    assert ended.code == 0, ended.err
    return Released(settings(folder), folder / "colours", ended)


class _Watch:
    """Asks a run as Prometheus and a browser would, and keeps the last answer of each page."""

    def __init__(self, port: int) -> None:
        self._seen: dict[str, str] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, args=(f"http://127.0.0.1:{port}",))
        self._thread.start()

    def _look(self, address: str) -> None:
        while not self._over.is_set():
            for page in ("/metrics", "/healthz", "/", "/live.json"):
                with suppress(OSError), urlopen(address + page, timeout=5) as answer:
                    self._seen[page] = answer.read().decode()
            time.sleep(0.2)

    def end(self) -> dict[str, str]:
        self._over.set()
        self._thread.join()
        return self._seen


@dataclass(frozen=True)
class Lake:
    """A bucket with the pictures below `data/`, and what the AWS SDK needs to find it."""

    uri: str
    environment: dict[str, str]

    @contextmanager
    def at_hand(self) -> Iterator[None]:
        """Inside, this process finds it too."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environment.items():
                patch.setenv(name, value)
            yield

    def files(self, uri: str) -> dict[str, bytes]:
        with self.at_hand():
            return files_of(uri)


@pytest.fixture(scope="session")
def lake(s3_server: str, pictures: Path) -> Lake:
    lake = Lake(
        "s3://lake",
        {
            "AWS_ENDPOINT_URL_S3": s3_server,
            "AWS_ACCESS_KEY_ID": "tester",
            "AWS_SECRET_ACCESS_KEY": "no-secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "2",
            "AWS_EC2_METADATA_DISABLED": "true",
        },
    )
    urlopen(Request(f"{s3_server}/lake", method="PUT")).close()
    with lake.at_hand():
        store = storage.connect("s3://lake/data")
        for path in sorted(pictures.rglob("*.png")):
            store.upload(path.relative_to(pictures).as_posix(), path)
    return lake
