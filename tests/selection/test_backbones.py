"""The backbone is chosen by solved heads on a sample, by successive halving."""

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from job import model, selection, storage, telemetry
from job.audit import Splits
from job.batches import build_feed
from job.catalogue import BACKBONES
from job.checkpoint import CheckpointStore
from job.errors import SettingsError
from job.features import FeatureCache
from job.model import ClassifierSpec
from job.selection import BackboneChoice
from job.selection.rounds import draw_train, draw_val, list_kept, plan_rounds
from job.selection.rule import Judged
from job.settings import GateSettings, Settings, load
from job.training import TrainingContext, load_stage_features
from job.weights import NO_WEIGHTS
from job.workers import Stop, Workers
from tests.training.conftest import draw_splits

CANDIDATES = ("MobileNetV2", "MobileNet")
SIZE = "32"


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    return draw_splits(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> TrainingContext:
    """One for all tests, so that the features are computed once."""
    folder = tmp_path_factory.mktemp("context")
    return TrainingContext(
        settings=read().training,
        gate=GateSettings(),
        workers=Workers(
            strategy=tf.distribute.get_strategy(),
            replicas=1,
            devices=("CPU:0",),
            bfloat16=False,
            fingerprint="this machine",
        ),
        precision="float32",
        checkpoints=CheckpointStore(
            folder=folder / "local",
            store=storage.connect(folder.as_uri()).child("checkpoints"),
            interval_seconds=1e9,
        ),
        cache=FeatureCache(folder / "features", 10**9),
        telemetry=telemetry.silent(),
        stop=Stop(),
    )


def read(**environment: str) -> Settings:
    return load(
        {
            "GRAFT_DATASET_URI": "file:///data",
            "GRAFT_OUTPUT_URI": "file:///models",
            "GRAFT_BACKBONE_NAME": "auto",
            "GRAFT_BACKBONE_CANDIDATES": ",".join(CANDIDATES),
            "GRAFT_BACKBONE_IMAGE_SIZE": SIZE,
        }
        | environment
    )


def choose(splits: Splits, context: TrainingContext, **environment: str) -> BackboneChoice:
    """Choose among networks with random weights, which tell three colours apart too."""
    settings = read(**environment)
    weights = dict.fromkeys(settings.backbone.names, NO_WEIGHTS)
    return selection.choose_backbone(settings, weights, splits, context)


@pytest.fixture(scope="module")
def choice(splits: Splits, context: TrainingContext) -> BackboneChoice:
    return choose(splits, context)


def judge(name: str, first: int, last: int) -> Judged:
    """A candidate that is wrong on some of 400 images, all of class 0."""
    logits = np.zeros((400, 2), np.float32)
    logits[:, 0] = 1.0
    logits[first:last, 1] = 2.0
    return Judged(name, 1.0, logits)


# --- the rounds ---


@pytest.mark.parametrize(
    ("images", "classes", "rounds"),
    [
        (154, 5, (154,)),
        (500, 5, (500,)),
        (900, 5, (500, 900)),
        (1_000_000, 5, (500, 1000, 2000)),
        (1_000_000, 1000, (5000, 10_000, 20_000)),
    ],
)
def test_rounds_grow_with_the_images_and_the_classes(
    images: int, classes: int, rounds: tuple[int, ...]
) -> None:
    assert plan_rounds(images, classes) == rounds


def test_each_round_has_the_images_of_the_one_before_and_every_class() -> None:
    labels = np.repeat(np.arange(4), [4000, 400, 40, 4])
    order = draw_train(labels)
    assert sorted(order) == list(range(len(labels)))
    assert (order == draw_train(labels)).all()
    counts = np.bincount(labels[order[:500]], minlength=4)
    assert (counts >= 1).all()
    assert abs(counts[0] - 450) < 5


def test_validation_images_are_a_sample_only_where_they_are_many() -> None:
    few = np.arange(300) % 3
    assert (draw_val(few, 3) == np.arange(300)).all()
    many = np.arange(30_000) % 3
    assert len(draw_val(many, 3)) == 1000


def test_the_worse_half_leaves() -> None:
    labels = np.zeros(400, np.int64)
    judged = [judge("d", 0, 200), judge("a", 0, 10), judge("c", 0, 100), judge("b", 0, 50)]
    assert list_kept(judged, labels, "accuracy") == ["a", "b"]


def test_who_is_within_one_standard_error_of_the_best_stays() -> None:
    labels = np.zeros(400, np.int64)
    # "c" is 2 images behind. They disagree on 22, whose square root is 4.7. "d" is 20 behind.
    judged = [judge("a", 0, 10), judge("b", 5, 15), judge("c", 20, 32), judge("d", 0, 30)]
    assert list_kept(judged, labels, "accuracy") == ["a", "b", "c"]


# --- the choice ---


def test_every_candidate_has_a_row_and_the_chosen_one_is_best_or_smaller(
    choice: BackboneChoice,
) -> None:
    rows = {row.name: row for row in choice.rows}
    assert tuple(rows) == CANDIDATES
    assert [row.name for row in choice.rows if row.chosen] == [choice.name]
    chosen = rows[choice.name]
    for row in choice.rows:
        assert row.score is not None
        assert row.low is not None
        assert row.high is not None
        assert row.milliseconds is not None
        assert row.low <= row.score <= row.high
        assert row.milliseconds > 0
        assert row.parameters == BACKBONES[row.name].parameters
        assert (row.image_size, row.judged) == (32, 39)
        # 39 images in five folds: each head learns from four of them.
        assert row.images == 31
        if row.score > (chosen.score or 0):
            assert chosen.parameters < row.parameters
    assert choice.reason == chosen.reason
    assert choice.reason.startswith(choice.name)


def test_a_choice_is_made_again_from_features_that_are_kept(
    splits: Splits,
    context: TrainingContext,
    choice: BackboneChoice,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG, "job.features"):
        second = choose(splits, context)
    assert computed_in(caplog) == [0, 0]

    def untimed(choice: BackboneChoice) -> dict[str, Any]:
        facts = asdict(choice)
        for row in facts["rows"]:
            del row["milliseconds"]
        return facts

    assert untimed(choice) == untimed(second)


def test_the_measurement_of_the_run_computes_only_what_the_choice_has_not(
    splits: Splits,
    context: TrainingContext,
    choice: BackboneChoice,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = read()
    spec = ClassifierSpec(
        backbone=settings.backbone.resolve(choice.name),
        head=settings.head,
        classes=splits.classes,
        seed=settings.seed,
    )
    classifier = model.build(spec, NO_WEIGHTS)
    feed = build_feed(splits, 32, "letterbox", settings.training, settings.seed)
    with caplog.at_level(logging.DEBUG, "job.features"):
        load_stage_features(classifier, feed, context)
    assert computed_in(caplog) == [len(splits.test)]


def test_the_test_images_take_no_part(splits: Splits, context: TrainingContext) -> None:
    """Files of test images that are gone would be an error as soon as one was read."""
    gone = tuple(
        type(example)(
            path=Path("/gone") / example.name,
            name=example.name,
            label=example.label,
            sha256=f"{number:064d}",
            format=example.format,
        )
        for number, example in enumerate(splits.test)
    )
    changed = Splits(
        classes=splits.classes,
        train=splits.train,
        val=splits.val,
        test=gone,
        near_duplicates=(),
        leaks=(),
        given=False,
    )
    assert choose(changed, context).name in CANDIDATES


def test_a_head_that_cannot_be_solved_does_not_hinder_the_choice(
    splits: Splits, context: TrainingContext
) -> None:
    choice = choose(splits, context, GRAFT_HEAD_UNITS="8", GRAFT_HEAD_POOLING="flatten")
    assert choice.name in CANDIDATES


def test_a_backbone_above_the_limit_of_parameters_is_listed_and_not_measured(
    splits: Splits, context: TrainingContext
) -> None:
    choice = choose(splits, context, GRAFT_BACKBONE_MOST_PARAMETERS="3000000")
    small, large = choice.rows
    assert (choice.name, small.chosen) == ("MobileNetV2", True)
    assert (large.score, large.milliseconds, large.images) == (None, None, 0)
    assert large.reason == "It has more parameters than the limit."


def test_no_candidate_as_quick_as_the_limit_is_an_error_with_what_was_measured(
    splits: Splits, context: TrainingContext
) -> None:
    with pytest.raises(SettingsError) as caught:
        choose(splits, context, GRAFT_BACKBONE_MOST_MILLISECONDS="0.000001")
    assert "GRAFT_BACKBONE_MOST_MILLISECONDS=1e-06" in caught.value.message
    assert len(caught.value.problems) == 2
    assert caught.value.problems[0].startswith("MobileNetV2 takes ")


def test_a_choice_outlives_json(choice: BackboneChoice) -> None:
    assert BackboneChoice.from_facts(json.loads(json.dumps(asdict(choice)))) == choice


def computed_in(caplog: pytest.LogCaptureFixture) -> list[int]:
    """How many images each pass over the features has computed."""
    return [
        record.__dict__["fields"]["computed"]
        for record in caplog.records
        if "fields" in record.__dict__
    ]
