"""A training state with every kind of content, and what it holds in words that can be kept."""

import hashlib

import numpy as np

from job.checkpoint import TrainingState


def make_state(step: int) -> TrainingState:
    """A state with every kind of array and fact that a training has."""
    chance = np.random.default_rng(step)
    model: list[np.ndarray] = [
        chance.standard_normal((3, 4)).astype(np.float32),
        np.array(step, np.int64),
    ]
    optimizer: list[np.ndarray] = [
        chance.standard_normal(5),
        np.zeros((0, 2), np.float32),
        np.array([True, False]),
    ]
    facts = {"step": step, "over": False, "best": float("inf"), "history": [{"loss": 0.5}]}
    return TrainingState({"model": model, "optimizer": optimizer}, facts)


def describe_state(state: TrainingState) -> dict[str, object]:
    """What the state holds, as JSON: facts, and SHA-256, dtype and shape of each array."""
    arrays = {}
    for group, members in state.arrays.items():
        rows = []
        for array in members:
            digest = hashlib.sha256(array.tobytes()).hexdigest()
            rows.append([str(array.dtype), list(array.shape), digest])
        arrays[group] = rows
    return {"arrays": arrays, "facts": dict(state.facts)}
