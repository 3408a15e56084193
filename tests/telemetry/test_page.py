"""The live page in a real browser, while a run goes on behind it."""

import logging
import os
import shutil
from collections.abc import Iterator
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, Request, expect, sync_playwright
from prometheus_client import CollectorRegistry

from job.errors import DatasetError
from job.result import Result, failed
from job.telemetry import RunTelemetry
from job.telemetry.events import (
    CheckpointSaved,
    EpochEnded,
    FactsFound,
    HeadSolved,
    Progressed,
    RunEnded,
    StageBegan,
    StepTaken,
    WorkForecast,
)
from job.telemetry.run_state import RunState
from job.telemetry.server import Server

PHASES = ("survey", "dataset", "training", "release")
HOSTILE = "<img src=x onerror=document.title='owned'>"


class Visit:
    """An open page, and everything suspicious that it did."""

    def __init__(self, page: Page, telemetry: RunTelemetry) -> None:
        assert telemetry.server is not None
        self.page, self.telemetry = page, telemetry
        self.address = f"http://127.0.0.1:{telemetry.server.port}/"
        self.complaints: list[str] = []
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._strangers)
        page.goto(self.address)

    def _strangers(self, request: Request) -> None:
        if not request.url.startswith((self.address, "data:")):
            self.complaints.append(f"asked for {request.url}")

    def overflow(self) -> int:
        return self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    system = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    with sync_playwright() as playwright:
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        yield playwright.chromium.launch(executable_path=system, args=sandbox)


@pytest.fixture
def telemetry() -> Iterator[RunTelemetry]:
    state = RunState("flowers", PHASES)
    logger = logging.getLogger("job")
    level = logger.level
    logger.setLevel(logging.INFO)
    with RunTelemetry(state, Server(state, CollectorRegistry(), "127.0.0.1", 0)) as telemetry:
        yield telemetry
    logger.setLevel(level)


@pytest.fixture
def visit(browser: Browser, telemetry: RunTelemetry) -> Iterator[Visit]:
    page = browser.new_page(viewport={"width": 390, "height": 800})
    yield Visit(page, telemetry)
    page.close()


def test_the_page_follows_the_run(visit: Visit) -> None:
    page, telemetry = visit.page, visit.telemetry
    expect(page.locator("h1")).to_have_text("flowers")
    expect(page.locator("#headline")).to_have_text("Starting …")
    with telemetry.phase("dataset"):
        telemetry.emit(Progressed(0, 200, "images"))
        telemetry.emit(Progressed(50, 200, "images"))
        expect(page.locator("#headline")).to_have_text("dataset")
        expect(page.locator("#phases [aria-current=step]")).to_contain_text("dataset")
        expect(page.locator("#progress")).to_contain_text("50 of 200 images")
        expect(page.locator("#progress .track")).to_have_attribute("aria-valuenow", "25")
        expect(page).to_have_title("25 % dataset · flowers")
        telemetry.emit(Progressed(100, 200, "images"))
        expect(page.locator("#progress")).to_contain_text("50 %, less than a minute left")
    with telemetry.phase("training"):
        telemetry.emit(
            FactsFound(
                {
                    "backbone": "EfficientNetB0",
                    "classes": ["cat", "dog"],
                    "images": {"train": 2_000},
                }
            )
        )
        for epoch in (1, 2):
            telemetry.emit(
                EpochEnded("probe", epoch, 2, {"loss": 1 / epoch, "val_accuracy": 0.5 + epoch / 10})
            )
        telemetry.emit(WorkForecast({"release": 600.0}))
        telemetry.emit(StageBegan("part", 5, 0, "val_accuracy"))
        telemetry.emit(StepTaken(0.5, 0.3, images=32))
        telemetry.emit(Progressed(4, 20, "batches"))
        telemetry.emit(
            EpochEnded(
                "part",
                1,
                5,
                {"loss": 0.3, "val_accuracy": 0.9, "val_loss": 0.4, "learning_rate": 1e-3},
            )
        )
        logging.getLogger("job.audit").warning("one image is broken")
        telemetry.emit(CheckpointSaved())
        expect(page.locator("#headline")).to_have_text("training, epoch 2 of at most 5")
        expect(page.locator("#progress")).to_contain_text(
            "part, 4 of 20 batches, val accuracy 0.9 is the best so far, 64 images/s"
        )
        # The time is that of the run, with the phases to come.
        expect(page.locator("#progress")).to_contain_text("20 %, about 10 min left")
        expect(page.locator("#curves svg")).to_have_count(2)
        expect(page.locator("#curves svg").first).to_have_attribute(
            "aria-label", "Score after 3 epochs: val accuracy 0.9"
        )
        expect(page.locator("#curves")).to_contain_text("train loss 0.3")
        expect(page.locator("#about")).to_contain_text("train 2,000")
        expect(page.locator("#about")).to_contain_text("cat, dog")
        expect(page.locator("#log .warning")).to_contain_text("warning: one image is broken")
        expect(page.locator("#phases .done")).to_have_count(1)
        assert visit.overflow() <= 0
    assert visit.complaints == []


def test_a_solved_head_is_told_without_epochs(visit: Visit) -> None:
    page, telemetry = visit.page, visit.telemetry
    with telemetry.phase("training"):
        telemetry.emit(HeadSolved("probe", 0.01, {"val_loss": 0.5, "val_accuracy": 0.9}))
        expect(page.locator("#about")).to_contain_text(
            "penalty 0.01, val loss 0.5, val accuracy 0.9"
        )
        expect(page.locator("#headline")).to_have_text("training")
        expect(page.locator("#progress")).to_be_hidden()
        expect(page.locator("#curves")).to_be_hidden()
        assert visit.overflow() <= 0
    assert visit.complaints == []


def test_the_axis_of_a_score_ends_at_1(visit: Visit) -> None:
    page, telemetry = visit.page, visit.telemetry
    with telemetry.phase("training"):
        for epoch in (1, 2):
            telemetry.emit(EpochEnded("part", epoch, 5, {"val_accuracy": 1.0}))
        expect(page.locator("#curves svg")).to_have_count(1)
        labels = page.locator("#curves svg text[text-anchor=end]").all_text_contents()
    assert max(float(label) for label in labels if not label.startswith("epoch")) == 1


def test_each_candidate_of_a_race_has_a_line_of_its_own(visit: Visit) -> None:
    """One line through all of them looked like a training that gets worse again and again."""
    page, telemetry = visit.page, visit.telemetry
    with telemetry.phase("training"):
        for stage, epochs in (("part, 2 stages", (1, 2)), ("all", (1, 2)), ("all", (3,))):
            for epoch in epochs:
                telemetry.emit(EpochEnded(stage, epoch, 5, {"val_accuracy": 0.8 + epoch / 100}))
        score = page.locator("#curves svg")
        expect(score.locator("polyline")).to_have_count(2)
        expect(score.locator("line.stage")).to_have_count(1)
        expect(score).to_contain_text("part, 2 stages")
        expect(score).to_contain_text("all")
        assert visit.overflow() <= 0
    assert visit.complaints == []


def test_the_page_tells_the_outcome_and_that_the_run_is_over(visit: Visit) -> None:
    page, telemetry = visit.page, visit.telemetry
    with telemetry.phase("release"):
        pass
    telemetry.emit(
        RunEnded(
            Result(
                status="released",
                run_id="ab",
                release="s3://models/flowers/releases/ab",
                promoted=True,
                scores={
                    "macro_f1": 0.91,
                    "accuracy": 0.9118,
                    "accuracy_low": 0.7604,
                    "accuracy_high": 1.0,
                    "high": 0.5,
                },
                reason="It passes the gate.",
            ).as_dict()
        )
    )
    telemetry.close()  # waits for the open page
    expect(page.locator("#headline")).to_have_text("Released")
    expect(page.locator("#outcome")).to_contain_text(
        "macro f1 0.91 · accuracy 0.912 (95 %: 0.76 to 1.00) · high 0.5"
    )
    expect(page.locator("#outcome")).to_contain_text("Promoted: It passes the gate.")
    expect(page.locator("#outcome")).to_contain_text("s3://models/flowers/releases/ab")
    expect(page.locator("#lost")).to_contain_text("The run has ended; this is its last news.")
    expect(page.locator("#phases li").first).not_to_contain_text("to come")


def test_a_failure_is_shown_with_its_cure(visit: Visit) -> None:
    error = DatasetError("Received one class.", "Add images of another.", ("only 'cat'",))
    visit.telemetry.emit(RunEnded(failed(error).as_dict()))
    expect(visit.page.locator("#headline")).to_have_text("Failed")
    expect(visit.page.locator("#outcome.alarm")).to_contain_text(
        "Received one class.\n  - only 'cat'"
    )
    expect(visit.page.locator("#outcome strong")).to_have_text("Add images of another.")


def test_a_lost_connection_is_said(visit: Visit) -> None:
    expect(visit.page.locator("#headline")).to_have_text("Starting …")
    visit.telemetry.close()
    expect(visit.page.locator("#lost")).to_contain_text(
        "The run has ended or the connection is lost."
    )


def test_text_from_the_data_is_text_on_the_page(visit: Visit) -> None:
    page, telemetry = visit.page, visit.telemetry
    with telemetry.phase(HOSTILE):
        telemetry.emit(FactsFound({HOSTILE: [HOSTILE] * 20, "long": "x" * 300}))
        telemetry.emit(EpochEnded(HOSTILE, 1, 2, {HOSTILE: 0.5}))
        logging.getLogger("job").info(HOSTILE)
        expect(page.locator("#log")).to_contain_text(HOSTILE)
        expect(page.locator("#about")).to_contain_text("and 8 more")
        expect(page.locator("#curves")).to_contain_text(HOSTILE.replace("_", " "))
        assert page.locator("img").count() == 0
        assert visit.overflow() <= 0
    assert visit.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_legible_in_both_schemes(
    browser: Browser, telemetry: RunTelemetry, scheme: Literal["light", "dark"]
) -> None:
    page = browser.new_page(color_scheme=scheme)
    visit = Visit(page, telemetry)
    expect(page.locator("#headline")).to_have_text("Starting …")
    contrast = page.evaluate(CONTRAST)
    page.close()
    assert min(contrast.values()) >= 4.5, contrast
    assert visit.complaints == []


CONTRAST = """() => {
  const style = getComputedStyle(document.documentElement), rgb = (name) =>
    style.getPropertyValue(name).trim().match(/[0-9a-f]{2}/g)
      .map((pair) => parseInt(pair, 16) / 255);
  const light = (name) => rgb(name)
    .map((c) => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
  const ratio = (a, b) => {
    const [x, y] = [light(a), light(b)].sort((p, q) => q - p);
    return (x + .05) / (y + .05);
  };
  const pairs = [
    ["--ink", "--paper"], ["--quiet", "--paper"], ["--accent", "--paper"], ["--alarm", "--paper"],
    ["--ink", "--card"], ["--alarm", "--alarm-card"],
  ];
  return Object.fromEntries(pairs.map(([a, b]) => [a + " on " + b, ratio(a, b)]));
}"""
