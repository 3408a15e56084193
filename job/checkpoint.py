"""The whole training state as one atomic thing, on disk and in the bucket.

A state is one file: a ZIP of arrays by order (names change between processes, the order does not)
and one JSON text. Its name carries its number and its digest, so a torn or damaged file is never
mistaken for a state.
"""

import hashlib
import io
import json
import logging
import re
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np

from job.errors import StoreNotFound
from job.files import write_whole
from job.storage import Store

logger = logging.getLogger(__name__)

NAME = re.compile(r"\d{8}-[0-9a-f]{64}\.npz")
# What NumPy raises for a file that is not what its headers claim.
READ_ERRORS = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    EOFError,
    MemoryError,
    RecursionError,
    NotImplementedError,
    SyntaxError,
)
# The state before the latest one is kept for the case that the latest one is damaged.
KEPT = 2

# What a caller makes of a state.
Content = TypeVar("Content")


@dataclass(frozen=True, slots=True)
class TrainingState:
    """Everything that a resumed run needs.

    Attributes:
        arrays: by group and order.
        facts: what fits into JSON: the progress of the training. `over` says that it is complete.
    """

    arrays: Mapping[str, Sequence[np.ndarray]]
    facts: Mapping[str, Any]

    def to_bytes(self, run_id: str = "") -> bytes:
        """The state as one NPZ file, with the run that it is of."""
        members: dict[str, Any] = {}
        groups = {}
        for group, arrays in self.arrays.items():
            groups[group] = len(arrays)
            for place, array in enumerate(arrays):
                members[f"{group}/{place}"] = array
        text = json.dumps({"run_id": run_id, "facts": self.facts, "groups": groups})
        members["json"] = np.array(text)
        buffer = io.BytesIO()
        np.savez(buffer, **members)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes, run_id: str = "") -> Self:
        """The inverse of `to_bytes`.

        Raises:
            UnfitState: it is not a state of that run, although its name has its digest.
        """
        # Nothing is unpickled: a pickle in the bucket could run code here.
        with refuse_others(), np.load(io.BytesIO(data), allow_pickle=False) as file:
            text = _read_text(file, run_id)
            arrays = {}
            for group, count in text["groups"].items():
                arrays[group] = [file[f"{group}/{place}"] for place in range(count)]
            return cls(arrays, text["facts"])


class UnfitState(Exception):
    """The content has the name of a state, and is not a state of this training."""


@contextmanager
def refuse_others() -> Iterator[None]:
    """Turn what is raised where content is not a state of this training into `UnfitState`."""
    try:
        yield
    except (*READ_ERRORS, zipfile.BadZipFile, zlib.error) as error:
        raise UnfitState(repr(error)) from error


def _read_text(file: Any, run_id: str) -> dict[str, Any]:
    # A state of a training that has not begun holds infinities.
    text = json.loads(str(file["json"]))
    # The id of a run covers the code, so another one may also be of another version.
    if text["run_id"] != run_id:
        raise ValueError(f"it is of run {text['run_id']!r}, expected {run_id!r}")
    facts, groups = text["facts"], text["groups"]
    if not isinstance(facts, dict) or not all(isinstance(count, int) for count in groups.values()):
        raise TypeError("facts and groups are of other types")
    if sum(groups.values()) > len(file.files):
        raise ValueError("groups name more arrays than there are")
    return {"facts": facts, "groups": groups}


@dataclass(slots=True, kw_only=True)
class CheckpointStore:
    """The last states of one run.

    The folder serves a restarted process on the same disk, the bucket a replaced pod. A state is
    valid only while the bucket lists it.

    Attributes:
        folder: on this disk.
        store: in the bucket.
        interval_seconds: between two states that are saved in the course of the training.
        run_id: of the run.
    """

    folder: Path
    store: Store
    interval_seconds: float
    run_id: str = ""
    _number: int = field(default=0, init=False)
    _saved_at: float = field(default_factory=time.monotonic, init=False)

    @property
    def latest(self) -> str:
        """Names the state that was saved or loaded last, among the states of all runs."""
        return f"{self.store.uri} {self._number}"

    def should_save(self) -> bool:
        """Whether the interval since the last save has passed."""
        elapsed = time.monotonic() - self._saved_at
        return elapsed >= self.interval_seconds

    def save(self, state: TrainingState) -> None:
        """Make a state durable in the bucket, then remove old ones."""
        data = state.to_bytes(self.run_id)
        digest = hashlib.sha256(data).hexdigest()
        self._number += 1
        name = f"{self._number:08d}-{digest}.npz"
        path = self.folder / name
        with write_whole(path) as file:
            file.write(data)
            file.flush()
            # Under its temporary name: another run of this id may share the folder and clear it.
            self.store.upload(name, Path(file.name))
        self._saved_at = time.monotonic()

        # Only now: until the upload is complete, the older states are all that there is. Damaged
        # ones may have higher numbers, and do not push this one out.
        names = self._list_names()
        for old in names[names.index(name) + KEPT :] if name in names else ():
            self.store.delete(old)
            local = self.folder / old
            local.unlink(missing_ok=True)
        fields = {"number": self._number, "bytes": len(data)}
        logger.info("checkpoint saved", extra={"fields": fields})

    def load(self) -> TrainingState | None:
        """Load the latest undamaged state; None at the beginning of a run."""
        return self.load_as(lambda state: state)

    def load_as(self, read: Callable[[TrainingState], Content]) -> Content | None:
        """Load the latest state that the caller can use, as what it makes of it.

        Args:
            read: makes of a state what the caller needs. It raises `UnfitState` if the state is not
                one of this training. That one is then left out, as damaged ones are.
        """
        return self._load_latest(lambda data: read(TrainingState.from_bytes(data, self.run_id)))

    def is_training_over(self) -> bool:
        """Whether the latest state says that training is complete."""

        def read_end(data: bytes) -> bool:
            # A member of a ZIP is read alone: the arrays, which may be gigabytes, are not parsed.
            with refuse_others(), np.load(io.BytesIO(data), allow_pickle=False) as file:
                return bool(_read_text(file, self.run_id)["facts"]["over"])

        return self._load_latest(read_end) or False

    def clear(self) -> None:
        """Remove every state: the release has taken its place."""
        self.store.delete("")
        for path in self.folder.glob("*.npz"):
            path.unlink(missing_ok=True)

    def _load_latest(self, read: Callable[[bytes], Content]) -> Content | None:
        useless: set[str] = set()
        # The list is read again each time: another process of this run may have replaced a state
        # that was listed by newer ones.
        while names := [name for name in self._list_names() if name not in useless]:
            newest = names[0]
            useless.add(newest)
            data = self._read_state(newest)
            if data is None:
                continue
            try:
                content = read(data)
            except UnfitState as error:
                logger.warning(
                    "checkpoint %s is not a state of this training and ignored: %s. Its digest is "
                    "right, so Graft did not write it here: see who can write to %s.",
                    newest,
                    error,
                    self.store.uri,
                )
                continue
            # The next state counts on from here, whichever process saved this one.
            self._number = int(newest.partition("-")[0])
            return content
        return None

    def _read_state(self, name: str) -> bytes | None:
        """The content of a state, or None if it is damaged or gone."""
        digest = name.removesuffix(".npz").partition("-")[2]
        # The disk first: it is nearer. A damaged copy there does not hide the bucket's one.
        data = b""
        with suppress(FileNotFoundError):
            data = (self.folder / name).read_bytes()
        if hashlib.sha256(data).hexdigest() == digest:
            return data
        try:
            data = self.store.read(name)
        except StoreNotFound:
            logger.info("checkpoint %s is gone", name)
            return None
        if hashlib.sha256(data).hexdigest() == digest:
            return data
        logger.warning("checkpoint %s is damaged and ignored", name)
        return None

    def _list_names(self) -> list[str]:
        """The states in the bucket, the latest first."""
        names = []
        for entry in self.store.list():
            if NAME.fullmatch(entry.key):
                names.append(entry.key)
        return sorted(names, reverse=True)
