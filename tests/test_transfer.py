"""None, part or all: by setting, by size, and where the boundary is in real backbones."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from job import model, transfer
from job.audit import Example, Splits
from job.settings import BackboneSettings, HeadSettings, TransferSettings
from job.weights import Weights

RANDOM = Weights(
    kind="none",
    path=None,
    sha256="",
    origin="random initialisation",
    licence="",
    classes=(),
    published=True,
)


def build(name: str = "EfficientNetLite0", size: int = 64, **head: Any) -> model.Classifier:
    backbone = BackboneSettings(name=name, weights="none", image_size=size)
    spec = model.ClassifierSpec(
        backbone=backbone, head=HeadSettings(**head), classes=("a", "b"), seed=0
    )
    return model.build(spec, RANDOM)


@pytest.fixture(scope="module")
def classifier() -> model.Classifier:
    return build()


def splits(*counts: int) -> Splits:
    train = tuple(
        example
        for label, n in enumerate(counts)
        for example in [Example(path=Path("x"), name="x", label=label, sha256="")] * n
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


@pytest.mark.parametrize(
    ("counts", "pretrained", "mode"),
    [
        ((15, 15), True, "none"),
        ((10_000, 9_999), True, "none"),
        ((10_000, 10_000), True, "part"),
        ((30_000, 49, 40), True, "none"),
        ((30_000, 50, 40), True, "part"),
        ((250_000, 249_999), True, "part"),
        ((250_000, 250_000), True, "all"),
        ((15, 15), False, "all"),
    ],
)
def test_auto_follows_the_published_sizes(
    classifier: model.Classifier, counts: tuple[int, ...], pretrained: bool, mode: str
) -> None:
    plan = transfer.choose_plan(TransferSettings(), classifier, splits(*counts), pretrained)
    assert plan.mode == mode
    assert plan.rule.startswith("size" if pretrained else "random weights")
    assert (f"{sum(counts):,}" in plan.reason) is pretrained


@pytest.mark.parametrize("mode", ["none", "part", "all"])
def test_a_setting_decides_whatever_the_data(classifier: model.Classifier, mode: Any) -> None:
    plan = transfer.choose_plan(TransferSettings(mode=mode), classifier, splits(5, 5))
    assert (plan.mode, plan.rule) == (mode, "setting")
    assert mode in plan.reason
    assert (plan.cut is not None) is (mode == "part")


def test_more_is_trainable_from_none_to_all(classifier: model.Classifier) -> None:
    plans = {
        mode: transfer.choose_plan(TransferSettings(mode=mode), classifier, splits(5, 5))
        for mode in ("none", "part", "all")
    }
    head = 1280 * 2 + 2
    assert plans["none"].trainable == head < plans["part"].trainable < plans["all"].trainable
    moving = sum(v.shape[0] for v in classifier.model.non_trainable_variables if "moving" in v.path)
    assert plans["all"].trainable == classifier.model.count_params() - moving
    assert {plan.total for plan in plans.values()} == {classifier.model.count_params()}


def test_the_stages_of_a_plan_go_from_the_probe_to_the_tuning_at_a_lower_rate(
    classifier: model.Classifier,
) -> None:
    def stages(**settings: Any) -> list[tuple[Any, ...]]:
        plan = transfer.choose_plan(TransferSettings(**settings), classifier, splits(5, 5))
        return [(stage.name, stage.frees, stage.rate, stage.solved) for stage in plan.stages]

    probe = ("probe", "none", 1.0, True)
    assert stages(mode="none") == stages(mode="none", probe=False) == [probe]
    assert stages(mode="part") == [probe, ("tune", "part", 0.1, False)]
    assert stages(mode="all", probe=False) == [("tune", "all", 1.0, False)]


def test_a_head_is_solvable_if_it_is_linear_on_pooled_features(
    classifier: model.Classifier,
) -> None:
    assert transfer.is_solvable(classifier)
    assert transfer.is_solvable(build(dropout=0.0, pooling="max"))
    assert not transfer.is_solvable(build(units=8))
    assert not transfer.is_solvable(build(pooling="flatten"))


def test_the_plan_is_facts_for_json(classifier: model.Classifier) -> None:
    plan = transfer.choose_plan(TransferSettings(mode="part"), classifier, splits(5, 5))
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
