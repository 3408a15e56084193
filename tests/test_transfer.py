"""None, part or all: by setting, by size, and where the boundary is in real backbones."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from job import model, transfer
from job.audit import Example, Splits
from job.settings import BackboneSettings, HeadSettings, TransferSettings
from job.weights import NO_WEIGHTS


def build(name: str = "EfficientNetLite0", size: int = 64, **head: Any) -> model.Classifier:
    backbone = BackboneSettings(name=name, weights="none", image_size=size)
    spec = model.ClassifierSpec(
        backbone=backbone, head=HeadSettings(**head), classes=("a", "b"), seed=0
    )
    return model.build(spec, NO_WEIGHTS)


@pytest.fixture(scope="module")
def classifier() -> model.Classifier:
    return build()


def splits(*counts: int) -> Splits:
    train = tuple(
        example
        for label, n in enumerate(counts)
        for example in [Example(path=Path("x"), name="x", label=label, sha256="", format="PNG")] * n
    )
    classes = tuple("abcdefgh"[: len(counts)])
    return Splits(
        classes=classes,
        train=train,
        val=(),
        test=(),
        near_duplicates=(),
        leaks=(),
        given=False,
    )


def choose_plan(classifier: model.Classifier, **settings: Any) -> transfer.Plan:
    plan = transfer.choose_plan(TransferSettings(**settings), classifier, splits(5, 5))
    assert plan
    return plan


@pytest.fixture(scope="module")
def unsolvable() -> model.Classifier:
    return build(units=8)


@pytest.mark.parametrize(
    ("counts", "mode"),
    [
        ((15, 15), "none"),
        ((10_000, 9_999), "none"),
        ((10_000, 10_000), "part"),
        ((30_000, 49, 40), "none"),
        ((30_000, 50, 40), "part"),
        ((250_000, 249_999), "part"),
        ((250_000, 250_000), "all"),
    ],
)
def test_auto_follows_the_published_sizes_where_a_head_cannot_be_solved(
    unsolvable: model.Classifier, counts: tuple[int, ...], mode: str
) -> None:
    plan = transfer.choose_plan(TransferSettings(), unsolvable, splits(*counts))
    assert plan
    assert plan.mode == mode
    assert plan.rule.startswith("size")
    assert f"{sum(counts):,}" in plan.reason


def test_auto_leaves_the_choice_to_a_race_where_a_head_can_be_solved(
    classifier: model.Classifier,
) -> None:
    assert transfer.choose_plan(TransferSettings(), classifier, splits(15, 15)) is None


def test_auto_retrains_all_of_random_weights(classifier: model.Classifier) -> None:
    plan = transfer.choose_plan(TransferSettings(), classifier, splits(15, 15), pretrained=False)
    assert plan
    assert (plan.mode, plan.rule) == ("all", "random weights")


@pytest.mark.parametrize("mode", ["none", "part", "all"])
def test_a_setting_decides_whatever_the_data(classifier: model.Classifier, mode: Any) -> None:
    plan = choose_plan(classifier, mode=mode)
    assert (plan.mode, plan.rule) == (mode, "setting")
    assert mode in plan.reason
    assert (plan.cut is not None) is (mode == "part")


def test_more_is_trainable_from_none_to_all(classifier: model.Classifier) -> None:
    plans = {mode: choose_plan(classifier, mode=mode) for mode in ("none", "part", "all")}
    head = 1280 * 2 + 2
    assert plans["none"].trainable == head < plans["part"].trainable < plans["all"].trainable
    moving = sum(v.shape[0] for v in classifier.model.non_trainable_variables if "moving" in v.path)
    assert plans["all"].trainable == classifier.model.count_params() - moving
    assert {plan.total for plan in plans.values()} == {classifier.model.count_params()}


def test_the_stages_of_a_plan_go_from_the_probe_to_the_tuning_at_a_lower_rate(
    classifier: model.Classifier,
) -> None:
    def stages(**settings: Any) -> list[tuple[Any, ...]]:
        plan = choose_plan(classifier, **settings)
        return [(stage.name, stage.frees, stage.rate, stage.solved) for stage in plan.stages]

    probe = ("probe", "none", 1.0, True)
    assert stages(mode="none") == stages(mode="none", probe=False) == [probe]
    assert stages(mode="part") == [probe, ("tune", "part", 0.1, False)]
    assert stages(mode="all", probe=False) == [("tune", "all", 1.0, False)]


def test_a_head_is_solvable_if_it_is_linear_on_pooled_features(
    classifier: model.Classifier,
) -> None:
    assert classifier.solvable
    assert build(dropout=0.0, pooling="max").solvable
    assert not build(units=8).solvable
    assert not build(pooling="flatten").solvable


def test_the_plan_is_facts_for_json(classifier: model.Classifier) -> None:
    plan = choose_plan(classifier, mode="part")
    facts = plan.facts()
    assert facts["stages"] == ["probe (solved)", "tune"]
    assert plan.cut is not None
    assert facts["cut"] == plan.cut.name
    assert replace(plan, cut=None).facts()["cut"] is None


@pytest.mark.parametrize(
    ("name", "size", "side", "channels"),
    [
        ("EfficientNetLite0", 224, 14, 112),
        ("MobileNetV2", 224, 14, 96),
        ("ResNet50", 224, 14, 1024),
        ("VGG16", 224, 28, 512),
    ],
)
def test_part_frees_the_last_resolution_and_nothing_before_it(
    name: str, size: int, side: int, channels: int
) -> None:
    classifier = build(name, size)
    cut = transfer.choose_cut(classifier.cuts, 1)
    print(
        name,
        cut.name,
        cut.shape,
        f"above {cut.parameters_above / classifier.backbone.count_params():.0%}",
    )
    assert cut.shape == (side, side, channels)
    assert 0 < cut.parameters_above < classifier.backbone.count_params()


def test_more_stages_free_more_until_only_the_first_is_frozen(classifier: model.Classifier) -> None:
    cuts = [transfer.choose_cut(classifier.cuts, stages) for stages in range(1, 6)]
    above = [cut.parameters_above for cut in cuts]
    assert above == sorted(above)
    assert cuts[-1] in classifier.cuts
