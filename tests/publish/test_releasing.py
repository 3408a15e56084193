"""Releases over a real S3 server and a folder: written, cut off, verified, promoted, raced for."""

import hashlib
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast, get_args

import pytest

from job import publish
from job.errors import ReleaseError, SettingsError, TemporaryError
from job.publish import Champion, Comparison, Decision
from job.release import Manifest, open_release
from job.result import Result
from job.settings import GateSettings
from job.settings.fields import Evidence
from job.storage import Store, connect

FILES = {
    "saved_model/1/saved_model.pb": b"graph" * 50,
    "saved_model/1/variables/variables.index": b"index",
    "model.keras": b"keras" * 90,
    "labels.json": b'["cat", "dog"]',
    "dataset.json": b'{"schema": 1, "images": []}',
    "logs/graft.log": b"started at nine",
}
PROMISED = {name: content for name, content in FILES.items() if not name.startswith("logs/")}


def fields(run_id: str, **changes: Any) -> dict[str, Any]:
    return {
        "name": "pets",
        "run_id": run_id,
        "settings": {"GRAFT_SEED": 0},
        "data": {
            "digest": "d",
            "listing": "l",
            "test": "t",
            "classes": ["cat", "dog"],
            "images": {"train": 3},
        },
        "versions": {"code": "c"},
        "plan": {"mode": "none"},
        "scores": {"accuracy": 0.9},
        "exact": True,
        "previous": None,
        "promotion": {"decision": "keep", "by": "gate", "reason": "", "comparison": None},
        **changes,
    }


def bundle(folder: Path, files: Mapping[str, bytes] = FILES) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def make_release(
    registry: Store, tmp_path: Path, run_id: str, files: Mapping[str, bytes] = FILES, **changes: Any
) -> Manifest:
    return publish.release(
        bundle(tmp_path / f"bundle-{run_id}", files), fields(run_id, **changes), registry
    ).manifest


@pytest.fixture
def registry(store: Store) -> Store:
    return store.child("pets")


# --- release ---


def test_a_release_holds_every_file_and_a_manifest_of_them(registry: Store, tmp_path: Path) -> None:
    release = publish.release(bundle(tmp_path / "bundle"), fields("run-1"), registry)

    keys = {entry.key for entry in registry.list()}
    written = [*FILES, "logs/claim.json", "manifest.json"]
    assert keys == {f"releases/run-1/{name}" for name in written}
    manifest = json.loads(registry.read("releases/run-1/manifest.json"))
    assert manifest["schema"] == 1
    assert manifest["files"] == {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in PROMISED.items()
    }
    assert release.ours
    assert release.uri == f"{registry.uri}/releases/run-1"
    assert publish.verify(release.uri).bytes == sum(map(len, PROMISED.values()))


def test_releasing_again_changes_nothing(registry: Store, tmp_path: Path) -> None:
    first = make_release(registry, tmp_path, "run-1")
    again = publish.release(
        tmp_path / "bundle-run-1", fields("run-1", seconds={"fit": 3}), registry
    )
    assert not again.ours
    assert again.manifest == first


def test_the_manifest_that_came_first_is_kept(
    registry: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = make_release(registry, tmp_path, "run-1")
    with caplog.at_level(logging.INFO):
        other = make_release(
            registry, tmp_path / "other", "run-1", {**FILES, "model.keras": b"other"}
        )
    assert other == first
    assert "with other files; it came first and is kept" in caplog.text
    assert registry.read("releases/run-1/model.keras") == FILES["model.keras"]


@pytest.mark.parametrize("uploads", [0, 3])
def test_killed_during_the_uploads_there_is_no_release_until_the_next_attempt(
    registry: Store, tmp_path: Path, uploads: int
) -> None:
    kill_while(f"upload, after={uploads}", bundle(tmp_path / "first"), registry)

    assert publish.find(registry, "run-1") is None
    assert list(publish.read_history(registry)) == []
    with pytest.raises(ReleaseError, match=r"has no manifest\.json"):
        publish.verify(registry.child("releases/run-1"))

    registry.write("releases/run-1/model.onnx", b"of the first attempt")
    make_release(registry, tmp_path, "run-1")
    publish.verify(registry.child("releases/run-1"))
    assert registry.head("releases/run-1/model.onnx") is None


def kill_while(what: str, folder: Path, registry: Store, then: str = "") -> None:
    """Release in another process, which kills itself with -9 in the n-th call of a method."""
    script = f"""
import os, signal, json, sys
from job import publish, storage
registry = storage.connect({registry.uri!r})
def deadly(method, after):
    real, calls = getattr(type(registry), method), []
    def count(self, *arguments):
        calls.append(1)
        if len(calls) > after:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(self, *arguments)
    setattr(type(registry), method, count)
method, after = {what.split(", after=")!r}
deadly(method, int(after))
from pathlib import Path
release = publish.release(Path({str(folder)!r}), json.loads(sys.argv[1]), registry)
{then}
"""
    promotion = {
        "decision": "promote",
        "by": "gate",
        "reason": "no champion yet",
        "comparison": None,
    }
    wanted = json.dumps(fields("run-1", promotion=promotion))
    assert subprocess.run([sys.executable, "-c", script, wanted], check=False).returncode == -9


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    return bundle(tmp_path / "ours")


def another_run(registry: Store, tmp_path: Path, files: Mapping[str, bytes]) -> None:
    publish.release(
        bundle(tmp_path / "theirs", {**FILES, **files}), fields("run-1", host="b"), registry
    )


OTHER = {"model.keras": b"other bits"}


@pytest.mark.parametrize("method", ["write_if", "upload", "head", "list", "read", "delete"])
def test_of_two_runs_at_once_one_manifest_stays_with_its_own_files(
    registry: Store, ours: Path, tmp_path: Path, method: str
) -> None:
    """Both began before either had a manifest, and on GPUs their bytes differ."""
    late = racing(registry, method, lambda: another_run(registry, tmp_path, files=OTHER))
    release = publish.release(ours, fields("run-1", host="a"), late)
    verified = publish.verify(registry.child("releases/run-1"))
    assert verified.manifest == release.manifest
    assert release.ours == (release.manifest.fields["host"] == "a")


@pytest.mark.parametrize("store_uri", ["folder"], indirect=True)
def test_files_of_two_runs_never_lie_together_under_a_manifest(
    registry: Store, ours: Path, tmp_path: Path
) -> None:
    """After each write of the one that is late, a reader finds no manifest or a whole release."""
    another_run(registry, tmp_path, files=OTHER)
    claimed = registry.read("releases/run-1/logs/claim.json")
    registry.delete("releases/run-1")

    def look() -> None:
        if publish.find(registry, "run-1"):
            publish.verify(registry.child("releases/run-1"))

    def act() -> None:
        look()
        if registry.head("releases/run-1/logs/claim.json") is None:
            return
        assert registry.read("releases/run-1/logs/claim.json") != claimed
        another_run(registry, tmp_path, files=OTHER)

    publish.release(ours, fields("run-1"), racing(registry, "upload", act, always=True))
    look()


@pytest.mark.parametrize("store_uri", ["folder"], indirect=True)
@pytest.mark.parametrize("method", ["upload", "write_if", "delete"])
@pytest.mark.parametrize("calls", [1, 6])
def test_what_a_killed_run_has_claimed_is_finished_by_a_run_with_other_bytes(
    registry: Store, ours: Path, tmp_path: Path, method: str, calls: int
) -> None:
    turns = iter(range(calls))

    def die() -> None:
        if next(turns, None) is None:
            raise KeyboardInterrupt

    theirs = bundle(tmp_path / "theirs", {**FILES, **OTHER})
    with suppress(KeyboardInterrupt):
        publish.release(
            theirs, fields("run-1", host="b"), racing(registry, method, die, always=True)
        )
    has_claim = registry.head("releases/run-1/logs/claim.json") is not None
    release = publish.release(ours, fields("run-1", host="a"), registry)
    assert release.manifest.fields["host"] == ("b" if has_claim else "a")
    publish.verify(registry.child("releases/run-1"))
    assert list(registry.list("runs")) == []


def test_a_release_that_was_claimed_is_completed_without_its_run(
    registry: Store, ours: Path
) -> None:
    turns = iter(range(1))

    def die_after_the_claim() -> None:
        if next(turns, None) is None:
            raise KeyboardInterrupt

    late = racing(registry, "write_if", die_after_the_claim, always=True)
    assert publish.complete(registry, "run-1") is None
    with pytest.raises(KeyboardInterrupt):
        publish.release(ours, fields("run-1"), late)
    assert publish.find(registry, "run-1") is None
    assert publish.complete(registry, "run-1") is not None
    publish.verify(registry.child("releases/run-1"))


def test_a_claim_that_nobody_can_finish_is_replaced(
    registry: Store, ours: Path, tmp_path: Path
) -> None:
    """Somebody deleted the manifest by hand, and the staged files were swept long ago."""
    another_run(registry, tmp_path, files=OTHER)
    registry.delete("releases/run-1/manifest.json")
    assert publish.release(ours, fields("run-1"), registry).ours
    publish.verify(registry.child("releases/run-1"))


def test_a_damaged_claim_is_replaced(registry: Store, ours: Path) -> None:
    registry.write("releases/run-1/logs/claim.json", b'{"schema": 1, "attempt": "../.."}')
    assert publish.release(ours, fields("run-1"), registry).ours
    publish.verify(registry.child("releases/run-1"))


def test_a_release_of_an_earlier_version_has_no_claim_and_stays(
    registry: Store, ours: Path, tmp_path: Path
) -> None:
    another_run(registry, tmp_path, files=OTHER)
    registry.delete("releases/run-1/logs")
    assert not publish.release(ours, fields("run-1"), registry).ours
    publish.verify(registry.child("releases/run-1"))


def test_a_release_that_is_always_changed_ends_as_temporary(
    registry: Store, ours: Path, tmp_path: Path
) -> None:
    def another() -> None:
        registry.delete("releases/run-1")
        another_run(registry, tmp_path, files=OTHER)
        registry.delete("releases/run-1/manifest.json")

    with pytest.raises(TemporaryError, match="changed 5 times"):
        publish.release(ours, fields("run-1"), racing(registry, "write_if", another, always=True))


class Racing:
    """A real store, and another run that acts just before the first call (or each) of a method."""

    def __init__(
        self, real: Store, method: str, turn: Callable[[], object], always: bool = False
    ) -> None:
        self._real, self._method, self._turns, self._always = real, method, [turn], always
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        if name == self._method:
            with self._lock:
                for turn in self._turns:
                    turn()
                if not self._always:
                    self._turns.clear()
        return getattr(self._real, name)

    def child(self, suffix: str) -> Any:
        changed = Racing(self._real.child(suffix), self._method, lambda: None, self._always)
        changed._turns = self._turns
        return changed


def racing(real: Store, method: str, turn: Callable[[], object], always: bool = False) -> Store:
    return cast(Store, Racing(real, method, turn, always))


def test_a_manifest_without_its_fields_is_not_written(registry: Store, tmp_path: Path) -> None:
    with pytest.raises(ReleaseError) as caught:
        publish.release(
            bundle(tmp_path / "bundle"), {"run_id": "run-1", "data": {}, "exact": "yes"}, registry
        )
    assert {
        "name is missing",
        "exact is of another type",
        "data.classes is not a list of names",
    } <= set(caught.value.problems)
    assert list(registry.list()) == []


# --- verify ---


def test_every_damage_is_named_at_once(registry: Store, tmp_path: Path) -> None:
    make_release(registry, tmp_path, "run-1")
    release = registry.child("releases/run-1")
    release.write("model.keras", FILES["model.keras"][:-1] + b"x")
    release.write("labels.json", b"[]")
    release.delete("dataset.json")
    release.write("saved_model/1/extra.pb", b"")
    release.write("logs/later.log", b"logs promise nothing")

    with pytest.raises(ReleaseError, match="differs from its manifest in 4 places") as caught:
        publish.verify(release.uri)
    said = "\n".join(caught.value.problems)
    assert "model.keras has sha256" in said
    assert "labels.json has 2 bytes, expected 14" in said
    assert "dataset.json is missing" in said
    assert "saved_model/1/extra.pb is not in the manifest" in said


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"{", "it is not JSON"),
        (b"[]", "it is not a JSON object"),
        (b'{"schema": 2}', "schema is 2, expected 1"),
        (
            json.dumps(
                {"schema": 1, **fields("run-1"), "files": {"../x": {}, "a": {"bytes": 1}}}
            ).encode(),
            "'../x'",
        ),
        (
            json.dumps({"schema": 1, **fields("run-1"), "files": {"a": {"bytes": 1}}}).encode(),
            "lacks bytes or sha256",
        ),
    ],
)
def test_without_a_valid_manifest_there_is_no_release(
    registry: Store, tmp_path: Path, raw: bytes, problem: str
) -> None:
    registry.write("releases/run-1/manifest.json", raw)
    with pytest.raises(ReleaseError) as caught:
        publish.verify(f"{registry.uri}/releases/run-1")
    assert problem in str(caught.value)
    assert publish.find(registry, "run-1") is None

    assert publish.release(bundle(tmp_path / "bundle"), fields("run-1"), registry).ours
    publish.verify(f"{registry.uri}/releases/run-1")


def test_the_uri_of_a_registry_means_its_champion(registry: Store, tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"neither a release .* nor a registry with a champion"):
        publish.verify(registry.uri)
    make_release(registry, tmp_path, "run-1")
    publish.promote_manually(f"{registry.uri}/releases/run-1")
    assert publish.verify(registry.uri).manifest.run_id == "run-1"

    registry.write(
        "releases/run-1/manifest.json", registry.read("releases/run-1/manifest.json") + b" "
    )
    with pytest.raises(ReleaseError, match=r"another manifest\.json"):
        publish.verify(registry.uri)


@pytest.mark.parametrize(
    "suffix", ["", "/", "/promoted.json", "/promoted.json/", "/releases/run-1", "/releases/run-1/"]
)
def test_every_address_of_a_release_opens_the_same_one(
    registry: Store, tmp_path: Path, suffix: str
) -> None:
    manifest = make_release(registry, tmp_path, "run-1")
    publish.promote_manually(f"{registry.uri}/releases/run-1")
    store, opened = open_release(f"{registry.uri}{suffix}")
    assert (store.uri, opened) == (f"{registry.uri}/releases/run-1", manifest)


def test_graft_verify_takes_the_uri_of_the_pointer(registry: Store, tmp_path: Path) -> None:
    make_release(registry, tmp_path, "run-1")
    publish.promote_manually(f"{registry.uri}/releases/run-1")
    command = [sys.executable, "-m", "job", "verify", f"{registry.uri}/promoted.json"]
    intact = subprocess.run(command, check=False, capture_output=True, text=True)
    assert intact.returncode == 0
    assert intact.stdout.startswith(f"{registry.uri}/releases/run-1: 5 files, ")

    registry.write("promoted.json", b'{"schema": 2}')
    refused = subprocess.run(command, check=False, capture_output=True, text=True)
    assert refused.returncode == 1
    assert "schema is 2, expected 1" in refused.stderr


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"schema": 2}, "schema is 2, expected 1"),
        ({"release": "../elsewhere"}, "release is '../elsewhere', expected 'releases/run-1'"),
        ({"manifest_sha256": 7}, "manifest_sha256 is 7, expected 64"),
    ],
)
def test_a_pointer_of_another_form_is_refused(
    registry: Store, tmp_path: Path, changes: dict[str, Any], problem: str
) -> None:
    make_release(registry, tmp_path, "run-1")
    publish.promote_manually(f"{registry.uri}/releases/run-1")
    pointer = json.loads(registry.read("promoted.json"))
    registry.write("promoted.json", json.dumps({**pointer, **changes}).encode())
    for uri in (registry.uri, f"{registry.uri}/promoted.json"):
        with pytest.raises(ReleaseError) as caught:
            publish.verify(uri)
        assert problem in caught.value.message
        assert caught.value.exit_code == 1


# --- history ---


def test_a_rerun_finds_what_would_come_out_the_same(registry: Store, tmp_path: Path) -> None:
    make_release(registry, tmp_path, "run-1")
    make_release(registry, tmp_path, "run-2", data={**fields("")["data"], "listing": "l2"})
    registry.write("releases/run-3/manifest.json", b"cut off")
    history = publish.read_history(registry)

    assert run_id_of(history.find_same("l", {"GRAFT_SEED": 0}, "c")) == "run-1"
    assert run_id_of(history.find_same("l2", {"GRAFT_SEED": 0}, "c")) == "run-2"
    assert history.find_same("l", {"GRAFT_SEED": 1}, "c") is None
    assert history.find_same("l", {"GRAFT_SEED": 0}, "another") is None
    assert run_id_of(publish.find(registry, "run-2")) == "run-2"
    assert history.count_judged_on("t") == 2
    assert history.count_judged_on("another") == 0


def run_id_of(manifest: Manifest | None) -> str | None:
    return manifest.run_id if manifest else None


def test_the_newest_of_equal_releases_is_found_first(registry: Store, tmp_path: Path) -> None:
    make_release(registry, tmp_path, "b")
    wait_for_another_second(registry)
    make_release(registry, tmp_path, "a")
    assert [manifest.run_id for manifest in publish.read_history(registry)] == ["a", "b"]
    assert run_id_of(publish.read_history(registry).find_same("l", {"GRAFT_SEED": 0}, "c")) == "a"


def wait_for_another_second(registry: Store) -> None:
    """S3 tells times in whole seconds."""
    first = registry.head("releases/b/manifest.json")
    assert first
    while True:
        registry.write("clock", b"")
        now = registry.head("clock")
        assert now
        if now.modified > first.modified + 1:
            return
        threading.Event().wait(0.2)


# --- promotion ---

GATE = GateSettings(metric="accuracy", min_score=0.5, tolerance=0.02)


def comparing(ours: float | None, theirs: float | None, images: int) -> Any:
    return lambda store, manifest: Comparison(
        run_id=manifest.run_id,
        metric="accuracy",
        challenger=ours,
        champion=theirs,
        low=-0.1,
        high=0.1,
        images=images,
    )


def never(*_: Any) -> Any:
    raise AssertionError("asked although it does not matter")


def decision_against(champion: Champion | None, promote: bool = True) -> Decision:
    return Decision(promote=promote, by="comparison", reason="", comparison=None, champion=champion)


def make_champion(registry: Store, tmp_path: Path, run_id: str = "old") -> Champion:
    make_release(registry, tmp_path, run_id)
    publish.promote_manually(f"{registry.uri}/releases/{run_id}")
    champion = publish.read_champion(registry)
    assert champion
    return champion


def test_below_the_gate_nothing_is_compared(registry: Store, tmp_path: Path) -> None:
    decision = publish.decide(GATE, 0.49, make_champion(registry, tmp_path), never)
    assert not decision.promote
    assert decision.reason == "accuracy 0.4900 is below the gate of 0.5000."


def test_the_first_release_that_passes_the_gate_is_promoted(
    registry: Store, tmp_path: Path
) -> None:
    decision = publish.decide(GATE, 0.5, None, never)
    manifest = make_release(
        registry, tmp_path, "run-1", promotion=decision.record(), previous=decision.previous
    )
    assert publish.promote(registry, manifest, decision, never) is decision

    pointer = json.loads(registry.read("promoted.json"))
    assert pointer["schema"] == 1
    assert (pointer["run_id"], pointer["release"], pointer["by"]) == (
        "run-1",
        "releases/run-1",
        "gate",
    )
    assert (
        pointer["manifest_sha256"]
        == hashlib.sha256(registry.read("releases/run-1/manifest.json")).hexdigest()
    )
    assert pointer["comparison"] is None
    assert pointer["previous"] is None


@pytest.mark.parametrize(
    ("ours", "theirs", "promote"),
    [(0.8, 0.7, True), (0.7, 0.7, True), (0.68, 0.7, True), (0.67, 0.7, False)],
)
def test_a_tie_within_the_tolerance_promotes(
    registry: Store, tmp_path: Path, ours: float, theirs: float, promote: bool
) -> None:
    champion = make_champion(registry, tmp_path)
    decision = publish.decide(GATE, 0.9, champion, comparing(ours, theirs, 30))
    assert decision.promote is promote
    assert decision.by == "comparison"
    assert decision.previous == champion.sha256
    record = decision.record()
    assert record["decision"] == ("promote" if promote else "keep")
    assert record["comparison"] == {
        "run_id": "old",
        "metric": "accuracy",
        "challenger": ours,
        "champion": theirs,
        "low": -0.1,
        "high": 0.1,
        "images": 30,
    }


@pytest.mark.parametrize(
    ("low", "tolerance", "promote"),
    [
        (0.001, 0, True),
        (0.0, 0, False),
        (-0.01, 0, False),
        (-0.01, 0.02, True),
        (-0.03, 0.02, False),
    ],
)
def test_by_its_interval_a_challenger_must_be_surely_not_worse(
    registry: Store, tmp_path: Path, low: float, tolerance: float, promote: bool
) -> None:
    comparison = Comparison(
        run_id="old",
        metric="accuracy",
        challenger=0.93,
        champion=0.9,
        low=low,
        high=0.05,
        images=300,
    )
    champion = make_champion(registry, tmp_path)
    gate = GateSettings(min_score=0.5, tolerance=tolerance, evidence="interval")

    decision = publish.decide(gate, 0.9, champion, lambda *_: comparison)

    assert (decision.promote, decision.by) == (promote, "comparison")
    assert decision.reason == (
        "accuracy 0.9300 against the champion's 0.9000 on the same 300 images. The lower end of "
        f"the difference, {low:+.4f} to +0.0500 (95 %), {'is' if promote else 'is not'} above "
        f"minus the tolerance of {tolerance:g}."
    )
    # By its score alone it would be promoted in each of these nights.
    assert publish.decide(
        GateSettings(min_score=0.5, tolerance=tolerance), 0.9, champion, lambda *_: comparison
    ).promote


def test_every_reason_fits_into_the_result(registry: Store, tmp_path: Path) -> None:
    champion = make_champion(registry, tmp_path)
    compare = comparing(1 / 3, 2 / 3, 1_000_000)
    for evidence in get_args(Evidence):
        gate = GateSettings(metric="balanced_accuracy", tolerance=1 / 3, evidence=evidence)
        reason = publish.decide(gate, 0.9, champion, compare).reason
        assert Result(status="released", reason=reason).as_dict()["reason"] == reason


@pytest.mark.parametrize(("ours", "theirs", "images"), [(0.1, 0.9, 29), (None, None, 0)])
def test_fewer_than_30_comparable_images_leave_it_to_the_gate_and_it_is_said(
    registry: Store, tmp_path: Path, ours: float | None, theirs: float | None, images: int
) -> None:
    decision = publish.decide(
        GATE, 0.9, make_champion(registry, tmp_path), comparing(ours, theirs, images)
    )
    assert decision.promote
    assert decision.by == "gate"
    assert (
        f"the champion has not learnt from {images} of today's test images, fewer than 30"
        in decision.reason
    )


def test_a_loser_leaves_the_pointer_alone(registry: Store, tmp_path: Path) -> None:
    champion = make_champion(registry, tmp_path)
    decision = publish.decide(GATE, 0.6, champion, comparing(0.6, 0.9, 100))
    publish.promote(registry, make_release(registry, tmp_path, "new"), decision, never)
    now = publish.read_champion(registry)
    assert now
    assert (run_id_of(now.manifest), now.pointer_sha256) == ("old", champion.pointer_sha256)


@pytest.mark.parametrize("damage", ["pointer", "manifest", "files"])
def test_a_damaged_champion_leaves_it_to_the_gate_and_is_replaced(
    registry: Store, tmp_path: Path, damage: str
) -> None:
    make_champion(registry, tmp_path)

    def cannot_be_judged(*_: Any) -> Comparison:
        raise ReleaseError("model.keras is missing.")

    if damage == "pointer":
        registry.write(
            "promoted.json", b'{"schema": 1, "run_id": "old", "release": "../elsewhere"}'
        )
    if damage == "manifest":
        registry.delete("releases/old/manifest.json")
    champion = publish.read_champion(registry)
    decision = publish.decide(GATE, 0.9, champion, cannot_be_judged if damage == "files" else never)
    assert decision.promote
    assert "decides alone: the champion" in decision.reason

    publish.promote(registry, make_release(registry, tmp_path, "new"), decision, never)
    assert publish.verify(registry.uri).manifest.run_id == "new"


def test_of_two_promoters_one_wins_and_the_other_compares_again(
    registry: Store, tmp_path: Path
) -> None:
    champion = make_champion(registry, tmp_path)
    manifests = {name: make_release(registry, tmp_path, name) for name in ("one", "two")}
    start, compared = threading.Barrier(2), []

    def decide_again(name: str, champion: Champion | None) -> Decision:
        compared.append((name, run_id_of(champion.manifest) if champion else None))
        return decision_against(champion, promote=False)

    def run(name: str) -> None:
        start.wait()
        publish.promote(
            registry,
            manifests[name],
            decision_against(champion),
            lambda champion: decide_again(name, champion),
        )

    threads = [threading.Thread(target=run, args=[name]) for name in manifests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    now = publish.read_champion(registry)
    assert now
    winner = run_id_of(now.manifest)
    (loser,) = set(manifests) - {winner}
    assert compared == [(loser, winner)]
    assert now.pointer["previous"]["run_id"] == "old"


def test_a_promoter_that_always_comes_late_gives_up_for_now(
    registry: Store, tmp_path: Path
) -> None:
    others = iter(range(100))

    def another_wins() -> None:
        make_champion(registry, tmp_path, f"other-{next(others)}")

    late = racing(registry, "write_if", another_wins, always=True)
    manifest = make_release(registry, tmp_path, "new")
    with pytest.raises(TemporaryError, match="changed 5 times"):
        publish.promote(late, manifest, decision_against(None), decision_against)


def test_a_pointer_whose_answer_was_lost_counts_as_written(
    bucket: str, faulty: Any, tmp_path: Path
) -> None:
    registry = connect(f"{bucket}/pets")
    manifest = make_release(registry, tmp_path, "run-1")
    faulty.fail("PUT", times=1, lose_answer=True)
    decision = decision_against(None)
    assert publish.promote(registry, manifest, decision, never) is decision
    assert run_id_of(publish.read_champion(registry).manifest) == "run-1"  # type: ignore[union-attr]


def test_killed_between_manifest_and_pointer_the_rerun_finishes_the_promotion(
    registry: Store, tmp_path: Path
) -> None:
    then = """
decision = publish.Decision(promote=True, by="gate", reason="", comparison=None, champion=None)
publish.promote(registry, release.manifest, decision, None)
"""
    kill_while("write_if, after=2", bundle(tmp_path / "bundle"), registry, then)

    assert publish.read_champion(registry) is None
    manifest = publish.find(registry, "run-1")
    assert manifest
    assert publish.finish_promotion(registry, manifest).promoted
    assert publish.verify(registry.uri).manifest == manifest
    assert json.loads(registry.read("promoted.json"))["reason"] == "no champion yet"
    assert publish.finish_promotion(
        registry, manifest
    ).promoted  # a second time it has nothing to do


def test_by_hand_any_intact_release_is_promoted_and_the_earlier_one_rolls_back(
    registry: Store, tmp_path: Path
) -> None:
    make_champion(registry, tmp_path, "old")
    assert publish.promote_manually(
        f"{registry.uri}/releases/{run_id_of(make_release(registry, tmp_path, 'new'))}/"
    ).endswith("/releases/new")
    pointer = json.loads(registry.read("promoted.json"))
    assert (pointer["run_id"], pointer["by"], pointer["previous"]["run_id"]) == (
        "new",
        "manual",
        "old",
    )

    publish.promote_manually(f"{registry.uri}/releases/old")
    assert publish.verify(registry.uri).manifest.run_id == "old"


def test_by_hand_a_damaged_release_is_not_promoted(registry: Store, tmp_path: Path) -> None:
    make_release(registry, tmp_path, "run-1")
    registry.write("releases/run-1/model.keras", b"damaged")
    with pytest.raises(ReleaseError, match=r"model\.keras has 7 bytes"):
        publish.promote_manually(f"{registry.uri}/releases/run-1")
    assert publish.read_champion(registry) is None


def test_by_hand_only_a_releases_uri_will_do(registry: Store) -> None:
    with pytest.raises(SettingsError, match="expected the URI of a release"):
        publish.promote_manually(registry.uri)


def test_publish_is_imported_without_tensorflow() -> None:
    check = (
        "import sys, job.publish; assert not {'tensorflow', 'keras', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", check], check=True)
