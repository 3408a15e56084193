"""Accuracy over time: curves of steps, what they are read from, and what the page shows of them."""

import argparse
import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from tools.bench import anytime, bench
from tools.bench.curve_rendering import CHART, render_chart, render_section
from tools.bench.curves import (
    ANYTIME,
    Curve,
    average_accuracy,
    find_end,
    find_seconds,
    make_curve,
    trace_steps,
)
from tools.bench.rendering import render
from tools.bench.results import merge_rows
from tools.bench.yolo import read_epochs

# As version 8.4.190 of Ultralytics has written it.
TABLE = """\
epoch,time,train/loss,metrics/accuracy_top1,metrics/accuracy_top5,val/loss,lr/pg0,lr/pg1,lr/pg2
1,9.07177,1.61368,0.2,1,1.61197,0.000336667,0.000336667,0.000336667
2,16.5976,1.66929,0.225,1,1.60761,0.000567014,0.000567014,0.000567014
3,23.8117,1.64711,0.175,1,1.62798,0.000650709,0.000650709,0.000650709
"""
OURS = {"name": "`graft run`", "description": "Ours.", "ours": True, "points": [[20.0, 0.7]]}
RIVAL = {
    "name": "a rival",
    "description": "From random weights.",
    "ours": False,
    "points": [[10.0, 0.2], [30.0, 0.8], [50.0, 0.6]],
}
SLOW = {"name": "a slow one", "description": "Slow.", "ours": False, "points": [[40.0, 0.5]]}
FOUND = {
    "profile": "quick",
    "measured": "2026-11-29",
    "load": 0.1,
    "training_images": 175,
    "test_images": 40,
    "curves": [OURS, RIVAL, SLOW],
    "unmeasured": {"Ultralytics": "No environment was named."},
}
MACHINE = {"cores": 2, "cpu": "", "flags": ["avx"], "memory_gib": 24, "versions": {"keras": "3"}}


def test_the_chart_beside_the_page_is_what_its_json_gives() -> None:
    results = json.loads(bench.RESULTS.read_text())
    chart = bench.RESULTS.with_name(CHART)
    assert chart.exists() == (ANYTIME in results)
    if chart.exists():
        assert chart.read_text() == render_chart(results[ANYTIME])


def test_the_mean_counts_0_before_the_first_model_and_the_newest_one_afterwards() -> None:
    ours, rival = make_curve(OURS), make_curve(RIVAL)
    assert find_end([ours, rival]) == 50
    assert average_accuracy(ours, 50) == pytest.approx(0.7 * 30 / 50)
    assert average_accuracy(rival, 50) == pytest.approx((0.2 * 20 + 0.8 * 20) / 50)
    assert average_accuracy(rival, 100) == pytest.approx((0.2 * 20 + 0.8 * 20 + 0.6 * 50) / 100)


def test_an_accuracy_is_reached_by_the_first_model_that_has_it() -> None:
    rival = make_curve(RIVAL)
    assert [find_seconds(rival, accuracy) for accuracy in (0.1, 0.6, 0.8)] == [10, 30, 30]
    assert find_seconds(rival, 0.81) is None


def test_a_curve_goes_up_in_steps_and_stays_to_the_end() -> None:
    assert trace_steps(make_curve(OURS), 50) == [(20, 0), (20, 0.7), (50, 0.7)]
    corners = trace_steps(make_curve(RIVAL), 60)
    assert corners[:4] == [(10, 0), (10, 0.2), (30, 0.2), (30, 0.8)]
    assert corners[-2:] == [(50, 0.6), (60, 0.6)]


def test_the_epochs_of_ultralytics_are_read_from_its_table() -> None:
    assert read_epochs(TABLE) == [(9.07177, 0.2), (16.5976, 0.225), (23.8117, 0.175)]


def test_a_table_without_accuracies_is_not_read_as_one() -> None:
    with pytest.raises(KeyError, match="accuracy_top1"):
        read_epochs("epoch,time,train/loss\n1,9.1,1.6\n")


def test_the_section_says_who_reaches_our_accuracy_and_when() -> None:
    section = render_section(FOUND)
    assert "| competitor | first model, s | its accuracy | reaches 0.700, s |" in section
    assert "| `graft run` | 20.0 | 0.700 | 20.0 | 20.0 | 0.700 | **0.420** |" in section
    assert "| a rival | 10.0 | 0.200 | 30.0 | 50.0 | 0.600 | **0.400** |" in section
    assert "| a slow one | 40.0 | 0.500 | never in 40 | 40.0 | 0.500 | **0.100** |" in section
    assert "to 50 s, where the longest curve ends" in section
    assert "175 pictures to learn from and 40 to test" in section
    assert "± 15 points" in section
    assert "- a rival: From random weights." in section


def test_the_section_says_what_was_not_measured_and_why() -> None:
    section = render_section(FOUND)
    assert "- Ultralytics was not measured: No environment was named." in section
    assert "- AutoGluon was not measured" in section
    assert "Not measured yet" in render_section(None)


def test_the_chart_has_a_curve_and_a_name_for_each_competitor() -> None:
    root = ElementTree.fromstring(render_chart(FOUND))
    space = {"svg": "http://www.w3.org/2000/svg"}
    curves = root.findall("svg:polyline", space)
    assert len(curves) == 3
    texts = [text.text for text in root.findall("svg:text", space)]
    assert {"graft run", "a rival", "a slow one", "seconds from exec"} <= set(texts)
    # All of them end at the right edge.
    ends = {curve.attrib["points"].split()[-1].split(",")[0] for curve in curves}
    assert ends == {"348.0"}


def test_curves_stay_when_a_row_is_measured_again() -> None:
    found = {"machine": MACHINE, "rows": [], ANYTIME: FOUND}
    assert merge_rows(found, MACHINE, [{"name": "a"}]) == {**found, "rows": [{"name": "a"}]}
    assert ANYTIME not in merge_rows(None, MACHINE, [])


def test_curves_of_another_machine_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    out.write_text(json.dumps({"machine": MACHINE, "rows": [], ANYTIME: FOUND}))
    with pytest.raises(SystemExit, match="another machine"):
        bench.main(["--rows", ANYTIME, "--out", str(out)])


def test_the_page_and_the_chart_are_written_together(tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    results = {"machine": MACHINE, "rows": [], ANYTIME: FOUND}
    out.write_text(json.dumps(results))
    bench.main(["--render", "--out", str(out)])
    page = out.with_suffix(".md").read_text()
    assert page == render(results)
    assert f"]({CHART})" in page
    assert out.with_name(CHART).read_text() == render_chart(FOUND)


def test_the_interpreter_of_an_environment_stays_the_link_that_it_is(tmp_path: Path) -> None:
    link = tmp_path / "python"
    link.symlink_to("/usr/bin/env")
    assert anytime.read_options(_parse_options()) is None
    environment = anytime.read_options(_parse_options("--ultralytics", str(link)))
    assert environment is not None
    assert (environment.python, environment.weights) == (link, None)
    words = ("--ultralytics", str(link), "--ultralytics-weights", str(tmp_path / "nano.pt"))
    environment = anytime.read_options(_parse_options(*words))
    assert environment is not None
    assert environment.weights == tmp_path / "nano.pt"


def test_the_guide_is_judged_after_each_epoch_as_at_its_end() -> None:
    import keras
    import tensorflow as tf

    from tools.bench.guide import Judge

    draw = np.random.default_rng(0)
    values = draw.normal(size=(64, 4)).astype(np.float32)
    labels = (values[:, 0] > 0).astype(np.int32)
    test = tf.data.Dataset.from_tensor_slices((values, labels)).batch(16)
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, activation="softmax")])
    loss = "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.Adam(0.1), loss, metrics=["accuracy"])
    judge = Judge(test)
    fitted = model.fit(
        test, epochs=3, validation_data=test, callbacks=[judge], shuffle=False, verbose=0
    )
    moments = [moment for moment, _ in judge.moments]
    assert moments == sorted(moments)
    accuracies = [accuracy for _, accuracy in judge.moments]
    assert accuracies == pytest.approx(fitted.history["val_accuracy"])
    assert accuracies[-1] > accuracies[0]


def test_a_curve_knows_where_it_begins_and_ends() -> None:
    rival: Curve = make_curve(RIVAL)
    assert (rival.first_seconds, rival.last_seconds, rival.last_accuracy) == (10, 50, 0.6)


def _parse_options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    anytime.add_options(parser)
    return parser.parse_args(words)
