"""A night trains if its new images look unlike the learnt ones: GRAFT_TRIGGER_DRIFT_P."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from job import pipeline, settings
from job.dataset import Record
from job.errors import SettingsError
from job.pipeline import trigger
from job.pipeline.drift_samples import draw_samples
from job.pipeline.trigger import NewImages
from job.settings import TriggerSettings
from job.telemetry import silent
from job.workers import Stop, WorkerGroup
from tests.pipeline.conftest import ONE_FORMAT, draw, graft


def record(number: int, label: str, group: str | None = None) -> Record:
    return Record(
        location=f"/{number}",
        name=str(number),
        label=label,
        sha256=f"{number:064x}",
        size=1,
        split=None,
        group=group,
    )


def test_one_image_of_each_group_is_compared_and_classes_without_new_images_are_not() -> None:
    known = [record(number, "cat", "one cat") for number in range(5)]
    known += [record(number, "cat") for number in range(5, 8)]
    known += [record(number, "dog") for number in range(8, 12)]
    unused = record(12, "cat")
    new = [record(20, "cat", "another cat"), record(21, "cat", "another cat"), record(22, "cat")]
    used = {(each.sha256, each.label) for each in known}
    samples = draw_samples([*known, unused, *new], used | {(unused.sha256, "cat")}, used, seed=0)
    assert len(samples.new) == 2
    assert len(samples.known) == 4
    assert {each.label for each in samples.known} == {"cat"}


@pytest.mark.parametrize(
    ("number", "new", "tested"), [(0, 0, False), (0, 1, True), (5, 4, True), (5, 5, False)]
)
def test_the_test_is_made_only_where_numbers_do_not_decide(
    number: int, new: int, tested: bool
) -> None:
    given = TriggerSettings(min_new_images=number, drift_p=0.01)
    assert trigger.needs_test(given, NewImages(new, 100)) is tested


def test_several_workers_are_refused_before_anything_is_listed(tmp_path: Path) -> None:
    given = settings.load(
        {
            "GRAFT_DATASET_URI": str(tmp_path / "missing"),
            "GRAFT_OUTPUT_URI": str(tmp_path / "models"),
            "GRAFT_TRIGGER_DRIFT_P": "0.01",
        }
    )
    group = WorkerGroup.parse(
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}'
    )
    context = pipeline.RunContext(
        telemetry=silent(), stop=Stop(), keras_home=tmp_path, worker_group=group
    )
    with pytest.raises(SettingsError, match="is for runs of one worker"):
        pipeline.run(given, context)


def invert(folder: Path, target: Path) -> None:
    for path in folder.rglob("*.png"):
        written = target / path.parent.name / f"inverted-{path.name}"
        Image.fromarray(255 - np.asarray(Image.open(path))).save(written)


@pytest.mark.runs
def test_a_night_of_such_images_waits_and_a_night_of_others_is_trained_on(
    tiny: dict[str, str], tmp_path: Path
) -> None:
    data = draw(tmp_path / "data")
    given = (
        tiny
        | ONE_FORMAT
        | {
            "GRAFT_DATASET_URI": str(data),
            "GRAFT_OUTPUT_URI": str(tmp_path / "models"),
            "GRAFT_TRIGGER_DRIFT_P": "0.01",
        }
    )
    assert graft("run", **given).result["status"] == "released"

    more = draw(tmp_path / "more", per_class=4, seed=8)
    shutil.copytree(more, data, dirs_exist_ok=True)
    waiting = graft("run", **given).result
    assert waiting["status"] == "unchanged"
    assert waiting["new_images"] == 12
    assert (
        "12 new images against 36; expected at most 0.01 (GRAFT_TRIGGER_DRIFT_P)"
        in (waiting["reason"])
    )

    invert(more, data)
    trained = graft("run", **given)
    assert trained.result["status"] == "released"
    assert any("new images differ from the learnt ones" in line["message"] for line in trained.log)
