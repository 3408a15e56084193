"""Releases in use: compared and predicted with, by real SavedModels over both stores."""

import csv
import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from job import publish
from job.__main__ import main
from job.errors import DatasetError, ReleaseError
from job.evaluation import compare_paired
from job.publish import Challenger, Comparison
from job.publish.comparison import align
from job.release import Manifest
from job.storage import Store
from tools.bench import promotion

COLOURS = {"blue": (20, 30, 220), "green": (30, 200, 40), "red": (220, 30, 20)}


@pytest.fixture(scope="session")
def saved_models(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], Path]:
    """SavedModels that tell an image's class by its mean colour."""
    folder = tmp_path_factory.mktemp("saved-models")
    wanted = [("blue", "green", "red"), ("red", "green"), ("green", "violet")]
    return {classes: _save(folder / "-".join(classes), classes) for classes in wanted}


def _save(folder: Path, classes: tuple[str, ...]) -> Path:
    import tensorflow as tf

    module = tf.Module()
    colours = [COLOURS.get(name, (255, 0, 255)) for name in classes]
    module.colours = tf.Variable(tf.constant(colours, tf.float32))

    def mean_colour(encoded: Any) -> Any:
        return tf.reduce_mean(
            tf.cast(tf.io.decode_image(encoded, 3, expand_animations=False), tf.float32), [0, 1]
        )

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="images")], autograph=False)
    def serve(images: Any) -> dict[str, Any]:
        means = tf.map_fn(mean_colour, images, fn_output_signature=tf.TensorSpec([3], tf.float32))
        distances = tf.norm(means[:, None] - module.colours[None], axis=-1)
        return {"probabilities": tf.nn.softmax(-distances / 50)}

    tf.saved_model.save(
        module, str(folder / "saved_model" / "1"), signatures={"serving_default": serve}
    )
    (folder / "saved_model/1/fingerprint.pb").unlink()
    (folder / "saved_model/1/assets").rmdir()
    return folder


def example(folder: Path, index: int, classes: tuple[str, ...], name: str) -> Any:
    generator = np.random.default_rng(index)
    pixels = np.clip(
        np.array(COLOURS[name]) + generator.integers(-15, 16, (8, 8, 3)), 0, 255
    ).astype(np.uint8)
    path = folder / f"{index}.png"
    Image.fromarray(pixels).save(path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return SimpleNamespace(path=path, name=path.name, label=classes.index(name), sha256=sha256)


@pytest.fixture
def examples(tmp_path: Path) -> list[Any]:
    """36 images, 12 of each colour; labels index ("blue", "green", "red")."""
    folder = tmp_path / "images"
    folder.mkdir()
    classes = tuple(sorted(COLOURS))
    return [example(folder, index, classes, classes[index % 3]) for index in range(36)]


def test_the_image_that_does_not_decode_is_found_whatever_tensorflow_reports(
    saved_models: dict[tuple[str, ...], Path],
    examples: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A broken image cancels the loops over the others. One time in a hundred only they report."""
    import tensorflow as tf

    from job.publish.serving import ServedModel

    classes = tuple(sorted(COLOURS))
    served = ServedModel(saved_models[classes] / "saved_model" / "1", len(classes))
    compute = served._signature

    def report_the_other_loops(images: Any) -> Any:
        try:
            return compute(images=images)
        except tf.errors.InvalidArgumentError as error:
            raise tf.errors.CancelledError(None, None, "Loop execution was cancelled.") from error

    encoded = [one.path.read_bytes() for one in examples[:6]]
    encoded.insert(4, b"no picture")
    expected = served.classify_readable(encoded)
    assert [answer is None for answer in expected] == [place == 4 for place in range(7)]
    monkeypatch.setattr(served, "_signature", report_the_other_loops)
    found = served.classify_readable(encoded)
    for answer, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(answer, wanted)


def splits(classes: tuple[str, ...], **parts: list[Any]) -> Any:
    return SimpleNamespace(classes=classes, **{"train": (), "val": (), "test": (), **parts})


def release(
    registry: Store, folder: Path, classes: tuple[str, ...], inventory: bytes, **more: object
) -> Manifest:
    (folder / "dataset.json").write_bytes(inventory)
    fields = {
        "name": "colours",
        "run_id": "run-" + "-".join(classes),
        "settings": {},
        "data": {"classes": list(classes)},
        "versions": {},
        "plan": {},
        "scores": {},
        "exact": True,
        "previous": None,
        "promotion": {},
        **more,
    }
    return publish.release(folder, fields, registry).manifest


def compare_release(
    registry: Store,
    manifest: Manifest,
    examples: list[Any],
    cache: Path,
    metric: str = "accuracy",
    right: float = 1.0,
) -> Comparison:
    """Compare with a challenger that is right about the first `right` share of the images."""
    classes = tuple(sorted(COLOURS))
    said = [
        each.label if row < right * len(examples) else (each.label + 1) % 3
        for row, each in enumerate(examples)
    ]
    challenger = Challenger(
        classes=classes, examples=examples, probabilities=np.eye(3, dtype=np.float32)[said]
    )
    store = registry.child(f"releases/{manifest.run_id}")
    return publish.compare(store, manifest, challenger, metric, cache)


def test_the_champion_is_compared_on_images_that_it_has_not_learnt_from(
    store: Store, saved_models: Any, examples: list[Any], tmp_path: Path
) -> None:
    classes = ("blue", "green", "red")
    inventory = publish.compose_inventory(
        splits(classes, train=examples[:2], val=examples[2:4], test=examples[4:8])
    )
    manifest = release(store, saved_models[classes], classes, inventory)

    comparison = compare_release(store, manifest, examples, tmp_path / "cache", right=20 / 36)
    assert (comparison.run_id, comparison.metric, comparison.images) == (
        manifest.run_id,
        "accuracy",
        32,
    )
    assert comparison.champion == 1
    assert comparison.challenger == pytest.approx(16 / 32)
    assert comparison.low is not None
    assert comparison.high is not None
    assert comparison.low < -0.5 < comparison.high < 0


def test_the_simulation_draws_the_interval_that_a_comparison_has() -> None:
    right = np.eye(2, dtype=np.float32)
    ours = right[[0] * 270 + [1] * 30]
    theirs = right[[0] * 258 + [1] * 42]
    theirs[[0, 1, 2]] = right[1]
    compared = compare_paired(np.zeros(300, np.int64), ours, theirs, "accuracy")

    low, high = promotion.resample_interval(15, 0, 300, np.random.default_rng(1))

    assert compared.challenger - compared.champion == pytest.approx(15 / 300)
    assert (low, high) == pytest.approx((compared.low, compared.high), abs=0.005)


def test_a_class_that_the_champion_lacks_is_its_error(
    store: Store, saved_models: Any, examples: list[Any], tmp_path: Path
) -> None:
    manifest = release(
        store, saved_models["red", "green"], ("red", "green"), publish.compose_inventory(splits(()))
    )
    comparison = compare_release(store, manifest, examples, tmp_path / "cache")
    assert comparison.champion == pytest.approx(24 / 36)
    assert comparison.challenger == 1
    assert compare_release(
        store, manifest, examples, tmp_path / "cache", "balanced_accuracy"
    ).champion == pytest.approx(2 / 3)


def test_outputs_for_classes_gone_are_dropped_and_renormalised() -> None:
    said = np.array([[0.2, 0.6, 0.2], [0, 1, 0], [0.5, 0.25, 0.25]], np.float32)
    aligned = align(said, ("cat", "gone", "dog"), ("ape", "cat", "dog"))
    np.testing.assert_allclose(
        aligned, [[0.0, 0.5, 0.5], [0.0, 0.0, 0.0], [0.0, 2 / 3, 1 / 3]], atol=1e-6
    )


def test_a_champion_of_none_of_todays_classes_is_always_wrong(
    store: Store, saved_models: Any, examples: list[Any], tmp_path: Path
) -> None:
    manifest = release(
        store,
        saved_models["green", "violet"],
        ("gone", "violet"),
        publish.compose_inventory(splits(())),
    )
    assert compare_release(store, manifest, examples, tmp_path / "cache").champion == 0


def test_without_an_image_that_is_new_to_the_champion_nothing_is_compared(
    store: Store, saved_models: Any, examples: list[Any], tmp_path: Path
) -> None:
    classes = ("blue", "green", "red")
    manifest = release(
        store,
        saved_models[classes],
        classes,
        publish.compose_inventory(splits(classes, train=examples)),
    )
    comparison = compare_release(store, manifest, examples, tmp_path / "cache")
    assert (comparison.images, comparison.champion, comparison.challenger) == (0, None, None)


def test_a_damaged_champion_is_not_run(
    store: Store, saved_models: Any, examples: list[Any], tmp_path: Path
) -> None:
    classes = ("blue", "green", "red")
    manifest = release(store, saved_models[classes], classes, publish.compose_inventory(splits(())))
    key = f"releases/{manifest.run_id}/saved_model/1/saved_model.pb"
    # Of the same size: another one is noticed before the download.
    another = bytes(manifest.files["saved_model/1/saved_model.pb"]["bytes"])
    store.write(key, another)
    received = hashlib.sha256(another).hexdigest()
    with pytest.raises(ReleaseError, match=rf"saved_model\.pb has sha256 {received}"):
        compare_release(store, manifest, examples, tmp_path / "cache")
    store.delete(key)
    with pytest.raises(ReleaseError, match=r"saved_model\.pb is missing"):
        compare_release(store, manifest, examples, tmp_path / "cache")


@pytest.mark.parametrize("content", [b"{", b'{"images": [{"split": "train"}]}', b"[]"])
def test_an_unreadable_inventory_is_the_releases_fault(
    store: Store, saved_models: Any, examples: list[Any], tmp_path: Path, content: bytes
) -> None:
    classes = ("blue", "green", "red")
    manifest = release(store, saved_models[classes], classes, content)
    with pytest.raises(ReleaseError, match=r"dataset\.json of the release is not readable"):
        compare_release(store, manifest, examples, tmp_path / "cache")


def test_a_saved_model_that_does_not_load_is_the_releases_fault(tmp_path: Path) -> None:
    from job.publish.serving import ServedModel

    (tmp_path / "saved_model.pb").write_bytes(b"no graph")
    with pytest.raises(ReleaseError, match="is not a SavedModel of Graft"):
        ServedModel(tmp_path, 3)


def test_the_inventory_knows_content_and_no_names(examples: list[Any]) -> None:
    classes = ("blue", "green", "red")
    raw = publish.compose_inventory(splits(classes, train=examples[:3], test=examples[3:4]))
    renamed = [
        SimpleNamespace(sha256=each.sha256, label=each.label, path=Path("x"), name="x")
        for each in examples
    ]
    assert raw == publish.compose_inventory(
        splits(classes, train=renamed[2::-1], test=renamed[3:4])
    )
    images = json.loads(raw)["images"]
    assert {"sha256": examples[0].sha256, "label": "blue", "split": "train"} in images
    assert [image["split"] for image in images].count("test") == 1


def test_predict_answers_for_each_image_and_an_unreadable_one_stops_nothing(
    store: Store, saved_models: Any, examples: list[Any], tmp_path: Path
) -> None:
    classes = ("blue", "green", "red")
    manifest = release(store, saved_models[classes], classes, publish.compose_inventory(splits(())))
    publish.promote_manually(f"{store.uri}/releases/{manifest.run_id}")
    text = tmp_path / "text.jpg"
    text.write_text("no image")
    images = [examples[0].path, text, tmp_path / "missing.png", examples[1].path]

    release_uri = f"{store.uri}/releases/{manifest.run_id}"
    for uri in (store.uri, f"{store.uri}/promoted.json", release_uri):
        found = publish.find_images(images)
        said = list(publish.predict(uri, found, tmp_path / "cache", top=2))
        assert [each.image for each in said] == list(map(str, images))
        assert [each.label for each in said] == ["blue", None, None, "green"]
        assert len(said[0].top) == 2
        assert said[0].top[0][1] > said[0].top[1][1]
        assert "is not an image that decodes" in said[1].error
        assert said[2].error == "cannot be read: No such file or directory"


def test_predict_downloads_once_and_repairs_a_damaged_cache(
    store: Store, saved_models: Any, examples: list[Any], tmp_path: Path
) -> None:
    classes = ("blue", "green", "red")
    manifest = release(store, saved_models[classes], classes, publish.compose_inventory(splits(())))
    uri, cache = f"{store.uri}/releases/{manifest.run_id}", tmp_path / "cache"
    list(publish.predict(uri, publish.find_images([examples[0].path]), cache))
    graph = cache / "releases" / manifest.sha256 / "saved_model/1/saved_model.pb"
    written = graph.stat().st_mtime_ns
    list(publish.predict(uri, publish.find_images([examples[0].path]), cache))
    assert graph.stat().st_mtime_ns == written

    graph.write_bytes(b"damaged")
    assert [
        each.label for each in publish.predict(uri, publish.find_images([examples[0].path]), cache)
    ] == ["blue"]


def test_predict_takes_folders_and_addresses_in_batches_and_writes_a_table(
    store: Store,
    saved_models: Any,
    examples: list[Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GRAFT_CACHE_DIR", str(tmp_path / "cache"))
    classes = ("blue", "green", "red")
    manifest = release(store, saved_models[classes], classes, publish.compose_inventory(splits(())))
    uri = f"{store.uri}/releases/{manifest.run_id}"
    folder = examples[0].path.parent
    (folder / "notes.txt").write_text("no image")
    (folder / "broken.png").write_text("no image either")
    (folder / "deep").mkdir()
    examples[35].path.rename(folder / "deep" / "LAST.PNG")
    for example in examples[:2]:
        store.upload(f"new/{example.path.name}", example.path)

    table = tmp_path / "predictions.csv"
    words = [str(folder), f"{store.uri}/new", f"{store.uri}/new/0.png"]
    assert main(["predict", uri, *words, "--csv", str(table), "--top", "2"]) == 3
    assert capsys.readouterr().out == f"{table}: 40 images, 1 not readable\n"
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    by_name = {Path(row["image"]).name: row for row in rows}
    assert len(rows) == 40
    assert [row["image"] for row in rows[-3:]] == [
        f"{store.uri}/new/0.png", f"{store.uri}/new/1.png", f"{store.uri}/new/0.png",
    ]  # fmt: skip
    for index, example in enumerate(examples[:35]):
        assert by_name[example.path.name]["label"] == classes[index % 3]
    assert by_name["LAST.PNG"]["label"] == "red"
    assert float(by_name["0.png"]["probability"]) > float(by_name["0.png"]["probability_2"])
    assert "is not an image that decodes" in by_name["broken.png"]["error"]
    assert by_name["broken.png"]["label"] == ""


@pytest.mark.parametrize("store_uri", ["folder"], indirect=True)
def test_the_images_to_label_next_are_those_between_two_classes(
    store: Store,
    saved_models: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GRAFT_CACHE_DIR", str(tmp_path / "cache"))
    classes = ("blue", "green", "red")
    manifest = release(store, saved_models[classes], classes, publish.compose_inventory(splits(())))
    uri = f"{store.uri}/releases/{manifest.run_id}"
    folder = tmp_path / "new"
    folder.mkdir()
    colours = {
        "between-all": (80, 80, 85),
        "between-two": (25, 115, 130),
        "copy": (25, 115, 130),
        "sure": COLOURS["red"],
    }
    for name, colour in colours.items():
        Image.new("RGB", (8, 8), colour).save(folder / f"{name}.png")
    (folder / "broken.png").write_text("no image")

    ranked = publish.rank(uri, publish.find_images([folder]), tmp_path / "cache")
    names = [Path(row.prediction.image).stem for row in ranked]
    assert names == ["between-all", "between-two", "sure", "copy", "broken"]
    assert ranked[0].uncertainty == pytest.approx(1, abs=0.05)
    assert ranked[2].uncertainty == pytest.approx(0, abs=0.2)
    by_margin = publish.rank(uri, publish.find_images([folder]), tmp_path / "cache", "margin")
    assert Path(by_margin[0].prediction.image).stem == "between-two"
    assert by_margin[0].uncertainty == pytest.approx(1, abs=0.01)

    table = tmp_path / "next.csv"
    assert main(["rank", uri, str(folder), "--csv", str(table), "--top", "1"]) == 3
    out = capsys.readouterr().out.splitlines()
    assert out[1].startswith("1     ")
    assert out[1].endswith("between-all.png")
    assert out[2:] == ["5 images, 1 not readable"]
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [Path(row["image"]).stem for row in rows] == names
    assert rows[2]["label"] == "red"
    assert rows[3]["copy_of"].endswith("between-two.png")
    assert "is not an image that decodes" in rows[4]["error"]


@pytest.mark.parametrize("store_uri", ["folder"], indirect=True)
def test_a_request_before_and_after_a_promotion_gets_the_old_and_the_new_model(
    store: Store, saved_models: Any, tmp_path: Path
) -> None:
    """As TensorFlow Serving does: it loads the highest number below its base path."""
    from job.publish.serving import ServedModel

    image = tmp_path / "green.png"
    Image.new("RGB", (8, 8), COLOURS["green"]).save(image)
    base_path = Path(store.uri.removeprefix("file://")) / "serving"

    def ask() -> list[float]:
        newest = max(base_path.iterdir(), key=lambda path: int(path.name))
        (probabilities,) = ServedModel(newest, 2).classify([image])
        return [round(float(value)) for value in probabilities]

    inventory = publish.compose_inventory(splits(()))
    for classes in (("red", "green"), ("green", "violet")):
        release(store, saved_models[classes], classes, inventory)
    publish.promote_manually(f"{store.uri}/releases/run-red-green")
    assert publish.follow_champion(store, begin=True) == 1
    # Of red and green it is the second.
    assert ask() == [0, 1]
    publish.promote_manually(f"{store.uri}/releases/run-green-violet")
    assert ask() == [1, 0]
    publish.roll_back(store.uri)
    assert ask() == [0, 1]
    assert {path.name for path in base_path.iterdir()} == {"1", "2", "3"}


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(DatasetError, match="holds no images"):
        list(publish.find_images([tmp_path]))


def test_releases_and_show_name_the_champion_the_score_and_the_reason(
    store: Store,
    saved_models: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    inventory = publish.compose_inventory(splits(()))
    older = release(store, saved_models["red", "green"], ("red", "green"), inventory)
    newer = release(store, saved_models["green", "violet"], ("green", "violet"), inventory)
    publish.promote_manually(f"{store.uri}/releases/{older.run_id}")

    assert main(["releases", store.uri]) == 0
    heading, *lines = capsys.readouterr().out.splitlines()
    assert heading.startswith("run id")
    assert {line.split()[0] for line in lines} == {older.run_id, newer.run_id}
    assert [line.split()[0] for line in lines if line.endswith("champion")] == [older.run_id]

    assert main(["show", store.uri]) == 0
    shown = capsys.readouterr().out
    assert f"release             {store.uri}/releases/{older.run_id}\n" in shown
    assert "champion            yes\n" in shown
    assert "classes             red, green\n" in shown
    # A manifest of an earlier version does not say when and where it was made.
    assert "created" not in shown
    assert main(["show", f"{store.uri}/releases/{newer.run_id}", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == newer.fields


def test_show_says_when_and_where_a_release_was_made(
    store: Store, saved_models: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    making = {
        "created": "2026-11-28T14:37:16Z",
        "seconds": {"survey": 0.5, "training": 120.0, "evaluation": 3.0, "export": 20.25},
        "devices": ["GPU:0", "GPU:1"],
        "machine": "A CPU; 2 threads; 2 devices",
        "workers": 2,
    }
    made = release(
        store,
        saved_models["red", "green"],
        ("red", "green"),
        publish.compose_inventory(splits(())),
        **making,
    )
    assert main(["show", f"{store.uri}/releases/{made.run_id}"]) == 0
    shown = capsys.readouterr().out
    assert "created             2026-11-28T14:37:16Z\n" in shown
    assert "143.8 s (training 120.0 s, export 20.2 s, evaluation 3.0 s)\n" in shown
    assert "GPU:0, GPU:1 (A CPU; 2 threads; 2 devices), 2 workers\n" in shown


@pytest.mark.parametrize("verb", ["verify", "show", "releases", "promote"])
def test_an_address_without_a_release_is_the_callers_mistake(
    store: Store, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store.write("notes.txt", b"no release")
    assert main([verb, f"{store.uri}/releases/0123" if verb == "promote" else store.uri]) == 2
    assert "Give " in capsys.readouterr().err


def test_predict_needs_a_saved_model(store: Store, tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    manifest = release(store, tmp_path / "bundle", ("a", "b"), b"{}")
    with pytest.raises(ReleaseError, match="has no saved_model"):
        publish.predict(f"{store.uri}/releases/{manifest.run_id}", [], tmp_path / "cache")
