"""The champion as the newest version for servers that watch a folder, over S3 and in a folder."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from job import publish, settings
from job.__main__ import main
from job.errors import StoreUnavailable
from job.pipeline import released
from job.publish.versions import GRAPH, VERSIONS
from job.storage import Store, connect
from job.storage.folder import FolderStore
from job.storage.s3 import S3Store
from tests.conftest import FaultyProxy
from tests.publish.test_choice_by_hand import Runs
from tests.publish.test_releasing import bundle, racing
from tests.publish.test_retention import in_order

LARGE = "variables/variables.data-00000-of-00001"
SMALL = "variables/variables.index"


class ServedRuns(Runs):
    """Runs whose releases have a SavedModel of their own, and what servers see of them."""

    def __init__(self, registry: Store, folder: Path) -> None:
        super().__init__(registry, folder)
        self._folder = folder
        self.onnx: dict[str, bytes] = {}

    def run(self, run_id: str) -> Any:
        self.prepare(run_id)
        return super().run(run_id)

    def prepare(self, run_id: str) -> None:
        files = {
            f"saved_model/1/{GRAPH}": f"graph of {run_id}".encode(),
            f"saved_model/1/{LARGE}": f"weights of {run_id}".encode() * 99,
            f"saved_model/1/{SMALL}": b"index",
            "labels.json": b"[]",
        }
        if run_id in self.onnx:
            files["model.onnx"] = self.onnx[run_id]
        self._bundle = bundle(self._folder / f"bundle-{run_id}", files)

    def follow(self) -> int | None:
        return publish.follow_champion(self.registry, begin=True)

    def watch(self) -> tuple[int, dict[str, bytes]]:
        """What a server that looks for the highest number would load: the number and the files."""
        numbers = {0}
        for entry in self.registry.list("serving"):
            name = entry.key.split("/")[1]
            if name.isdigit():
                numbers.add(int(name))
        folder = f"serving/{max(numbers)}"
        files = {}
        for entry in self.registry.list(folder):
            files[entry.key.removeprefix(f"{folder}/")] = self.registry.read(entry.key)
        return max(numbers), files

    def served(self) -> tuple[int, str]:
        """The number that a server would load, and the run that it comes from."""
        number, files = self.watch()
        run_id = files[GRAPH].decode().removeprefix("graph of ")
        assert files == {
            GRAPH: files[GRAPH],
            LARGE: f"weights of {run_id}".encode() * 99,
            SMALL: b"index",
        }
        return number, run_id


@pytest.fixture
def runs(store: Store, tmp_path: Path) -> ServedRuns:
    return ServedRuns(store.child("pets"), tmp_path)


def test_each_promotion_and_each_roll_back_is_the_next_version(runs: ServedRuns) -> None:
    runs.run("a")
    assert (runs.follow(), runs.served()) == (1, (1, "a"))
    runs.run("b")
    assert (runs.follow(), runs.served()) == (2, (2, "b"))
    runs.lose("c")
    assert (runs.follow(), runs.served()) == (2, (2, "b"))
    # By hand: nobody has to say again that versions are kept.
    publish.roll_back(runs.registry.uri)
    assert runs.served() == (3, "a")
    runs.choose("b")
    assert runs.served() == (4, "b")
    runs.choose("b")
    assert runs.served() == (4, "b")

    written = json.loads(runs.registry.read(VERSIONS))["versions"]
    assert {number: one["run_id"] for number, one in written.items()} == {
        "1": "a",
        "2": "b",
        "3": "a",
        "4": "b",
    }


def test_without_the_setting_there_are_no_versions(runs: ServedRuns) -> None:
    assert runs.follow() is None
    runs.run("a")
    runs.choose("a")
    given = {"GRAFT_DATASET_URI": "/data", "GRAFT_OUTPUT_URI": "/models"}
    released.serve_champion(settings.load(given), runs.registry)
    assert runs.watch() == (0, {})
    released.serve_champion(settings.load(given | {"GRAFT_OUTPUT_SERVING": "true"}), runs.registry)
    assert runs.served() == (1, "a")


def cut_at(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let the copy of each file of that name fail, in both kinds of store."""

    def fail(copy: Callable[..., None]) -> Callable[..., None]:
        def copy_or_fail(self: Store, source: str, target: Any) -> None:
            if source.endswith(name):
                raise StoreUnavailable("away")
            copy(self, source, target)

        return copy_or_fail

    monkeypatch.setattr(S3Store, "copy", fail(S3Store.copy))
    monkeypatch.setattr(FolderStore, "_copy_file", fail(FolderStore._copy_file))


def test_a_version_that_was_cut_off_has_no_graph_and_is_completed_by_the_next_run(
    runs: ServedRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.run("a")
    runs.follow()
    runs.run("b")
    with monkeypatch.context() as patch:
        cut_at(patch, GRAPH)
        with pytest.raises(StoreUnavailable):
            runs.follow()
    number, files = runs.watch()
    if runs.registry.uri.startswith("file:"):
        assert runs.served() == (1, "a")
    else:
        assert (number, set(files)) == (2, {LARGE, SMALL})
    assert (runs.follow(), runs.served()) == (2, (2, "b"))


def test_a_store_that_is_away_after_a_release_asks_for_a_retry_which_completes_the_version(
    runs: ServedRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = runs.run("a")
    given = settings.load(
        {
            "GRAFT_DATASET_URI": "/data",
            "GRAFT_OUTPUT_URI": "/models",
            "GRAFT_OUTPUT_SERVING": "true",
        }
    )
    with monkeypatch.context() as patch:
        cut_at(patch, GRAPH)
        with pytest.raises(StoreUnavailable, match=r"The release is complete.*: away") as caught:
            released.serve_champion(given, runs.registry)
    assert caught.value.exit_code == 75
    assert "next attempt" in caught.value.cure
    # The retry finds the release.
    result = released.leave_unchanged(given, runs.registry, manifest)
    assert (result.status, result.promoted, result.exit_code) == ("unchanged", True, 0)
    assert runs.served() == (1, "a")


def test_a_champion_that_comes_while_a_number_is_taken_has_the_highest_one(
    runs: ServedRuns,
) -> None:
    runs.run("a")
    runs.follow()
    runs.run("b")

    def promote_another() -> None:
        runs.run("c")
        runs.follow()

    late = racing(runs.registry, "write_if", promote_another)
    assert publish.follow_champion(late) == 2
    assert runs.served() == (2, "c")


def test_a_roll_back_that_needs_no_new_version_outlives_the_number_of_the_one_before(
    runs: ServedRuns,
) -> None:
    """Seed 9 of the scene `crowd`: servers were given the model that had been rolled back."""
    runs.run("a")
    runs.follow()
    runs.run("b")

    def roll_back() -> None:
        # Version 1 is the newest one still, so that nothing is to be written.
        runs.choose("a")
        assert json.loads(runs.registry.read(VERSIONS))["versions"].keys() == {"1"}

    late = racing(runs.registry, "write_if", roll_back)
    publish.follow_champion(late)
    assert runs.champion == "a"
    assert runs.served() == (3, "a")


def test_a_deletion_that_puts_the_champion_back_tells_servers_of_it(
    runs: ServedRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seed 720 of the scene `crowd`: who promoted it found no manifest for a moment."""
    runs.prepare("c")
    runs.lose("c")
    runs.run("b")
    runs.prepare("a")
    runs.lose("a")
    in_order(runs.registry, *"cba")
    runs.follow()

    def promote_alone() -> None:
        monkeypatch.setattr("job.publish.promotion.follow_champion", lambda _: None)
        runs.choose("c")

    late = racing(runs.registry, "delete", promote_alone)
    publish.prune(late, 1)
    assert runs.champion == "c"
    assert runs.served() == (2, "c")


def test_a_watcher_of_a_folder_never_sees_a_part_of_a_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = ServedRuns(connect(str(tmp_path / "models")).child("pets"), tmp_path)
    runs.run("a")
    runs.follow()
    runs.run("b")
    seen = []
    copy = FolderStore._copy_file

    def copy_and_look(self: FolderStore, key: str, path: Path) -> None:
        copy(self, key, path)
        seen.append(runs.served())

    monkeypatch.setattr(FolderStore, "_copy_file", copy_and_look)
    runs.follow()
    assert seen == [(1, "a")] * 3
    assert runs.served() == (2, "b")


def test_what_a_killed_run_has_left_is_swept_and_what_another_one_fills_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = connect(str(tmp_path / "models")).child("pets")
    runs = ServedRuns(registry, tmp_path)
    runs.run("a")
    serving = tmp_path / "models/pets/serving"
    killed = serving / f".graft-{'0' * 32}"
    killed.mkdir(parents=True)
    (killed / GRAPH).touch()
    seen = []
    copy = FolderStore._copy_file

    def copy_and_sweep(self: FolderStore, key: str, path: Path) -> None:
        copy(self, key, path)
        seen.append(registry.sweep())

    monkeypatch.setattr(FolderStore, "_copy_file", copy_and_sweep)
    runs.follow()
    assert seen == [1, 0, 0]
    assert runs.served() == (1, "a")
    assert [path.name for path in serving.iterdir()] == ["1"]


def test_a_bucket_copies_by_itself_and_the_graph_comes_last(
    faulty: FaultyProxy, bucket: str, tmp_path: Path
) -> None:
    runs = ServedRuns(connect(f"{bucket}/pets"), tmp_path)
    runs.run("a")
    faulty.requests.clear()
    runs.follow()
    copied = []
    for method, path, headers in faulty.requests:
        if method == "PUT" and "/serving/" in path:
            assert headers["x-amz-copy-source"].endswith(path.partition("/serving/1/")[2])
            copied.append(path.partition("/serving/1/")[2])
    assert copied == [LARGE, SMALL, GRAPH]
    assert runs.served() == (1, "a")


def test_a_server_that_does_not_copy_gets_the_files_again(
    faulty: FaultyProxy, bucket: str, tmp_path: Path
) -> None:
    runs = ServedRuns(connect(f"{bucket}/pets"), tmp_path)
    runs.run("a")
    # The first one writes serving.json. Only an upload has a body to continue with.
    expects = ("Expect", "100-continue")
    faulty.fail("PUT", status=501, code="NotImplemented", after=1, unless_header=expects)
    runs.follow()
    assert runs.served() == (1, "a")


def test_numbers_grow_although_serving_json_was_lost_or_damaged(runs: ServedRuns) -> None:
    runs.run("a")
    runs.follow()
    runs.run("b")
    runs.follow()
    runs.registry.write(VERSIONS, b'{"schema": 1, "versions": {"01": {}}}')
    assert (runs.follow(), runs.served()) == (3, (3, "b"))
    runs.registry.delete(VERSIONS)
    assert (runs.follow(), runs.served()) == (4, (4, "b"))


def test_a_damaged_champion_ends_no_run_and_the_version_before_it_stays(
    runs: ServedRuns, caplog: pytest.LogCaptureFixture
) -> None:
    runs.run("a")
    runs.follow()
    runs.run("b")
    runs.registry.delete(f"releases/b/saved_model/1/{GRAPH}")
    given = {"GRAFT_DATASET_URI": "/data", "GRAFT_OUTPUT_URI": "/models"}
    released.serve_champion(settings.load(given), runs.registry)
    assert "The champion is not in serving/" in caplog.text
    runs.choose("a")
    assert runs.served() == (3, "a")


def test_old_versions_go_with_old_releases_and_never_that_of_the_champion(
    runs: ServedRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    for run_id in "abc":
        runs.run(run_id)
        runs.follow()
    runs.run("d")
    with monkeypatch.context() as patch:
        cut_at(patch, GRAPH)
        with pytest.raises(StoreUnavailable):
            runs.follow()
    # The newest one is not complete yet, so the one before it is what servers have.
    assert main(["prune", runs.registry.uri, "--keep", "1"]) == 0
    assert set(json.loads(runs.registry.read(VERSIONS))["versions"]) == {"3", "4"}
    runs.follow()
    publish.prune(runs.registry, 1)
    assert runs.served() == (4, "d")
    assert {entry.key.split("/")[1] for entry in runs.registry.list("serving")} == {"4"}
    publish.roll_back(runs.registry.uri)
    assert runs.served() == (5, "c")


def answer_always(values: list[float]) -> bytes:
    """An ONNX model that gives these probabilities to every image."""
    constant = helper.make_tensor("values", TensorProto.FLOAT, [1, len(values)], values)
    node = helper.make_node("Constant", [], ["probabilities"], value=constant)
    output = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [1, len(values)])
    graph = helper.make_graph([node], "always", [], [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content: bytes = model.SerializeToString()
    onnx.checker.check_model(content)
    return content


def test_a_request_before_and_after_a_promotion_gets_the_old_and_the_new_onnx_model(
    tmp_path: Path,
) -> None:
    """As Triton reads its repository: the highest number of each model."""
    runs = ServedRuns(connect(str(tmp_path / "models")).child("pets"), tmp_path)
    runs.onnx = {"a": answer_always([0.9, 0.1]), "b": answer_always([0.2, 0.8])}
    repository = tmp_path / "models/pets/triton"

    def ask() -> Any:
        (model,) = repository.iterdir()
        newest = max(model.iterdir(), key=lambda path: int(path.name))
        session = onnxruntime.InferenceSession(newest / "model.onnx")
        (probabilities,) = session.run(["probabilities"], {})
        return probabilities[0]

    runs.run("a")
    runs.follow()
    np.testing.assert_allclose(ask(), [0.9, 0.1], rtol=1e-6)
    runs.run("b")
    np.testing.assert_allclose(ask(), [0.9, 0.1], rtol=1e-6)
    runs.follow()
    np.testing.assert_allclose(ask(), [0.2, 0.8], rtol=1e-6)
    publish.roll_back(runs.registry.uri)
    np.testing.assert_allclose(ask(), [0.9, 0.1], rtol=1e-6)
    assert [path.name for path in repository.iterdir()] == ["pets"]
