"""The workers of one run, as TensorFlow's own contract `TF_CONFIG` describes them."""

import json
from dataclasses import dataclass
from typing import Any

from job.errors import SettingsError

EXAMPLE = (
    '{"cluster": {"worker": ["host-0:2222", "host-1:2222"]}, '
    '"task": {"type": "worker", "index": 0}}'
)


@dataclass(frozen=True, slots=True)
class WorkerGroup:
    """The workers that train a run.

    Attributes:
        addresses: host:port of every worker. A single worker needs none.
        index: which of them this process is. The first is the chief, the only one that writes what
            others read.
    """

    addresses: tuple[str, ...] = ("",)
    index: int = 0

    @property
    def size(self) -> int:
        return len(self.addresses)

    @property
    def chief(self) -> bool:
        return self.index == 0

    @classmethod
    def parse(cls, text: str) -> "WorkerGroup":
        """The group that the value of `TF_CONFIG` describes. An empty one means a single worker.

        Raises:
            SettingsError: it is not of TensorFlow's form, or names tasks of another kind.
        """
        if not text:
            return SINGLE_WORKER
        try:
            return _from_config(json.loads(text))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise SettingsError(
                f"TF_CONFIG={text!r} is not a cluster of workers: {type(error).__name__} {error}.",
                f"Expected {EXAMPLE}.",
            ) from error


SINGLE_WORKER = WorkerGroup()


def _from_config(config: dict[str, Any]) -> WorkerGroup:
    jobs, task = config["cluster"], config["task"]
    if others := jobs.keys() - {"chief", "worker"}:
        raise ValueError(f"it has tasks of the kind {', '.join(sorted(others))}")

    chiefs = tuple(str(address) for address in jobs.get("chief", ()))
    workers = tuple(str(address) for address in jobs.get("worker", ()))
    if len({*chiefs, *workers}) < len(chiefs) + len(workers):
        raise ValueError("an address occurs twice")

    count = {"chief": len(chiefs), "worker": len(workers)}[task["type"]]
    index = int(task["index"])
    if not 0 <= index < count:
        raise ValueError(f"there is no {task['type']} of index {index}")
    # A `chief` beside the workers, as some operators write it, comes before them.
    return WorkerGroup(chiefs + workers, index + (len(chiefs) if task["type"] == "worker" else 0))
