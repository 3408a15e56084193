"""Planted wrong labels are found, and of clean labels few are suspected."""

import json

import numpy as np
import pytest
from sklearn.datasets import load_digits

from job import measurement
from job.linear import Sample, join
from job.measurement import Suspects, find_suspects
from tests.linear.conftest import build_sample
from tools.suite.sources import load_fashion


def load_pictures(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Pixels [n, d] and labels [n] of scikit-learn's digits, or of the first of Fashion-MNIST."""
    if name == "digits":
        return load_digits(return_X_y=True)
    pixels, names = load_fashion()
    labels = np.unique(names, return_inverse=True)[1]
    return pixels.reshape(-1, 784)[:2000], labels[:2000]


def plant(labels: np.ndarray, share: float) -> tuple[np.ndarray, set[int]]:
    """Give a share of the images another class."""
    random = np.random.default_rng(11)
    chosen = random.permutation(len(labels))[: round(share * len(labels))]
    planted = labels.astype(np.int64)
    planted[chosen] = (planted[chosen] + random.integers(1, 10, len(chosen))) % 10
    return planted, set(chosen.tolist())


def search(name: str, share: float) -> tuple[Suspects, set[int]]:
    pixels, labels = load_pictures(name)
    planted, wrong = plant(labels, share)
    return find_suspects(build_sample(pixels, planted)), wrong


@pytest.mark.parametrize("name", ["digits", "fashion"])
def test_planted_labels_are_found_and_half_of_what_is_listed_was_planted(name: str) -> None:
    suspects, wrong = search(name, 0.05)
    hits = sum(suspect.image in wrong for suspect in suspects.rows)
    assert hits >= 0.8 * len(wrong)
    assert hits >= 0.5 * len(suspects.rows)
    assert suspects.share == pytest.approx(0.05, abs=0.015)


@pytest.mark.parametrize("name", ["digits", "fashion"])
def test_of_clean_labels_fewer_than_one_in_a_hundred_is_listed(name: str) -> None:
    suspects, _ = search(name, 0)
    assert len(suspects.rows) < 0.01 * suspects.images


def test_the_likelier_class_is_the_true_one() -> None:
    suspects, wrong = search("digits", 0.05)
    _, labels = load_pictures("digits")
    found = [suspect for suspect in suspects.rows if suspect.image in wrong]
    right = sum(labels[suspect.image] == suspect.likelier for suspect in found)
    assert right > 0.9 * len(found)
    assert all(suspect.label != suspect.likelier for suspect in suspects.rows)


def test_the_most_suspicious_come_first() -> None:
    suspects, wrong = search("digits", 0.05)
    probabilities = [suspect.probability for suspect in suspects.rows]
    assert probabilities == sorted(probabilities, reverse=True)
    first = [suspect.image in wrong for suspect in suspects.rows[:20]]
    assert sum(first) >= 18


def test_a_second_search_finds_the_same() -> None:
    assert search("digits", 0.05) == search("digits", 0.05)


@pytest.fixture
def two_clouds() -> Sample:
    """100 images of two classes that are far apart; the last three are labelled wrongly."""
    random = np.random.default_rng(0)
    labels = np.tile([0, 1], 50)
    features = random.normal(size=(100, 4)) + 8 * labels[:, None]
    labels[97:] = 1 - labels[97:]
    return build_sample(features, labels)


def test_the_facts_name_the_images_and_score_the_test_with_and_without_them(
    two_clouds: Sample,
) -> None:
    suspects = find_suspects(two_clouds)
    truth = np.tile([0, 1], 50)
    # The model is right about all of the last ten images, whatever their labels say.
    test = measurement.TestAnswers(labels=two_clouds.labels[90:], predicted=truth[90:])
    facts = suspects.facts(
        names=[f"{row}.png" for row in range(100)],
        parts=["train"] * 80 + ["val"] * 10 + ["test"] * 10,
        classes=["cat", "dog"],
        test=test,
    )
    json.dumps(facts, allow_nan=False)
    assert {row["image"] for row in facts["rows"]} == {"97.png", "98.png", "99.png"}
    assert {row["part"] for row in facts["rows"]} == {"test"}
    for row in facts["rows"]:
        assert {row["label"], row["likelier"]} == {"cat", "dog"}
    assert (facts["images"], facts["accuracy"], facts["accuracy_without"]) == (100, 0.7, 1.0)


def test_without_test_images_no_accuracy_is_claimed(two_clouds: Sample) -> None:
    nothing = np.zeros(0, np.int64)
    facts = find_suspects(two_clouds).facts(
        names=[""] * 100,
        parts=["train"] * 100,
        classes=["cat", "dog"],
        test=measurement.TestAnswers(labels=nothing, predicted=nothing),
    )
    assert (facts["accuracy"], facts["accuracy_without"]) == (None, None)


def test_a_wrong_label_is_found_in_every_part(two_clouds: Sample) -> None:
    order = np.array([97, *range(97), 98, 99])
    shuffled = two_clouds.take(order)
    halves = join(shuffled.take(np.arange(50)), shuffled.take(np.arange(50, 100)))
    found = {suspect.image for suspect in find_suspects(halves).rows}
    assert found == {0, 98, 99}
