"""What a champion predicts for images is computed once, and is what a live pass gives."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from job import publish, training
from job.audit import Example, Splits
from job.export import saved_model
from job.export.export_input import ExportInput
from job.kept_rows import RowStore
from job.model import Classifier, fold_temperature
from job.publish import Challenger, Comparison, FrozenFeatures
from job.publish.champion_predictions import ChampionModel
from job.publish.serving import ServedModel
from job.release import Manifest
from job.storage import Store, connect
from tests.training.conftest import (
    CLASSES,
    SIZE,
    build_classifier,
    build_context,
    build_feed,
    draw_splits,
)

BACKBONE: dict[str, Any] = {
    "settings": {"GRAFT_BACKBONE_IMAGE_FIT": "letterbox", "GRAFT_HEAD_UNITS": 0},
    "versions": {"code": "c"},
    "weights": {"sha256": "w"},
    "backbone": {"name": "Small", "image_size": SIZE},
}


@dataclass(frozen=True)
class Releases:
    """A registry, two classifiers that were released there, and images that are new to both."""

    registry: Store
    classifiers: dict[str, Classifier]
    manifests: dict[str, Manifest]
    splits: Splits

    @property
    def examples(self) -> tuple[Example, ...]:
        return self.splits.train + self.splits.test


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Releases:
    folder = tmp_path_factory.mktemp("releases")
    registry = connect(folder.as_uri()).child("pets")
    (folder / "pictures").mkdir()
    classifiers, manifests = {}, {}
    for seed, name in enumerate(("first", "second")):
        # One backbone, and another head in each.
        classifier = build_classifier(0)
        kernel = np.random.default_rng(seed).normal(0, 8, (8, 3))
        classifier.head.get_layer("logits").kernel.assign(kernel)
        fold_temperature(classifier, 1.7)
        bundle = folder / name
        exported = ExportInput(model=classifier.model, classes=CLASSES, size=SIZE, fit="letterbox")
        (bundle / "saved_model").mkdir(parents=True)
        saved_model.prepare(exported)(bundle / "saved_model" / "1")
        (bundle / publish.INVENTORY).write_bytes(b'{"schema": 1, "images": []}')
        fields = {
            "name": "pets",
            "run_id": name,
            "data": {"classes": list(CLASSES)},
            "plan": {"mode": "none", "pooling": "avg"},
            "scores": {},
            "exact": True,
            "previous": None,
            "promotion": {},
            **BACKBONE,
        }
        classifiers[name] = classifier
        manifests[name] = publish.release(bundle, fields, registry).manifest
    return Releases(registry, classifiers, manifests, draw_splits(folder / "pictures"))


def compare(
    releases: Releases,
    cache: Path,
    images: int,
    name: str = "first",
    features: FrozenFeatures | None = None,
) -> Comparison:
    examples = releases.examples[:images]
    labels = [example.label for example in examples]
    challenger = Challenger(
        classes=CLASSES,
        examples=examples,
        probabilities=np.eye(3, dtype=np.float32)[labels],
        features=features,
        machine="this machine",
    )
    store = releases.registry.child(f"releases/{name}")
    return publish.compare(store, releases.manifests[name], challenger, "accuracy", cache)


def count_kept(cache: Path) -> list[int]:
    """How many images each pass over images has computed."""
    shards = sorted((cache / "predictions").rglob("*.npy"), key=lambda path: path.stat().st_mtime)
    return [len(np.load(shard)) for shard in shards]


def predict_live(releases: Releases, name: str, cache: Path) -> np.ndarray:
    """What the SavedModel of a release gives for all images, with nothing kept."""
    manifest = releases.manifests[name]
    folder = cache / "releases" / manifest.sha256 / "saved_model" / "1"
    return ServedModel(folder, len(manifest.classes)).classify(
        [example.path for example in releases.examples]
    )


def test_the_champion_predicts_new_images_alone_and_the_next_one_predicts_all(
    releases: Releases, tmp_path: Path
) -> None:
    first = compare(releases, tmp_path, 30)
    assert count_kept(tmp_path) == [30]
    assert compare(releases, tmp_path, 30) == first
    assert count_kept(tmp_path) == [30]

    grown = compare(releases, tmp_path, 39)
    assert count_kept(tmp_path) == [30, 9]
    # In another cache nothing is kept: this is a live pass.
    assert grown == compare(releases, tmp_path / "cold", 39)

    compare(releases, tmp_path, 39, name="second")
    assert count_kept(tmp_path) == [30, 9, 39]


def test_kept_predictions_are_those_of_a_live_pass(releases: Releases, tmp_path: Path) -> None:
    compare(releases, tmp_path, 20)
    compare(releases, tmp_path, 39)
    (folder,) = (tmp_path / "predictions").iterdir()
    images = [example.sha256 for example in releases.examples]
    kept = RowStore(folder, (3,), np.dtype(np.float32)).open_rows(images)[:]
    assert np.array_equal(kept, predict_live(releases, "first", tmp_path))


def test_a_champion_on_the_same_backbone_predicts_from_the_kept_features(
    releases: Releases, tmp_path: Path
) -> None:
    features = _load_features(releases, tmp_path)
    for name in ("first", "second"):
        live = compare(releases, tmp_path / "live", 39, name)
        assert compare(releases, tmp_path, 39, name, features) == live
    # No image ran through a champion.
    assert count_kept(tmp_path) == []

    taken = features.take_for(releases.manifests["first"])
    model = ChampionModel(
        folder=tmp_path / "releases" / releases.manifests["first"].sha256 / "saved_model" / "1",
        manifest=releases.manifests["first"],
        cache=tmp_path / "predictions",
        machine="",
    )
    predicted = model.predict(releases.examples, taken)
    by_images = predict_live(releases, "first", tmp_path)
    assert by_images.max(axis=1).std() > 0.01
    np.testing.assert_allclose(predicted, by_images, atol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"plan": {"mode": "part", "pooling": "avg"}},
        {"plan": {"mode": "none", "pooling": "max"}},
        {"versions": {"code": "of another version"}},
        {"weights": {"sha256": "of another file"}},
        {"weights": {"sha256": ""}},
        {"backbone": {"name": "Small", "image_size": 32}},
        {"settings": {**BACKBONE["settings"], "GRAFT_BACKBONE_IMAGE_FIT": "crop"}},
        {"settings": {**BACKBONE["settings"], "GRAFT_HEAD_UNITS": 16}},
        {"backbone": None},
    ],
)
def test_a_champion_that_differs_in_more_than_its_head_takes_no_kept_features(
    releases: Releases, changes: dict[str, Any]
) -> None:
    features = FrozenFeatures(BACKBONE, {"avg": np.zeros((1, 8), np.float32)})
    manifest = releases.manifests["first"]
    assert features.take_for(manifest) is not None
    changed = {**manifest.fields, **changes}
    if changed["backbone"] is None:
        # As a release of an early version of Graft.
        del changed["backbone"]
    assert features.take_for(replace(manifest, fields=changed)) is None


def _load_features(releases: Releases, folder: Path) -> FrozenFeatures:
    """The features of all images, as the measurement of a run keeps them."""
    classifier = releases.classifiers["first"]
    context = build_context(folder)
    network = training.network.pool_backbone(classifier, context)
    feed = build_feed(releases.splits)
    rows = context.cache.load(network, feed, releases.examples, context.telemetry)
    return FrozenFeatures(BACKBONE, {"avg": rows[:]})


@pytest.fixture(autouse=True, scope="module")
def _deterministic() -> None:
    tf.config.experimental.enable_op_determinism()
