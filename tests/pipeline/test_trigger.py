"""New images start a training only if they are worth it: GRAFT_TRIGGER_*."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from job import dataset, identity, pipeline, publish, settings, storage
from job.dataset import Dataset
from job.pipeline import trigger
from job.pipeline.trigger import NewImages
from job.release import Manifest
from job.result import Result
from job.settings import TriggerSettings
from job.telemetry import RunTelemetry
from job.telemetry.metrics import register
from job.telemetry.push import outcome_registry
from job.telemetry.run_state import RunState
from job.workers import Stop
from tests.publish.test_releasing import bundle, fields
from tests.publish.test_serving import splits


class Trained(Exception):
    """The run has come to its training."""


class Nights:
    """A data set of ten images, one of which is not used, and a release of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.given = {
            "GRAFT_NAME": "pets",
            "GRAFT_DATASET_URI": str(folder / "data"),
            "GRAFT_OUTPUT_URI": str(folder / "models"),
            "GRAFT_CACHE_DIR": str(folder / "cache"),
            "GRAFT_TELEMETRY_PORT": "0",
        }
        self.add(*range(5))
        self.telemetry = RunTelemetry(RunState("pets"))
        self.manifest = self._release()

    def add(self, *numbers: int, label: str = "") -> None:
        for name in [label] if label else ["cat", "dog"]:
            for number in numbers:
                path = self.folder / "data" / name / f"{number}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f"{name} {number}")

    def move(self, source: str, target: str) -> None:
        (self.folder / "data" / source).rename(self.folder / "data" / target)

    def fetch(self) -> Dataset:
        loaded = settings.load(self.given)
        listing = dataset.survey(loaded.dataset)
        return dataset.fetch(listing, loaded.dataset, loaded.cache, self.telemetry)

    def _release(self) -> Manifest:
        data = self.fetch()
        classes = ("cat", "dog")
        used = [each for each in data.records if not each.name.startswith("dog/4")]
        examples: list[Any] = []
        for each in used:
            row = {"sha256": each.sha256, "label": classes.index(each.label)}
            examples.append(type("Row", (), row))
        inventory = publish.compose_inventory(splits(classes, train=examples), data.records)
        files = {publish.INVENTORY: inventory, publish.SEEN_OBJECTS: data.objects}
        folder = bundle(self.folder / "bundle", files)
        known = fields(
            "run-1",
            settings=settings.load(self.given).recorded_values(),
            versions={"code": identity.digest_code()},
        )
        registry = storage.connect(str(self.folder / "models")).child("pets")
        return publish.release(folder, known, registry).manifest

    @property
    def written(self) -> Path:
        return self.folder / "models/pets/releases/run-1/manifest.json"

    def run(self, **trigger: str) -> Result:
        given = {f"GRAFT_TRIGGER_{name.upper()}": value for name, value in trigger.items()}
        context = pipeline.RunContext(telemetry=self.telemetry, stop=Stop(), keras_home=self.folder)
        return pipeline.run(settings.load(self.given | given), context)


@pytest.fixture
def nights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nights]:
    def learn(*_: object) -> Result:
        raise Trained

    monkeypatch.setattr(pipeline, "learn", learn)
    made = Nights(tmp_path)
    yield made
    made.telemetry.close()


def test_a_few_new_images_wait_and_enough_of_them_are_trained_on(nights: Nights) -> None:
    nights.add(5, label="cat")
    result = nights.run(min_new_images="2")
    assert (result.status, result.run_id, result.new_images) == ("unchanged", "run-1", 1)
    assert result.reason.startswith(
        "new images since the last release: 1; expected 2 (GRAFT_TRIGGER_MIN_NEW_IMAGES); "
    )
    nights.add(6, label="cat")
    with pytest.raises(Trained):
        nights.run(min_new_images="2")


def test_the_listing_decides_where_it_can_and_no_image_is_fetched(nights: Nights) -> None:
    nights.add(5, label="cat")
    assert nights.run(min_new_images="2").new_images == 1
    assert "dataset" not in nights.telemetry.seconds
    # Without images that are new there is nothing to compare either.
    (nights.written.parent / publish.SEEN_OBJECTS).write_bytes(nights.fetch().objects)
    (nights.folder / "data/cat/0.jpg").unlink()
    result = nights.run(drift_p="0.01")
    assert result.reason.startswith("no image is new since the last release")
    assert result.new_images == 0
    assert "dataset" not in nights.telemetry.seconds


def test_a_moved_image_is_new_in_the_listing_and_known_when_it_is_fetched(nights: Nights) -> None:
    nights.move("cat/0.jpg", "cat/moved.jpg")
    assert nights.run(min_new_images="1").new_images == 0
    assert "dataset" in nights.telemetry.seconds


def test_a_release_without_a_listing_is_compared_by_its_images(nights: Nights) -> None:
    (nights.written.parent / publish.SEEN_OBJECTS).unlink()
    nights.add(5, label="cat")
    assert nights.run(min_new_images="2").new_images == 1
    assert "dataset" in nights.telemetry.seconds


def test_the_default_trains_on_the_first_new_image(nights: Nights) -> None:
    nights.add(5, label="cat")
    with pytest.raises(Trained):
        nights.run()


def test_an_image_that_was_left_out_is_not_new_and_a_new_label_is(nights: Nights) -> None:
    """Ten images are known, with the one that could not be used."""
    nights.add(5, label="cat")
    assert nights.run(min_new_share="0.15").new_images == 1
    nights.move("dog/3.jpg", "cat/moved.jpg")
    with pytest.raises(Trained):
        nights.run(min_new_share="0.15")


def test_other_settings_are_trained_with_however_few_images_are_new(nights: Nights) -> None:
    nights.add(5, label="cat")
    nights.given["GRAFT_SEED"] = "1"
    with pytest.raises(Trained):
        nights.run(min_new_images="100", cooldown_hours="100")


def test_during_the_cooldown_no_image_is_fetched(nights: Nights) -> None:
    nights.add(*range(5, 50))
    result = nights.run(cooldown_hours="24")
    assert result.status == "unchanged"
    assert "GRAFT_TRIGGER_COOLDOWN_HOURS" in result.reason
    assert result.new_images is None
    assert "dataset" not in nights.telemetry.seconds
    long_ago = time.time() - 25 * 3600
    os.utime(nights.written, (long_ago, long_ago))
    with pytest.raises(Trained):
        nights.run(cooldown_hours="24")


def test_a_release_that_does_not_say_what_it_has_seen_does_not_stop_a_run(
    nights: Nights, caplog: pytest.LogCaptureFixture
) -> None:
    nights.add(5, label="cat")
    (nights.written.parent / publish.INVENTORY).write_text("{")
    (nights.written.parent / publish.SEEN_OBJECTS).write_bytes(b"not digests")
    with pytest.raises(Trained):
        nights.run(min_new_images="100")
    assert "The images of the last release are not known" in caplog.text


@pytest.mark.parametrize(
    ("number", "share", "new", "waits"),
    [
        (0, 0.0, 0, False),
        (10, 0.0, 9, True),
        (10, 0.0, 10, False),
        (10, 0.5, 9, True),
        (10, 0.05, 9, False),
        (0, 0.05, 4, True),
        (0, 0.05, 5, False),
    ],
)
def test_of_a_number_and_a_share_one_is_enough(
    number: int, share: float, new: int, waits: bool
) -> None:
    given = TriggerSettings(min_new_images=number, min_new_share=share)
    assert bool(trigger.explain_few_images(given, NewImages(new, 100))) is waits


def test_the_metrics_say_how_many_images_are_new(nights: Nights) -> None:
    nights.add(5, label="cat")
    result = nights.run(min_new_images="2")
    registry = CollectorRegistry()
    register(nights.telemetry.state, registry)
    assert b"graft_new_images 1.0" in generate_latest(registry)
    pushed = generate_latest(outcome_registry(result.as_dict(), 1.0))
    assert b"graft_last_new_images 1.0" in pushed


def test_without_such_a_setting_there_is_no_such_metric() -> None:
    assert not TriggerSettings().is_set
    assert b"new_images" not in generate_latest(
        outcome_registry(Result(status="unchanged").as_dict(), 1.0)
    )
