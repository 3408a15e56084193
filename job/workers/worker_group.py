"""The workers of one run, as TensorFlow's own contract names them: `TF_CONFIG`."""

import json
from dataclasses import dataclass
from typing import Any

from job.errors import SettingsError

EXAMPLE = '{"cluster": {"worker": ["host-0:2222", "host-1:2222"]}, "task": {"type": "worker", "index": 0}}'


@dataclass(frozen=True, slots=True)
class WorkerGroup:
    """Who trains a run together.

    Attributes:
        addresses: host:port of every worker; one that trains alone needs none.
        index: which of them this process is. The first is the chief: it alone writes what others
            read.
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
        """The cluster that the value of `TF_CONFIG` describes; an empty one is a run of a single worker.

        Raises:
            SettingsError: it is not of TensorFlow's form, or names tasks that take no part here.
        """
        if not text:
            return SINGLE_WORKER
        try:
            return _read(json.loads(text))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise SettingsError(
                f"TF_CONFIG={text!r} is not a cluster of workers: {type(error).__name__} {error}.",
                f"Expected {EXAMPLE}.",
            ) from error


SINGLE_WORKER = WorkerGroup()


def _read(config: dict[str, Any]) -> WorkerGroup:
    """A `chief` beside the workers, as some operators write it, comes before them."""
    jobs, task = config["cluster"], config["task"]
    if others := jobs.keys() - {"chief", "worker"}:
        raise ValueError(f"it has tasks of the kind {', '.join(sorted(others))}")
    chiefs, workers = (tuple(map(str, jobs.get(kind, ()))) for kind in ("chief", "worker"))
    number = {"chief": chiefs, "worker": workers}[task["type"]]
    index = int(task["index"])
    if not 0 <= index < len(number):
        raise ValueError(f"there is no {task['type']} of index {index}")
    if len({*chiefs, *workers}) < len(chiefs) + len(workers):
        raise ValueError("an address occurs twice")
    return WorkerGroup(chiefs + workers, index + (len(chiefs) if task["type"] == "worker" else 0))
