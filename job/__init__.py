"""Graft: transfer learning of image classifiers as one containerised Kubernetes Job.

In Python:

    import job

    result = job.train("photos", "models", training={"epochs": 5})
    job.load(result.release).predict(["new.jpg"])

    run = job.submit("flowers", training={"epochs": 5})    # in a cluster
    job.watch(run)
    job.runs()

These names are imported when they are first used, so that `import job` alone costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from job.commands.python import Model, Runs, load, runs, submit, train, watch

__all__ = ["Model", "Runs", "load", "runs", "submit", "train", "watch"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'job' has no attribute {name!r}")
    return getattr(importlib.import_module("job.commands.python"), name)


def __dir__() -> list[str]:
    """The names that a notebook completes after `job.`."""
    return __all__
