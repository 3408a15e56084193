"""The table of `make bench`: how rows are measured, judged, merged and written."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tools.bench import bench
from tools.bench.measuring import Better, Measure, Sample, Sides, Workplace, time_work
from tools.bench.rendering import render
from tools.bench.results import bootstrap_median, judge, make_row, merge_rows
from tools.bench.rows import MEASURES

MACHINE = {"cores": 2, "cpu": "", "flags": ["avx"], "memory_gib": 24, "versions": {"keras": "3"}}


def _make_measure(
    name: str = "row",
    better: Better = "higher",
    floor: float | None = 1.0,
    goal: float | None = 2.0,
    prepare: Callable[[Any], Sides] = lambda _: Sides(lambda: Sample(1, 1), lambda: Sample(2, 1)),
) -> Measure:
    return Measure(
        name=name,
        ours="ours",
        rival="a rival",
        better=better,
        prepare=prepare,
        turns=(3, 4),
        floor=floor,
        goal=goal,
    )


def _make_row(measure: Measure, ours: float, rival: float, load: float = 0.0) -> dict[str, Any]:
    turns = [(Sample(ours, ours), Sample(rival, rival))] * 3
    return make_row(measure, turns, {"accuracy": 0.9}, "quick", load)


def test_the_page_of_results_is_what_its_json_gives() -> None:
    page = bench.RESULTS.with_suffix(".md").read_text()
    assert page == render(json.loads(bench.RESULTS.read_text()))


def test_every_row_of_the_page_can_be_measured_again() -> None:
    names = {measure.name for measure in MEASURES}
    rows = json.loads(bench.RESULTS.read_text())["rows"]
    assert {row["name"] for row in rows} <= names
    assert len(names) == len(MEASURES)


def test_the_sides_of_a_row_take_turns_and_change_who_begins(tmp_path: Path) -> None:
    seen: list[str] = []

    def prepare(_: Any) -> Sides:
        def work(side: str) -> Callable[[], Sample]:
            return lambda: time_work(lambda: seen.append(side))

        return Sides(work("ours"), work("rival"), {"pictures": 4})

    with contextlib.ExitStack() as stack:
        place = Workplace(tmp_path, quick=True, stack=stack)
        row = bench.measure_row(_make_measure(prepare=prepare), place)
    assert seen == ["ours", "rival", "rival", "ours", "ours", "rival"]
    assert (row["turns"], row["profile"], row["notes"]) == (3, "quick", {"pictures": 4})


def test_a_row_is_written_at_once_and_one_that_fails_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "results.json"

    def look_and_fail(_: Any) -> Sides:
        assert [row["name"] for row in json.loads(out.read_text())["rows"]] == ["a"]
        raise SystemExit("There is no rival here.")

    measures = (_make_measure("a"), _make_measure("b", prepare=look_and_fail), _make_measure("c"))
    monkeypatch.setattr(bench, "MEASURES", measures)
    with pytest.raises(SystemExit, match=r": b\.$"):
        bench.main(["--quick", "--rows", "a,b,c", "--out", str(out)])
    found = json.loads(out.read_text())
    assert [row["name"] for row in found["rows"]] == ["a", "c"]
    assert out.with_suffix(".md").read_text() == render(found)


@pytest.mark.parametrize(
    ("better", "ratio", "met"), [("higher", 2.5, "goal"), ("lower", 0.4, "goal")]
)
def test_a_ratio_goes_the_way_that_its_row_says(better: Better, ratio: float, met: str) -> None:
    row = _make_row(_make_measure(better=better), 1.0, 2.5)
    assert (row["ratio"], row["low"], row["high"], row["met"]) == (ratio, ratio, ratio, met)


@pytest.mark.parametrize(
    ("better", "floor", "goal", "ratio", "met"),
    [
        ("higher", 1.0, 2.0, 2.5, "goal"),
        ("higher", 1.0, 2.0, 1.5, "floor"),
        ("higher", 1.0, 2.0, 0.9, "missed"),
        ("lower", 1.3, 1.15, 1.1, "goal"),
        ("lower", 1.3, 1.15, 1.2, "floor"),
        ("lower", 1.3, 1.15, 1.4, "missed"),
        ("equal", 0.03, None, 1.02, "floor"),
        ("equal", 0.03, None, 0.95, "missed"),
        ("lower", None, None, 9.0, ""),
    ],
)
def test_a_bound_is_met_from_its_own_side(
    better: Better, floor: float | None, goal: float | None, ratio: float, met: str
) -> None:
    assert judge(_make_measure(better=better, floor=floor, goal=goal), ratio) == met


def test_the_interval_of_a_median_holds_it_and_narrows_with_more_turns() -> None:
    ratios = [0.8, 1.2, 0.9, 1.1, 1.0]
    low, high = bootstrap_median(ratios)
    assert 0.8 <= low < 1.0 < high <= 1.2
    narrow_low, narrow_high = bootstrap_median(ratios * 20)
    assert narrow_high - narrow_low < high - low


def test_a_row_that_is_measured_again_takes_the_place_of_the_old_one() -> None:
    old = [_make_row(_make_measure(name), 1, 2) for name in ("a", "b")]
    new = _make_row(_make_measure("a"), 1, 4)
    merged = merge_rows({"machine": MACHINE, "rows": old}, MACHINE, [new])
    assert [(row["name"], row["ratio"]) for row in merged["rows"]] == [("a", 4.0), ("b", 2.0)]


def test_rows_of_two_machines_never_meet_in_one_table() -> None:
    found = {"machine": MACHINE, "rows": []}
    with pytest.raises(SystemExit, match="another machine"):
        merge_rows(found, {**MACHINE, "cores": 16}, [])


def test_the_page_says_when_its_figures_are_weak() -> None:
    same = _make_row(_make_measure("same", "equal", 0.03, None), 1.0, 1.0)
    quiet = {"machine": MACHINE, "rows": [same]}
    assert "load" not in render(quiet).split("| measure")[0].split("Machine:")[1]
    assert "reads" not in render(quiet)
    busy = _make_row(_make_measure("same", "equal", 0.03, None), 1.1, 1.0, load=8.0)
    page = render({"machine": MACHINE, "rows": [busy]})
    assert "**Measured under load**" in page
    assert "reads 1.10**" in page


def test_a_row_without_a_name_that_is_known_is_refused() -> None:
    with pytest.raises(SystemExit, match="'speed'"):
        bench.main(["--rows", "speed"])


def test_the_page_can_be_written_again_without_measuring(tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    row = _make_row(_make_measure(), 1.0, 2.5)
    out.write_text(json.dumps({"machine": MACHINE, "rows": [row]}))
    bench.main(["--render", "--out", str(out)])
    page = out.with_suffix(".md").read_text()
    expected = (
        "| ours (`row`) | a rival | 1 | 2.5 | **2.5** rival ÷ ours | 2.5 to 2.5 | 2.5 | 1 | 2 |"
        " goal |"
    )
    assert expected in page
    assert "accuracy 0.9" in page
