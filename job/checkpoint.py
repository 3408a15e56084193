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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from job.storage import Store

logger = logging.getLogger(__name__)
NAME = re.compile(r"\d{8}-[0-9a-f]{64}\.npz")
KEPT = 2


@dataclass(frozen=True, slots=True)
class State:
    """Arrays by group and order, and everything else as JSON: stage, epoch, step, history."""

    arrays: Mapping[str, Sequence[np.ndarray]]
    facts: Mapping[str, Any]

    def to_bytes(self) -> bytes:
        """The state as one NPZ file."""
        buffer = io.BytesIO()
        named = {
            f"{group}/{i}": array
            for group, arrays in self.arrays.items()
            for i, array in enumerate(arrays)
        }
        text = json.dumps(
            {
                "facts": self.facts,
                "groups": {group: len(rows) for group, rows in self.arrays.items()},
            }
        )
        np.savez(buffer, json=np.array(text), **named)  # type: ignore[arg-type]
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "State":
        """The inverse of `to_bytes`; nothing is unpickled."""
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            text = json.loads(str(file["json"]))
            arrays = {
                group: [file[f"{group}/{i}"] for i in range(n)]
                for group, n in text["groups"].items()
            }
        return cls(arrays, text["facts"])


@dataclass(slots=True)
class CheckpointStore:
    """The last states of one run, newest on top.

    The folder serves a restarted process on the same disk, the bucket a replaced pod; the bucket's
    word counts.
    """

    folder: Path
    store: Store
    interval_seconds: float
    _number: int = 0
    _saved_at: float = field(default_factory=time.monotonic)

    def due(self) -> bool:
        """Whether the interval since the last save has passed."""
        return time.monotonic() - self._saved_at >= self.interval_seconds

    def save(self, state: State) -> None:
        """Make a state durable in the bucket; older ones go once it is there."""
        data = state.to_bytes()
        self._number += 1
        name = f"{self._number:08d}-{hashlib.sha256(data).hexdigest()}.npz"
        path = self.folder / name
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".part")
        partial.write_bytes(data)
        partial.replace(path)
        self.store.upload(name, path)
        self._saved_at = time.monotonic()
        self._forget()
        logger.info(
            "checkpoint saved", extra={"fields": {"number": self._number, "bytes": len(data)}}
        )

    def load(self) -> State | None:
        """The newest whole state, or None at the beginning of a run."""
        for name in self._names():
            for data in self._copies(name):
                if hashlib.sha256(data).hexdigest() == name[9:73]:
                    self._number = int(name[:8])
                    return State.from_bytes(data)
            logger.warning("checkpoint %s is damaged and left aside", name)
        return None

    def is_training_over(self) -> bool:
        """Whether the newest state says that training is over."""
        state = self.load()
        return state is not None and bool(state.facts["over"])

    @property
    def newest(self) -> str:
        """Names the state that was saved or loaded last, among those of all runs."""
        return f"{self.store.uri} {self._number}"

    def clear(self) -> None:
        """Remove every state: the release has taken its place."""
        self.store.delete("")
        for path in self.folder.glob("*.npz"):
            path.unlink(missing_ok=True)

    def _names(self) -> list[str]:
        return sorted(
            (entry.key for entry in self.store.list() if NAME.fullmatch(entry.key)), reverse=True
        )

    def _copies(self, name: str) -> Iterator[bytes]:
        local = self.folder / name
        if local.exists():
            yield local.read_bytes()
        yield self.store.read(name)

    def _forget(self) -> None:
        for name in self._names()[KEPT:]:
            self.store.delete(name)
            (self.folder / name).unlink(missing_ok=True)
