"""What must hold in a world, checked after each operation with a durable effect."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from job.errors import ReleaseError
from job.release import MANIFEST, POINTER, Manifest
from tools.torture.scheduler import Process

CLAIM = "logs/claim.json"
GRAPH = "saved_model.pb"


@dataclass(slots=True, kw_only=True)
class Auditor:
    """Looks into the registry of a world.

    Attributes:
        read: the content of a key of the registry, or None.
        list_keys: the keys below a prefix.
        is_folder: whether the registry is on a disk.
        violations: what did not hold, one sentence each.
    """

    read: Callable[[str], bytes | None]
    list_keys: Callable[[str], list[str]]
    is_folder: bool
    violations: list[str] = field(default_factory=list)
    # By run id: the manifests that `graft prune` or a run with GRAFT_OUTPUT_KEEP has deleted.
    pruned: dict[str, Manifest] = field(default_factory=dict)
    # By run id: GRAFT_SEED of the run that writes checkpoints and staged files there.
    owners: dict[str, int] = field(default_factory=dict)
    # The first valid manifest of each run id: no other one may ever take its place.
    manifests: dict[str, Manifest] = field(default_factory=dict)
    # The contents that promoted.json has had, with the process that wrote each. Those that were
    # taken back are not among them.
    pointers: list[tuple[bytes, str]] = field(default_factory=list)
    # The run id of each promotion, with its process. Those that were taken back are among them.
    promoted: list[tuple[str, str]] = field(default_factory=list)
    # By run id: the process whose claim the release is.
    claimants: dict[str, str] = field(default_factory=dict)

    @property
    def has_pruned(self) -> bool:
        """Whether a release has been deleted."""
        return bool(self.pruned)

    def look_at_state(self, kind: str, key: str, process: Process, seed: int | None) -> None:
        """What a run keeps for its next attempt is removed by runs of this id alone.

        Args:
            kind: of the operation.
            key: below `runs/`.
            process: that has changed it.
            seed: GRAFT_SEED of the process. None for a person.
        """
        run_id = key.split("/")[1]
        if kind not in ("DELETE", "unlink"):
            if seed is not None:
                self.owners.setdefault(run_id, seed)
        elif key.endswith(".partial"):
            # What a killed writer has left. A lock protects what somebody still writes.
            return
        elif run_id not in self.manifests and self.owners.get(run_id, seed) != seed:
            self._report(f"{process.name} removed {key}, which is another run's")

    def look_at(self, process: Process, key: str, *, may_prune: bool) -> None:
        """Check what a change to a key may have broken."""
        match key.split("/", maxsplit=2):
            case [name] if name == POINTER:
                self._check_pointer(process)
            case ["releases", run_id, name]:
                if name == CLAIM and self.read(key) is not None:
                    self.claimants[run_id] = process.name
                if may_prune and name == MANIFEST and self.read(key) is None:
                    self._note_pruned(run_id)
                self._check_release(run_id, name)
            case ["serving", number, *_] if number.isdigit():
                self._check_version(number)

    def _note_pruned(self, run_id: str) -> None:
        manifest = self.manifests.pop(run_id, None)
        if manifest:
            self.pruned[run_id] = manifest

    def judge_pointer(self) -> None:
        """When nobody is at work, promoted.json names a release that is there."""
        raw = self.read(POINTER)
        if raw is None:
            return
        pointer = json.loads(raw)
        manifest = self._parse_manifest(pointer["run_id"])
        if manifest is None or manifest.sha256 != pointer["manifest_sha256"]:
            self._report(f"promoted.json names {pointer['run_id']}, which is gone")

    def require_act(self, process: Process, run_id: str, what: str) -> None:
        """A process was told that a release became the champion: it must have been so."""
        for promoted, writer in self.promoted:
            if promoted == run_id and (what != "by hand" or writer == process.name):
                return
        self._report(f"{process.name} was told that {run_id} is promoted {what}, and it never was")

    def require_release(self, process: Process, run_id: str) -> None:
        """A process was told that a release exists."""
        if self._parse_manifest(run_id) is None and run_id not in self.pruned:
            self._report(f"{process.name} was told of a release {run_id} that is not there")

    def _report(self, violation: str) -> None:
        if violation not in self.violations:
            self.violations.append(violation)

    def _parse_manifest(self, run_id: str) -> Manifest | None:
        raw = self.read(f"releases/{run_id}/{MANIFEST}")
        if raw is None:
            return None
        try:
            return Manifest.parse(raw, run_id)
        except ReleaseError:
            self._report(f"the manifest of {run_id} is not valid")
            return None

    def _check_release(self, run_id: str, name: str) -> None:
        manifest = self._parse_manifest(run_id)
        first = self.manifests.get(run_id)
        if manifest is None:
            if first:
                self._report(f"the manifest of {run_id} is gone")
            return
        if first is None:
            self.manifests[run_id] = manifest
        elif first.raw != manifest.raw:
            self._report(f"the release {run_id} has become another one")
        changed = manifest.files if name == MANIFEST else {name} & set(manifest.files)
        for path in changed:
            self._check_file(run_id, path, manifest.files[path])

    def _check_file(self, run_id: str, path: str, promised: Mapping[str, Any]) -> None:
        data = self.read(f"releases/{run_id}/{path}")
        if data is None:
            self._report(f"{path} of the release {run_id} is missing")
        elif hashlib.sha256(data).hexdigest() != promised["sha256"]:
            self._report(f"{path} of the release {run_id} has other bytes than its manifest says")

    def _check_pointer(self, process: Process) -> None:
        raw = self.read(POINTER)
        if raw is None:
            self._report("promoted.json is gone")
            return
        if self.pointers and self.pointers[-1][0] == raw:
            return
        if self._is_taken_back(raw, process):
            self.pointers.pop()
            return
        if self._is_repaired(raw, process):
            del self.pointers[-2:]
            self.pointers.append((raw, process.name))
            return
        pointer = json.loads(raw)
        run_id, sha256 = pointer["run_id"], pointer["manifest_sha256"]
        # A release that is deleted while it is promoted is judged when both have ended.
        manifest = self._parse_manifest(run_id) or self.pruned.get(run_id)
        if manifest is None or manifest.sha256 != sha256:
            self._report(f"promoted.json names {run_id}, which is no complete release")
            return
        if not manifest.won and pointer["by"] != "manual":
            self._check_second_decision(process, run_id)
            if self._is_due(manifest, self.pointers[-1][0] if self.pointers else None):
                self._report(f"{process.name} promoted {run_id}, which had lost")
        if self.pointers:
            self._check_succession(process, manifest, pointer)
        elif pointer["previous"] is not None:
            self._report("the first champion has a predecessor")
        self.pointers.append((raw, process.name))
        self.promoted.append((run_id, process.name))

    def _is_taken_back(self, raw: bytes, process: Process) -> bool:
        """Whether a process undoes its own promotion of a release that was deleted meanwhile.

        The deletion may have put the manifest back by now.
        """
        if len(self.pointers) < 2 or self.pointers[-2][0] != raw:
            return False
        last, writer = self.pointers[-1]
        return writer == process.name and json.loads(last)["run_id"] in self.pruned

    def _is_repaired(self, raw: bytes, process: Process) -> bool:
        """Whether a process undoes its own promotion and the one before, both of what was deleted.

        The pointer then names the release that the one before had followed.
        """
        if len(self.pointers) < 2 or self.pointers[-1][1] != process.name:
            return False
        before, last = (json.loads(pointer) for pointer, _ in self.pointers[-2:])
        previous = before["previous"] or {}
        return (
            {before["run_id"], last["run_id"]} <= self.pruned.keys()
            and json.loads(raw)["manifest_sha256"] == previous.get("manifest_sha256")
            and self._parse_manifest(previous["run_id"]) is not None
        )

    def _check_succession(self, process: Process, manifest: Manifest, pointer: Any) -> None:
        before_raw, _ = self.pointers[-1]
        before = json.loads(before_raw)
        expected = {name: before[name] for name in ("run_id", "manifest_sha256")}
        if before["manifest_sha256"] == manifest.sha256:
            expected = before["previous"]
        if pointer["previous"] != expected:
            self._report(f"{process.name} promoted {manifest.run_id} over a champion it never saw")
        if pointer["by"] == "manual":
            return
        earlier = {json.loads(raw)["manifest_sha256"] for raw, _ in self.pointers}
        if manifest.sha256 in earlier:
            self._report(f"{process.name} went back to {manifest.run_id} without a person")
        against = manifest.fields["promotion"].get("against")
        if against != hashlib.sha256(before_raw).hexdigest():
            self._check_second_decision(process, manifest.run_id)

    def _is_due(self, manifest: Manifest, pointer: bytes | None) -> bool:
        """Whether the decision of a release was made against exactly this pointer."""
        against = manifest.fields["promotion"].get("against")
        return bool(against == (hashlib.sha256(pointer).hexdigest() if pointer else None))

    def _check_version(self, number: str) -> None:
        """A version that a server would load is whole, and it is the release that it is said to be.

        A server that looks into a folder loads a version as soon as it has a name. One that looks
        into a bucket waits for the graph.
        """
        keys = self.list_keys(f"serving/{number}/")
        if f"serving/{number}/{GRAPH}" not in keys and not (keys and self.is_folder):
            return
        versions = json.loads(self.read("serving.json") or b'{"versions": {}}')["versions"]
        if int(number) < max(map(int, versions), default=0):
            return  # Servers have the newer one, and this one may be on its way out.
        run_id = versions.get(number, {}).get("run_id")
        manifest = self.manifests.get(run_id) or self.pruned.get(run_id)
        if manifest is None:
            self._report(f"version {number} is the version of no release")
            return
        for path, promised in manifest.files.items():
            if path.startswith("saved_model/1/"):
                data = self.read(f"serving/{number}/{path.removeprefix('saved_model/1/')}")
                if hashlib.sha256(data or b"").hexdigest() != promised["sha256"]:
                    self._report(f"version {number} is not whole")

    def judge_versions(self) -> None:
        """The newest version is the champion, and nothing else is left in its folder."""
        numbers = {0}
        for key in self.list_keys("serving/"):
            name = key.split("/")[1]
            if name.isdigit():
                numbers.add(int(name))
            else:
                self._report(f"{key} is left")
        newest = str(max(numbers))
        self._check_version(newest)
        versions = json.loads(self.read("serving.json") or b'{"versions": {}}')["versions"]
        pointer = json.loads(self.pointers[-1][0]) if self.pointers else {}
        if versions.get(newest, {}).get("run_id") != pointer.get("run_id"):
            self._report(f"version {newest} is not the champion")
        elif pointer and self.read(f"serving/{newest}/{GRAPH}") is None:
            self._report(f"version {newest} was never completed")

    def judge_end(self, seeds: set[str], versions: Sequence[set[str]]) -> None:
        """What must hold once every run has had an attempt without faults.

        Args:
            seeds: GRAFT_SEED of the runs.
            versions: SHA-256 of the images of each version of the data set, the last one last.
        """
        pointer = self.pointers[-1][0] if self.pointers else None
        released = set()
        for run_id, manifest in self.manifests.items():
            if manifest.won and self._is_due(manifest, pointer):
                self._report(f"{run_id} has won and was never promoted")
            inventory = json.loads(self.read(f"releases/{run_id}/dataset.json") or "{}")
            images = {image["sha256"] for image in inventory.get("images", ())}
            if images not in versions:
                self._report(f"{run_id} was made of other images")
            if images == versions[-1]:
                released.add(str(manifest.fields["settings"].get("GRAFT_SEED", "0")))
        if released != seeds:
            self._report(f"there are releases of the seeds {released}, not of {seeds}")
        for key in self.list_keys(""):
            # What a run of earlier images has left is the next attempt's, which never came.
            is_state = key.startswith("runs/") and len(versions) == 1
            if is_state or "graft-probe" in key or key.endswith(".partial"):
                self._report(f"{key} is left")

    def _check_second_decision(self, process: Process, run_id: str) -> None:
        """Only the run itself decides again, against the champion that came in between."""
        if self.claimants.get(run_id) != process.name:
            self._report(f"{process.name} promoted {run_id} over what it was not decided against")
