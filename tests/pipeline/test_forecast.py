"""The forecast of a run's seconds, from the time that one image takes."""

import pytest

from job import settings
from job.audit import Splits
from job.pipeline.forecast import forecast_time
from job.pipeline.outcome import Network
from job.weights import NO_WEIGHTS
from tests.training.conftest import build_classifier, build_feed, build_plan, draw_splits


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    return draw_splits(tmp_path_factory.mktemp("pictures"))


def forecast_training(splits: Splits, views: int) -> float:
    """Seconds of training the last layers, where one image takes one second."""
    environment = {"GRAFT_DATASET_URI": "file:///images", "GRAFT_OUTPUT_URI": "file:///output"}
    classifier = build_classifier()
    network = Network(
        classifier=classifier,
        weights=NO_WEIGHTS,
        feed=build_feed(splits, augmentation="light", views=views),
        plan=build_plan("part", classifier),
    )
    return forecast_time(settings.load(environment), network, (), step_seconds=[0.1]).training


def test_each_view_costs_one_pass_of_the_training_images_before_the_first_step(
    splits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("job.pipeline.forecast._time_image", lambda *_: 1.0)
    one, four = (forecast_training(splits, views) for views in (1, 4))
    assert four - one == pytest.approx(3 * len(splits.train))
