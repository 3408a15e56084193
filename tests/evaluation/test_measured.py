"""What the report says of what was measured, and that it says nothing of what was not."""

import base64
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

from job.evaluation import Report, ReportContext, compute_class_maps, write
from job.evaluation.backbones import plot_backbones
from job.evaluation.charts import make_score_axis
from job.evaluation.intervals import LEFT, RIGHT
from job.evaluation.measured import (
    plot_candidates,
    plot_difference,
    plot_learning_curve,
    plot_profile,
)
from job.evaluation.pictures import MAP_SIDE, draw_evidence
from job.evaluation.plots import find_best_row, plot_history, plot_penalties
from job.evaluation.square import draw_square
from job.evaluation.wording import (
    MINUS,
    describe_evidence,
    describe_kind,
    format_gain,
    format_points,
)
from tests.evaluation.test_report import CLASSES, CONTEXT, SCRIPT, judged, splits_of
from tools.sample_report import BACKBONES, CANDIDATES, MEASUREMENT, PROMOTION, REFINEMENTS

SECTIONS = ("backbones", "square", "candidates", "refinements", "champion", "suspects")
NAMES = ("report.json", "report.html", "model-card.md")


def suspects_of(report: Report) -> dict[str, Any]:
    rows = []
    for mistake in report.mistakes:
        rows.append(
            {
                "image": mistake.name,
                "label": mistake.true,
                "likelier": mistake.predicted,
                "probability": mistake.confidence,
                "part": "test",
            }
        )
    return {"rows": rows, "images": 81, "accuracy": 0.75, "accuracy_without": 0.875}


def context_of(report: Report) -> ReportContext:
    """Everything that a report can tell."""
    return replace(
        CONTEXT,
        measurement=MEASUREMENT,
        backbones=BACKBONES,
        candidates=CANDIDATES,
        refinements=REFINEMENTS,
        suspects=suspects_of(report),
        promotion=PROMOTION,
    )


def explained(report: Report) -> Report:
    """With a map that speaks for the wrong class in the upper left corner."""
    maps = np.full((len(report.mistakes), 7, 7), -1.0, np.float32)
    maps[:, :3, :3] = 1.0
    return report.with_evidence(maps)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return explained(judged(splits_of(tmp_path_factory.mktemp("measured"))))


@pytest.fixture(scope="module")
def written(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write(report, context_of(report), folder)
    return folder


@pytest.fixture
def page_text(browser: Browser, written: Path) -> str:
    page = browser.new_page()
    page.goto((written / "report.html").as_uri())
    text = page.locator("body").inner_text()
    page.close()
    return text.replace("\N{NO-BREAK SPACE}", " ")


def dangling_links(page: Page) -> list[str]:
    return page.evaluate(
        """() => [...document.querySelectorAll("a[href^='#']")]
            .map(link => link.getAttribute("href")).filter(name => !document.querySelector(name))"""
    )


def overlapping_texts(page: Page) -> list[str]:
    """Pairs of texts of one chart that are drawn over each other."""
    return page.evaluate(
        """() => [...document.querySelectorAll(".chart > svg")].flatMap(svg => {
            const texts = [...svg.querySelectorAll("text")]
            return texts.flatMap((one, index) => texts.slice(index + 1).flatMap(other => {
                const a = one.getBoundingClientRect(), b = other.getBoundingClientRect()
                const apart = a.right <= b.left || b.right <= a.left || a.bottom <= b.top + 2
                    || b.bottom <= a.top + 2
                return apart ? [] : [one.textContent + " / " + other.textContent]
            }))
        })"""
    )


def clipped_texts(page: Page) -> list[str]:
    """Texts of charts that leave their chart."""
    return page.evaluate(
        """() => [...document.querySelectorAll(".chart > svg")].flatMap(svg => {
            const box = svg.getBoundingClientRect()
            return [...svg.querySelectorAll("text")].filter(text => {
                const own = text.getBoundingClientRect()
                return own.left < box.left - 1 || own.right > box.right + 1
                    || own.top < box.top - 3 || own.bottom > box.bottom + 3
            }).map(text => text.textContent)
        })"""
    )


def test_what_was_not_measured_has_no_section(
    browser: Browser, report: Report, tmp_path: Path
) -> None:
    write(report, CONTEXT, tmp_path)
    page = browser.new_page()
    page.goto((tmp_path / "report.html").as_uri())
    for name in SECTIONS:
        assert page.locator(f"#{name}").count() == 0
    assert dangling_links(page) == []
    page.close()
    content = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert content["measurement"] is content["suspects"] is content["promotion"] is None
    assert content["candidates"] == content["refinements"] == content["backbones"] == []


def test_a_release_that_is_evaluated_again_has_a_report_too(
    browser: Browser, tmp_path: Path
) -> None:
    splits = replace(splits_of(tmp_path), train=(), val=(), near_duplicates=(), leaks=())
    context = ReportContext(
        name="flowers",
        run_id="a1b2c3d4e5f6",
        backbone="EfficientNetLite0",
        image_size=224,
        gate={"metric": "accuracy", "min_score": 0.99},
        source="s3://data/other",
        digest="9f" * 32,
        settings={},
        versions={},
        promotion=PROMOTION,
        evaluated="s3://models/flowers/releases/a1b2c3d4e5f6",
    )
    write(judged(splits), context, tmp_path / "out")
    page = browser.new_page(viewport={"width": 390, "height": 900})
    page.goto((tmp_path / "out" / "report.html").as_uri())
    assert page.locator("h1").inner_text().startswith("A model for 5 classes was judged on other")
    for name in ("decision", "curves", "exports", "square"):
        assert page.locator(f"#{name}").count() == 0
    assert page.locator("#champion").count() == 1
    assert dangling_links(page) == []
    text = page.locator("body").inner_text()
    for words in ("gate", "temperature", "Pre-trained", "validation", "most frequent class"):
        assert words not in text
    page.close()
    assert not (tmp_path / "out" / "model-card.md").exists()


def test_every_section_is_there_and_linked(browser: Browser, written: Path) -> None:
    page = browser.new_page()
    page.goto((written / "report.html").as_uri())
    for name in SECTIONS:
        assert page.locator(f"#{name}").count() == 1
        assert page.locator(f"nav a[href='#{name}']").count() == 1
    assert dangling_links(page) == []
    page.close()


def test_the_page_tells_the_numbers_in_words(page_text: str) -> None:
    for sentence in (
        "add 1.2 points to what the last one knows of these classes, so the images are like",
        "Twice the images would bring about 2.1 points.",
        "The choice is weak: ",
        "part from 14 px was kept. It has the best score",
        "EfficientNetLite0, of 4 candidates. EfficientNetLite0 reaches 0.909",
        "The accuracy on the test images is 75 %. Without the suspects among them it is 88 %.",
        "Promoted. Accuracy 0.8333 against the champion's 0.8000 on the same 30 images",
    ):
        assert sentence in page_text


@pytest.mark.parametrize("width", [1280, 390])
def test_no_text_of_a_chart_is_clipped_or_covers_another(
    browser: Browser, written: Path, width: int
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto((written / "report.html").as_uri())
    assert page.locator(".chart > svg").count() == 12
    assert overlapping_texts(page) == []
    assert clipped_texts(page) == []
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(wide) <= 0
    page.close()


def test_paths_stay_on_this_machine_and_bytes_do_not_depend_on_them(
    report: Report, written: Path, tmp_path: Path
) -> None:
    again = explained(judged(splits_of(tmp_path)))
    assert again.mistakes[0].path != report.mistakes[0].path
    write(again, context_of(again), tmp_path / "again")
    for name in NAMES:
        assert (tmp_path / "again" / name).read_bytes() == (written / name).read_bytes()
    content = json.loads((written / "report.json").read_text(encoding="utf-8"))
    assert set(content["suspects"]["rows"][0]) == {
        "image", "label", "likelier", "probability", "part",
    }  # fmt: skip


def test_names_of_measured_things_are_inert(report: Report, tmp_path: Path) -> None:
    hostile = replace(
        context_of(report),
        candidates=tuple({**row, "name": SCRIPT, "reason": SCRIPT} for row in CANDIDATES),
        refinements=({**REFINEMENTS[0], "name": SCRIPT, "detail": SCRIPT},),
        promotion={**PROMOTION, "reason": SCRIPT},
    )
    write(report, hostile, tmp_path)
    for name in ("report.html", "model-card.md"):
        assert "<script" not in (tmp_path / name).read_text(encoding="utf-8")


def test_a_training_of_which_nothing_was_kept_is_told_beside_the_plan(
    report: Report, tmp_path: Path
) -> None:
    said = "its changes are not in the model"
    for undone in (False, True):
        context = replace(context_of(report), refinements=({**REFINEMENTS[0], "undone": undone},))
        write(report, context, tmp_path)
        for name in ("report.html", "model-card.md"):
            assert (said in (tmp_path / name).read_text(encoding="utf-8")) == undone


# The square.


@pytest.mark.parametrize(
    ("added", "doubling", "kind", "amount"),
    [
        (0.0, 0.0, "like", "much"),
        (-0.01, 0.5, "like", "little"),
        (0.021, 0.019, "unlike", "much"),
        (0.4, 0.3, "unlike", "little"),
        (0.019, 0.021, "like", "little"),
    ],
)
def test_the_dot_is_in_its_quadrant_and_covers_no_text(
    added: float, doubling: float, kind: str, amount: str
) -> None:
    measurement = {
        "earlier_stages_add": added,
        "doubling": doubling,
        "kind": kind,
        "amount": amount,
    }
    square = draw_square(measurement)
    (here,) = [quadrant for quadrant in square.quadrants if quadrant.is_here]
    assert here.lines[0] == f"{kind}, {amount}"
    assert here.x <= square.dot.x <= here.x + here.width
    assert here.y <= square.dot.y <= here.y + here.height
    lines_y = [here.text_y + 14 * index for index in range(len(here.lines))]
    text_top, text_bottom = lines_y[0] - 10, lines_y[-1] + 3
    top, bottom = square.dot.y - square.dot.radius, square.dot.y + square.dot.radius
    assert bottom <= text_top or top >= text_bottom


def test_each_quadrant_has_the_advice_of_the_lecture() -> None:
    advice = {}
    for quadrant in draw_square(MEASUREMENT).quadrants:
        advice[quadrant.lines[0]] = quadrant.lines[1]
    assert advice == {
        "like, little": "retrain none",
        "like, much": "retrain a part",
        "unlike, little": "retrain a part",
        "unlike, much": "retrain all",
    }


def test_earlier_stages_that_add_nothing_are_said_to() -> None:
    sentence = describe_kind({"earlier_stages_add": -0.02, "kind": "like"})
    assert "add nothing to what" in sentence


# Charts.


def test_the_learning_curve_ends_where_twice_the_images_would_bring_it() -> None:
    chart = plot_learning_curve(MEASUREMENT)
    assert chart is not None
    draws, mean, predicted = chart.series
    assert len(draws.dots) == 21
    assert len(mean.dots) == 5
    (end,) = predicted.dots
    assert (end.x, end.y) == chart.locate(308, 0.909 + 0.021)
    assert predicted.line.split()[0] == mean.line.split()[-1]
    ticks = chart.x_ticks
    assert [tick.text for tick in ticks] == ["15", "31", "62", "154", "308"]


def test_a_curve_of_one_point_is_not_drawn() -> None:
    assert plot_learning_curve({**MEASUREMENT, "curve": MEASUREMENT["curve"][:1]}) is None
    assert plot_profile({**MEASUREMENT, "profile": []}) is None


def test_the_profile_puts_all_stages_in_the_accent_colour() -> None:
    chart = plot_profile(MEASUREMENT)
    assert chart is not None
    rows = chart.rows
    assert [row.style for row in rows] == ["second"] * 5 + ["main"]
    for row in rows:
        assert LEFT <= row.left < row.x < row.right <= RIGHT
    # A better stage is further to the right.
    places = [row.x for row in rows]
    assert places == sorted(places)


def test_a_candidate_that_was_never_judged_has_no_dot() -> None:
    unjudged = {**CANDIDATES[0], "name": "scratch", "score": None, "low": None, "high": None}
    chart = plot_candidates((*CANDIDATES, unjudged))
    assert chart is not None
    assert [row.full_name for row in chart.rows] == [row["name"] for row in CANDIDATES]
    assert [row.style for row in chart.rows].index("main") == 2
    assert plot_candidates((unjudged,)) is None


@pytest.mark.parametrize(("low", "high", "sides"), [(-0.06, 0.12, {-1, 1}), (0.01, 0.12, {1})])
def test_the_interval_of_the_difference_covers_0_only_if_it_may_be_chance(
    low: float, high: float, sides: set[int]
) -> None:
    comparison = {**PROMOTION["comparison"], "low": low, "high": high}
    chart = plot_difference({**PROMOTION, "comparison": comparison})
    assert chart is not None
    (row,) = chart.rows
    zero = chart.locate(0)
    assert zero == (LEFT + RIGHT) / 2
    assert {int(np.sign(row.left - zero)), int(np.sign(row.right - zero))} == sides
    assert row.text == "+3.3"


@pytest.mark.parametrize(
    "comparison",
    [None, {**PROMOTION["comparison"], "challenger": None, "champion": None, "low": None}],
)
def test_without_a_comparison_the_reason_is_there_alone(
    comparison: dict[str, Any] | None, report: Report, tmp_path: Path
) -> None:
    reason = "It passes the gate, and there is no champion yet."
    promotion = {**PROMOTION, "by": "gate", "reason": reason, "comparison": comparison}
    write(report, replace(CONTEXT, promotion=promotion), tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"Promoted. {reason}" in page
    assert "Difference to the champion" not in page


@pytest.mark.parametrize(
    ("scores", "low", "high"),
    [([0.612, 0.93], 0.6, 1.0), ([0.9, 0.9], 0.8, 1.0), ([1.0], 0.9, 1.0), ([], 0.0, 1.0)],
)
def test_an_axis_of_scores_is_never_so_narrow_that_chance_looks_large(
    scores: list[float], low: float, high: float
) -> None:
    axis = make_score_axis("", scores)
    assert (axis.low, axis.high) == (low, high)


# Penalties and epochs.


def penalty_row(penalty: float, score: float, loss: float) -> dict[str, Any]:
    return {
        "stage": "probe",
        "epoch": None,
        "penalty": penalty,
        "val_loss": loss,
        "val_accuracy": score,
    }


def epoch_row(epoch: int, score: float, loss: float) -> dict[str, Any]:
    return {"stage": "tune", "epoch": epoch, "val_loss": loss, "val_accuracy": score}


HISTORY = (
    penalty_row(10.0, 0.7, 0.9),
    penalty_row(1.0, 0.9, 0.4),
    penalty_row(0.1, 0.9, 0.4),
    penalty_row(0.01, 0.9, 0.5),
    epoch_row(1, 0.8, 0.6),
    epoch_row(2, 0.95, 0.5),
    epoch_row(3, 0.95, 0.3),
)


def test_penalties_are_not_among_the_epochs() -> None:
    for chart in plot_history(HISTORY, "accuracy"):
        assert (chart.x.label, chart.x.high) == ("epoch", 3)
        assert [mark.text for mark in chart.marks] == ["tune"]
    assert plot_history(HISTORY[:4], "accuracy") == ()


def test_the_kept_penalty_is_marked_on_a_logarithmic_axis() -> None:
    loss, score = plot_penalties(HISTORY, "accuracy")
    # Among equals the first one was kept: it has the stronger penalty.
    for chart, value in ((loss, 0.4), (score, 0.9)):
        kept = chart.series[-1]
        assert kept.label == "kept: penalty 1"
        (dot,) = kept.dots
        assert (dot.x, dot.y) == chart.locate(1.0, value)
        places = [tick.at for tick in chart.x_ticks]
        assert np.diff(places) == pytest.approx(np.diff(places)[0], abs=0.11)
    assert [tick.text for tick in score.x_ticks] == ["0.01", "0.1", "1", "10"]
    assert plot_penalties(HISTORY[4:], "accuracy") == ()


def test_the_best_epoch_of_a_stage_is_marked() -> None:
    loss, score = plot_history(HISTORY, "accuracy")
    for chart, value in ((loss, 0.3), (score, 0.95)):
        (dot,) = chart.series[-1].dots
        assert (dot.x, dot.y) == chart.locate(3, value)


def test_a_row_that_says_that_it_was_kept_is_believed() -> None:
    rows = [{**row, "kept": row["penalty"] == 0.01} for row in HISTORY[:4]]
    assert find_best_row(rows, "accuracy") == 3
    assert find_best_row(HISTORY[:4], "accuracy") == 1
    assert find_best_row(HISTORY[:4], "macro_f1") is None


# Words.


@pytest.mark.parametrize(
    ("judged", "sentence"),
    [
        (200, ""),
        (199, "The choice is weak: 199 validation images judged it, fewer than 200."),
    ],
)
def test_a_choice_by_few_images_is_called_weak(judged: int, sentence: str) -> None:
    images = [{"name": "a", "val": 100}, {"name": "b", "val": judged - 100}]
    assert describe_evidence(images) == sentence


@pytest.mark.parametrize(
    ("share", "points", "gain"),
    [(0.021, "2.1", "+2.1"), (-0.0004, "0.0", "0.0"), (-0.034, f"{MINUS}3.4", f"{MINUS}3.4")],
)
def test_differences_are_points(share: float, points: str, gain: str) -> None:
    assert format_points(share) == f"{points}\N{NO-BREAK SPACE}points"
    assert format_gain(share) == gain


# Where the model looked.


def test_the_map_of_a_mistake_adds_up_to_the_difference_of_its_logits() -> None:
    generator = np.random.default_rng(3)
    feature_maps = generator.normal(size=(6, 7, 5, 16)).astype(np.float32)
    kernel = generator.normal(size=(16, 4)).astype(np.float32)
    bias = generator.normal(size=4).astype(np.float32)
    true, predicted = np.array([0, 1, 2, 3, 0, 1]), np.array([1, 2, 3, 0, 2, 3])
    maps = compute_class_maps(feature_maps, kernel, predicted, true)
    assert maps.shape == (6, 7, 5)
    logits = feature_maps.mean(axis=(1, 2)) @ kernel + bias
    rows = np.arange(6)
    margins = logits[rows, predicted] - logits[rows, true]
    found = maps.mean(axis=(1, 2)) + bias[predicted] - bias[true]
    np.testing.assert_allclose(found, margins, atol=1e-5)


def test_what_changes_no_probability_changes_no_map() -> None:
    generator = np.random.default_rng(4)
    feature_maps = generator.normal(size=(2, 7, 7, 8)).astype(np.float32)
    kernel = generator.normal(size=(8, 3)).astype(np.float32)
    shift = generator.normal(size=(8, 1)).astype(np.float32)
    columns = (np.array([0, 1]), np.array([2, 0]))
    maps = compute_class_maps(feature_maps, kernel, *columns)
    shifted = compute_class_maps(feature_maps, kernel + shift, *columns)
    np.testing.assert_allclose(shifted, maps, atol=1e-4)


def opacities(uri: str | None) -> np.ndarray:
    assert uri is not None
    head, body = uri.split(",")
    assert head == "data:image/png;base64"
    layer = Image.open(io.BytesIO(base64.b64decode(body))).convert("RGBA")
    assert layer.size == (MAP_SIDE, MAP_SIDE)
    return np.asarray(layer)[..., 3]


def test_evidence_is_opaque_where_it_is_strong_and_clear_where_it_speaks_against() -> None:
    evidence = np.full((7, 7), -2.0, np.float32)
    evidence[0, 6] = 3.0
    opacity = opacities(draw_evidence(evidence))
    row, column = np.unravel_index(opacity.argmax(), opacity.shape)
    assert row < MAP_SIDE / 7
    assert column > MAP_SIDE * 6 / 7
    assert opacity.max() > 180
    assert opacity[MAP_SIDE // 2 :].max() == 0
    assert draw_evidence(np.full((7, 7), -1.0, np.float32)) is None


def test_the_maps_are_small_and_shown_on_demand(browser: Browser, written: Path) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 900})
    page.goto((written / "report.html").as_uri())
    layers = page.locator("#mistakes img.evidence")
    assert layers.count() == page.locator("#mistakes li").count() > 0
    assert layers.first.is_hidden()
    page.locator("label[for=evidence]").click()
    layer, frame = (
        page.locator(selector).first.bounding_box()
        for selector in ("#mistakes img.evidence", "#mistakes .frame")
    )
    assert layer == frame
    sizes = page.evaluate("[...document.querySelectorAll('.evidence')].map(i => i.src.length)")
    assert max(sizes) < 4_000
    page.close()


def test_without_maps_nothing_offers_them(browser: Browser, tmp_path: Path) -> None:
    write(judged(splits_of(tmp_path, CLASSES)), CONTEXT, tmp_path / "out")
    page = browser.new_page()
    page.goto((tmp_path / "out" / "report.html").as_uri())
    assert page.locator("#evidence").count() == 0
    page.close()


def test_the_backbones_go_from_small_to_large_and_the_front_leaves_out_the_worse() -> None:
    chart = plot_backbones(BACKBONES)
    assert chart is not None
    by_label = {series.label: series for series in chart.series}
    (chosen,) = by_label["chosen"].dots
    assert chosen.label is not None
    assert chosen.label.text == "EfficientNetLite0"
    others = by_label["other candidates"].dots
    # One that was over the limit has no score and no dot.
    assert [dot.label.text for dot in others if dot.label] == [
        "EfficientNetLite1",
        "EfficientNetLite2",
    ]
    assert chosen.x < others[0].x < others[1].x
    front = by_label["best for its size"].line.split()
    assert front == [f"{chosen.x},{chosen.y}", f"{others[1].x},{others[1].y}"]


def test_one_backbone_alone_has_no_chart() -> None:
    assert plot_backbones(BACKBONES[:1]) is None
