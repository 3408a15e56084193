"""States with the right name and digest that this training did not write: none of them ends it."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from job.batches import Feed
from job.checkpoint import TrainingState
from job.errors import SettingsError
from job.training import (
    StageTrainer,
    TrainingContext,
    TrainingSession,
    divide_classifier,
    load_inputs,
    read_arrays,
)
from tests.training.conftest import build_classifier, build_plan

Arrays = dict[str, list[np.ndarray]]
Facts = dict[str, Any]


@pytest.fixture
def session(feed: Callable[..., Feed], context: Callable[..., TrainingContext]) -> TrainingSession:
    """A training whose state after 2 stages is saved."""
    session = TrainingSession(classifier=build_classifier(), feed=feed(), context=context())
    session.progress.stage = 2
    session.save()
    return session


def change_shape(arrays: Arrays, facts: Facts) -> None:
    arrays["model"][0] = arrays["model"][0][..., :-1]


def change_type(arrays: Arrays, facts: Facts) -> None:
    arrays["model"][0] = np.full_like(arrays["model"][0], "text", dtype="U4")


def leave_an_array_out(arrays: Arrays, facts: Facts) -> None:
    arrays["model"].pop()


def leave_the_model_out(arrays: Arrays, facts: Facts) -> None:
    arrays["optimizer"] = arrays.pop("model")


def take_facts_of_another_version(arrays: Arrays, facts: Facts) -> None:
    facts["phases"] = facts.pop("stage")


def take_facts_of_other_types(arrays: Arrays, facts: Facts) -> None:
    facts["current"] = ["epoch", 3]


def name_a_head_that_is_none(arrays: Arrays, facts: Facts) -> None:
    facts["outcome"] = {"pooling": "median"}


def name_another_head(arrays: Arrays, facts: Facts) -> None:
    facts["outcome"] = {"pooling": "max"}
    arrays["model"].pop()


@pytest.mark.parametrize(
    "forge",
    [
        change_shape,
        change_type,
        leave_an_array_out,
        leave_the_model_out,
        take_facts_of_another_version,
        take_facts_of_other_types,
        name_a_head_that_is_none,
        name_another_head,
    ],
)
def test_a_state_that_does_not_fit_gives_way_to_the_one_before(
    forge: Callable[[Arrays, Facts], None],
    session: TrainingSession,
    caplog: pytest.LogCaptureFixture,
) -> None:
    arrays: Arrays = {"model": read_arrays(session.classifier.model.variables)}
    facts = asdict(session.progress) | {"stage": 3}
    forge(arrays, facts)
    session.context.checkpoints.save(TrainingState(arrays, facts))

    other = build_classifier(seed=1)
    later = TrainingSession(classifier=other, feed=session.feed, context=session.context)
    later.resume()
    assert later.progress.stage == 2
    assert later.classifier is other
    for found, expected in zip(
        read_arrays(other.model.variables),
        read_arrays(session.classifier.model.variables),
        strict=True,
    ):
        np.testing.assert_array_equal(found, expected)
    assert "is not a state of this training and ignored" in caplog.text


def test_an_optimizer_that_does_not_fit_is_a_sentence(session: TrainingSession) -> None:
    """It is found out only where the stage is built, with the model taken over already."""
    classifier, feed, context = session.classifier, session.feed, session.context
    plan = build_plan("part", classifier)
    network = divide_classifier(classifier, plan.stages[-1], plan.cut, feed, context)
    trainer = StageTrainer(network, load_inputs(network, feed, context), context)
    running = trainer.read_running()
    running["optimizer"][-1] = np.zeros((2, 2, 2), np.float32)
    with pytest.raises(SettingsError, match="is not one of this training") as caught:
        trainer.restore_running(running)
    assert context.checkpoints.store.uri in caught.value.message
