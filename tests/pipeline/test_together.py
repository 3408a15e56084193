"""Two workers train one run as two processes, by TF_CONFIG, as the pods of an Indexed Job do.

One run that everything happens to: a worker killed in training, SIGTERM to one of them, the chief
killed while it exports and the other while it waits for it. What comes out is the release of one
undisturbed process.
"""

import csv
import io
import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from job import publish
from tests.pipeline.conftest import STEPS, Ended, Released, files_of, run_of

pytestmark = pytest.mark.runs

LONG_SECONDS = 240
"""For whatever must happen; only a failure takes so long."""
LONG_ENOUGH_TO_WAIT_SECONDS = 5
"""TensorFlow is imported by then, and waits in a call that no Python code interrupts."""


@dataclass
class Worker:
    """One worker of a run: a process whose log is watched while it runs."""

    process: subprocess.Popen[str]
    log: Path

    def until(self, pattern: str) -> None:
        """Wait for words in the log."""
        deadline = time.monotonic() + LONG_SECONDS
        while pattern not in self.log.read_text():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, f"{pattern!r} never came: {self.log.read_text()}"
            time.sleep(0.05)

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ended(self) -> Ended:
        code = self.process.wait(LONG_SECONDS)
        return Ended(code, "", self.log.read_text())


@dataclass
class Site:
    """Where the workers of a run live: each with a disk of its own, all with one bucket."""

    folder: Path
    settings: dict[str, str]
    addresses: list[str] = field(default_factory=list)
    started: list[Worker] = field(default_factory=list)

    @property
    def model(self) -> str:
        return (self.folder / "bucket" / "colours").as_uri()

    @property
    def states(self) -> list[str]:
        return sorted(key for key in files_of(self.model) if "/checkpoints/" in key)

    def start(self, index: int, **more: str) -> Worker:
        task = {"type": "worker", "index": index}
        here = {
            "GRAFT_OUTPUT_URI": (self.folder / "bucket").as_uri(),
            "GRAFT_CACHE_DIR": str(self.folder / f"disk-{index}"),
            "TF_CONFIG": json.dumps({"cluster": {"worker": self.addresses}, "task": task}),
        }
        log = self.folder / f"{len(self.started)}.log"
        with log.open("w") as stream:
            worker = Worker(
                run_of("run", environment=self.settings | here | more, stderr=stream), log
            )
        self.started.append(worker)
        return worker

    def both(self, **more: str) -> tuple[Worker, Worker]:
        """The chief and the other, on ports that nobody has."""
        with ExitStack() as held:
            free = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
            self.addresses = [f"127.0.0.1:{server.getsockname()[1]}" for server in free]
        return self.start(0, **more), self.start(1, **more)

    def close(self) -> None:
        for worker in self.started:
            worker.process.kill()
            worker.process.communicate()


@dataclass(frozen=True)
class Odyssey:
    site: Site
    survivor: Ended
    terminated: tuple[Ended, Ended]
    states: tuple[list[str], list[str]]
    waited: Ended
    published: Ended


@pytest.fixture(scope="module")
def site(tiny: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("site"), tiny | STEPS)
    yield site
    site.close()


@pytest.fixture(scope="module")
def odyssey(site: Site) -> Odyssey:
    chief, other = site.both(GRAFT_CHECKPOINT_INTERVAL_SECONDS="0")
    chief.until("probe: epoch 3 ")
    other.send(signal.SIGKILL)
    survivor, after_kill = chief.ended(), site.states

    chief, other = site.both()
    chief.until("probe: epoch ")
    other.send(signal.SIGTERM)
    terminated, after_stop = (chief.ended(), other.ended()), site.states

    chief, other = site.both()
    chief.until("export begins")
    other.until("waiting for the chief's release")
    for worker in (chief, other):
        worker.send(signal.SIGKILL)
        worker.ended()

    other = site.start(1)
    other.until("waiting for the chief's release")
    chief = site.start(0)
    return Odyssey(
        site, survivor, terminated, (after_kill, after_stop), other.ended(), chief.ended()
    )


def history(table: bytes) -> tuple[list[str], np.ndarray]:
    """The names of the columns, and the numbers of all but the first."""
    names, *rows = csv.reader(io.StringIO(table.decode()))
    return names, np.array([row[1:] for row in rows], float)


def test_a_worker_killed_in_training_ends_the_other_with_76(odyssey: Odyssey) -> None:
    assert odyssey.survivor.code == 76
    assert odyssey.survivor.result["error"]["message"].startswith(
        "Another worker is gone, or cannot be reached"
    )
    assert odyssey.survivor.result["run_id"]
    assert odyssey.states[0]


def test_sigterm_to_one_worker_stops_both_at_the_same_step_with_a_state_in_the_bucket(
    odyssey: Odyssey,
) -> None:
    # The one that was asked, and the one that follows: a Job counts the second one's end never.
    assert [ended.code for ended in odyssey.terminated] == [76, 75]
    for ended in odyssey.terminated:
        assert ended.result["status"] == "interrupted"
        assert "resumed at stage 1" in ended.err
    assert odyssey.states[1][-1] > odyssey.states[0][-1]


def test_once_training_is_over_nobody_joins_again_and_the_chief_publishes_alone(
    odyssey: Odyssey,
) -> None:
    for ended in (odyssey.waited, odyssey.published):
        assert ended.code == 0
        assert "nobody joins the others again" in ended.err
        assert "probe: epoch" not in ended.err


def test_both_tell_of_the_one_release(odyssey: Odyssey) -> None:
    waited, published = odyssey.waited.result, odyssey.published.result
    assert {**waited, "seconds": {}} == {**published, "seconds": {}}
    assert published["status"] == "released"
    assert published["promoted"]
    assert publish.verify(odyssey.site.model).store.uri == published["release"]
    assert odyssey.site.states == []


def test_two_workers_that_much_happened_to_give_the_release_of_one_undisturbed_process(
    odyssey: Odyssey, released: Released
) -> None:
    result = odyssey.published.result
    theirs, ours = files_of(result["release"]), files_of(released.folder.as_uri())
    assert result["run_id"] == released.ended.result["run_id"]
    assert result["scores"] == pytest.approx(released.ended.result["scores"], abs=1e-5)
    manifest = json.loads(theirs["manifest.json"])
    assert manifest["files"].keys() == released.manifest["files"].keys()
    (names, together), (_, alone) = (history(files["history.csv"]) for files in (theirs, ours))
    assert names[:2] == ["stage", "epoch"]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert manifest["exact"]


def test_a_worker_whose_peers_never_come_ends_with_76_when_its_patience_does(site: Site) -> None:
    site.addresses = ["127.0.0.1:9", "127.0.0.1:10"]
    ended = site.start(1, GRAFT_SEED="1", GRAFT_DEVICES_JOIN_SECONDS="0.5").ended()
    assert ended.code == 76
    assert (
        "Not all of the 2 workers (127.0.0.1:9, 127.0.0.1:10) were there"
        in ended.result["error"]["message"]
    )
    assert "GRAFT_DEVICES_JOIN_SECONDS" in ended.result["error"]["cure"]


def test_sigterm_ends_the_wait_for_peers_too(site: Site) -> None:
    site.addresses = ["127.0.0.1:9", "127.0.0.1:10"]
    worker = site.start(1, GRAFT_SEED="1")
    worker.until("devices begins")
    time.sleep(LONG_ENOUGH_TO_WAIT_SECONDS)
    worker.send(signal.SIGTERM)
    ended = worker.ended()
    assert (ended.code, ended.result["status"]) == (75, "interrupted")
