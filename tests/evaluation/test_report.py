"""The report: from drawn pictures to files, and in a browser to the page that a person sees."""

import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from playwright.sync_api import Browser, Page

from job.audit import Example, NearDuplicate, Splits
from job.audit.census import Finding
from job.evaluation import Report, ReportContext, judge, write
from job.evaluation.charts import make_amount_axis
from job.evaluation.page import describe_gate, summarise_result
from job.evaluation.pictures import LARGE, make_thumbnail
from job.evaluation.plots import plot_history
from job.evaluation.wording import format_percent

SCRIPT = "<script>alert(1)</script>"
CLASSES = ("birds", SCRIPT, "flowers & fruit", "trees | *tall*", "vehicles")


def picture(path: Path, seed: int) -> Path:
    generator = np.random.default_rng(seed)
    image = Image.new("RGB", (90, 60 + seed % 50), tuple(generator.integers(90, 255, 3).tolist()))
    x, y, size = generator.integers(5, 40, 3).tolist()
    ImageDraw.Draw(image).ellipse(
        (x, y, x + size, y + size), fill=tuple(generator.integers(0, 255, 3).tolist())
    )
    image.save(path, "PNG")
    return path


def examples(folder: Path, labels: list[int], part: str) -> tuple[Example, ...]:
    return tuple(
        Example(
            path=picture(folder / f"{part}-{index}", index),
            name=f"{part}/{index}.png",
            label=label,
            sha256=f"{part}{index}",
            format="PNG",
        )
        for index, label in enumerate(labels)
    )


def splits_of(folder: Path, classes: tuple[str, ...] = CLASSES, test: int = 46) -> Splits:
    return Splits(
        classes=classes,
        train=examples(folder, [0, 0, *(index % len(classes) for index in range(20))], "train"),
        val=examples(folder, [index % len(classes) for index in range(15)], "val"),
        test=examples(folder, [index % len(classes) for index in range(test)], "test"),
        near_duplicates=(
            NearDuplicate(
                name="test/1.png",
                split="test",
                other="train/1.png",
                other_split="train",
                bits=2,
            ),
        ),
        leaks=(Finding("train/9.png", f"the same content as {SCRIPT}"),),
        given=False,
    )


def logits_of(examples: tuple[Example, ...], width: int, skill: float = 2.2) -> NDArray[np.float32]:
    logits = np.random.default_rng(5).normal(size=(len(examples), width)) * 1.5
    logits[np.arange(len(examples)), [example.label for example in examples]] += skill
    return logits.astype(np.float32)


def judged(splits: Splits, skill: float = 2.2) -> Report:
    width = len(splits.classes)
    return judge(logits_of(splits.test, width, skill), logits_of(splits.val, width), splits)


def history() -> tuple[dict[str, Any], ...]:
    solved = [
        {
            "stage": "probe",
            "epoch": None,
            "penalty": 0.1**step,
            "loss": 2 / step,
            "val_loss": 2.2 / step,
            "val_accuracy": 1 - 0.6 / step,
        }
        for step in range(1, 5)
    ]
    tuned = [
        {
            "stage": "tune",
            "epoch": epoch,
            "loss": np.float32(0.4 / epoch),
            "val_loss": 0.5,
            "val_accuracy": 0.9,
        }
        for epoch in range(1, 6)
    ]
    return (*solved, *tuned)


CONTEXT = ReportContext(
    name=f"flowers {SCRIPT}",
    run_id="a1b2c3d4e5f6",
    backbone="EfficientNetLite0",
    image_size=224,
    plan={
        "mode": "part",
        "reason": "230 training images, 46 in the median class.",
        "rule": "size (BiT)",
        "cut": "block_6_add",
        "stages": ["probe (solved)", "tune"],
        "trainable": 1_234_567,
        "total": 3_418_829,
    },
    gate={"metric": "accuracy", "min_score": 0.6},
    weights={"origin": "TensorFlow Model Maker", "licence": "Apache-2.0", "sha256": "f" * 64},
    source="s3://data/flowers",
    digest="9f" * 32,
    left_out=(("birds/torn.jpg", "truncated after 1,024 bytes"),),
    duplicates=(("birds/copy.jpg", "same content as birds/a.jpg"),),
    warnings=("class 'vehicles' has 9 images",),
    history=history(),
    exports=tuple(
        {
            "format": name,
            "path": path,
            "max_difference": drift,
            "top1_agreement": 1.0,
            "bytes": 14_000_000,
        }
        for name, path, drift in (
            ("saved_model", "saved_model/1", 0.0),
            ("keras", "model.keras", 0.0),
            ("onnx", "model.onnx", 3.4e-6),
            ("litert", "model.tflite", 8e-4),
            ("preprocess", "preprocess.py", 2e-3),
        )
    ),
    judged_before=3,
    settings=MappingProxyType(
        {"seed": 7, "export": {"formats": ("saved_model", "onnx")}, "cache": {"dir": Path("x")}}
    ),
    versions={"keras": "3.15.0"},
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluation")
    write(judged(splits_of(folder)), CONTEXT, folder / "report")
    return folder / "report"


@pytest.fixture(scope="module")
def content(written: Path) -> dict[str, Any]:
    return json.loads((written / "report.json").read_text(encoding="utf-8"))


def test_the_same_input_gives_the_same_bytes_wherever_the_images_are(
    written: Path, tmp_path: Path
) -> None:
    write(judged(splits_of(tmp_path)), CONTEXT, tmp_path / "again")
    for name in ("report.json", "report.html", "model-card.md"):
        assert (tmp_path / "again" / name).read_bytes() == (written / name).read_bytes()


def test_the_json_holds_scores_and_context_without_local_paths(
    content: dict[str, Any], written: Path
) -> None:
    assert content["schema"] == 1
    assert list(content) == sorted(content)
    assert content["test"]["images"] == 46
    assert content["test"]["baseline"] == pytest.approx(10 / 46)
    assert content["images"][0] == {"name": "birds", "train": 6, "val": 3, "test": 10}
    assert content["mistakes"] == sorted(
        content["mistakes"], key=lambda mistake: -mistake["confidence"]
    )
    assert set(content["mistakes"][0]) == {"name", "true", "predicted", "confidence"}
    assert content["settings"]["export"]["formats"] == ["saved_model", "onnx"]
    assert str(written.parent) not in (written / "report.json").read_text(encoding="utf-8")


def test_the_scores_are_plain_numbers_for_gate_and_manifest(tmp_path: Path) -> None:
    report = judged(splits_of(tmp_path))
    assert {
        "accuracy",
        "balanced_accuracy",
        "macro_f1",
        "top_k",
        "log_loss",
        "calibration_error",
    } <= set(report.scores)
    assert json.loads(json.dumps(report.scores)) == report.scores
    assert report.temperature == report.data["calibration"]["temperature"]


def test_the_temperature_changes_the_confidence_and_not_the_answers(tmp_path: Path) -> None:
    splits = splits_of(tmp_path)
    logits, width = logits_of(splits.test, 5), 5
    sure, unsure = (
        judge(logits, factor * logits_of(splits.val, width), splits) for factor in (1, 9)
    )
    assert unsure.temperature == pytest.approx(9 * sure.temperature, rel=1e-3)
    assert sure.scores["accuracy"] == unsure.scores["accuracy"]


def test_what_is_not_finite_becomes_null(tmp_path: Path) -> None:
    context = replace(
        CONTEXT, history=({"stage": "tune", "epoch": 1, "loss": 1.0, "val_loss": float("nan")},)
    )
    write(judged(splits_of(tmp_path)), context, tmp_path / "out")
    content = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert content["history"][0]["val_loss"] is None
    assert "too few steps for a curve" in (tmp_path / "out" / "report.html").read_text(
        encoding="utf-8"
    )


def test_a_file_name_that_is_not_unicode_is_written_too(tmp_path: Path) -> None:
    context = replace(CONTEXT, left_out=(("birds/\udcff.jpg", "broken"),))
    write(judged(splits_of(tmp_path)), context, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "report.json").read_bytes())["left_out"] == [
        ["birds/\udcff.jpg", "broken"]
    ]


def test_the_result_is_one_sentence() -> None:
    content = {
        "images": CLASSES,
        "evaluated": None,
        "test": {"images": 46, "accuracy": 42 / 46, "accuracy_low": 0.797, "accuracy_high": 0.966},
    }
    sentence = summarise_result(content)
    assert sentence.replace("\N{NO-BREAK SPACE}", " ").replace("\N{EN DASH}", "-") == (
        "Graft learnt to tell 5 classes apart: "
        "91 % of 46 held-out images right (95 % interval 80-97 %)."
    )


@pytest.mark.parametrize(
    ("least", "sentence"),
    [
        (0.9, "passes"),
        (0.95, "misses the gate, macro-F1 of at least 95 %, with 92 %. It is kept, not promoted."),
        (0, "no minimum score"),
    ],
)
def test_the_page_says_whether_the_gate_is_passed(least: float, sentence: str) -> None:
    gate = {"metric": "macro_f1", "min_score": least}
    content = {"gate": gate, "evaluated": None, "test": {"macro_f1": 0.92}}
    assert sentence in describe_gate(content).replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.914, "91"),
        (1.0, "100"),
        (0.0, "0"),
        (0.9996, "99.96"),
        (0.004, "0.4"),
        (1 - 1e-12, "100"),
        (0.005, "0.5"),
    ],
)
def test_nearly_all_is_not_all(share: float, text: str) -> None:
    assert format_percent(share) == f"{text}\N{NO-BREAK SPACE}%"


@pytest.mark.parametrize(
    ("most", "step", "high"), [(1.93, 0.5, 2.0), (0.0, 2e-10, 2e-10), (37, 10, 40), (4, 1, 4)]
)
def test_an_axis_ends_at_a_round_number(most: float, step: float, high: float) -> None:
    axis = make_amount_axis("loss", most)
    assert axis.step == pytest.approx(step)
    assert axis.high == pytest.approx(high)


def test_curves_show_each_stage_and_only_what_was_measured() -> None:
    rows: list[dict[str, Any]] = [
        {"stage": "probe", "val_loss": 1.0},
        {"stage": "tune", "val_loss": 0.8},
        {"stage": "tune", "val_loss": None},
    ]
    (loss,) = plot_history(rows, "macro_f1")
    assert [mark.text for mark in loss.marks] == ["probe", "tune"]
    assert [series.label for series in loss.series] == ["validation loss"]
    assert len(loss.series[0].line.split()) == 2


def test_names_are_inert_in_page_and_card(written: Path) -> None:
    page, card = (
        (written / name).read_text(encoding="utf-8") for name in ("report.html", "model-card.md")
    )
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script" not in card
    assert "trees \\| \\*tall\\*" in card


def test_the_card_loads_every_format(written: Path) -> None:
    card = (written / "model-card.md").read_text(encoding="utf-8")
    snippets = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert len(snippets) == 4
    for snippet in snippets:
        compile(snippet, "model-card.md", "exec")
    assert all(
        path in card for path in ("saved_model/1", "model.keras", "model.onnx", "model.tflite")
    )


def decoded(uri: str | None) -> Image.Image:
    assert uri is not None
    head, body = uri.split(",")
    assert head == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(body)))


def test_a_thumbnail_is_upright_by_its_exif(tmp_path: Path) -> None:
    image = Image.new("RGB", (400, 200), "red")
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    small = decoded(make_thumbnail(tmp_path / "turned.jpg"))
    assert small.size == (LARGE.side // 2, LARGE.side)


@pytest.mark.parametrize(
    ("image", "colour"),
    [
        (Image.new("RGBA", (9, 9), (255, 0, 0, 0)), (255, 255, 255)),
        (Image.new("CMYK", (9, 9), (255, 0, 0, 0)), (0, 255, 255)),
        (Image.fromarray(np.full((9, 9), 0x4000, np.uint16)), (64, 64, 64)),
        (Image.new("RGB", (9, 9), "blue").quantize(2), (0, 0, 255)),
    ],
    ids=["transparent", "CMYK", "16-bit", "palette"],
)
def test_a_thumbnail_shows_every_mode(
    image: Image.Image, colour: tuple[int, ...], tmp_path: Path
) -> None:
    image.save(tmp_path / "image", "TIFF" if image.mode == "CMYK" else "PNG")
    pixels = np.asarray(decoded(make_thumbnail(tmp_path / "image")), np.int64)
    assert pixels[4, 4] == pytest.approx(colour, abs=4)


def test_a_mistake_whose_picture_cannot_be_read_keeps_its_place(tmp_path: Path) -> None:
    splits = splits_of(tmp_path)
    report = judged(splits)
    report.mistakes[0].path.write_bytes(b"no image")
    report.mistakes[1].path.unlink()
    write(report, CONTEXT, tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert page.count("no preview") == 2
    gallery = page.split('id="mistakes"')[1].split("</section>")[0]
    assert gallery.count("<img ") == len(report.mistakes) - 2


def watch_page(page: Page, file: Path) -> list[str]:
    """Open a file. Returns what the console said and the requests to the network."""
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("dialog", lambda dialog: messages.append(dialog.message))
    page.on(
        "request",
        lambda request: (
            messages.append(request.url) if not request.url.startswith(("file:", "data:")) else None
        ),
    )
    page.goto(file.as_uri())
    return messages


def overflow(page: Page) -> int:
    return page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_every_screen_and_uses_no_network(
    browser: Browser, written: Path, width: int, scheme: Literal["light", "dark"]
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    assert watch_page(page, written / "report.html") == []
    assert overflow(page) <= 0
    assert page.locator("h1").inner_text().startswith("Graft learnt to tell 5 classes apart")
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    page.close()


def contrast(page: Page, selector: str) -> float:
    """The least WCAG contrast between the text of these elements and their own background."""
    return page.evaluate(
        """selector => {
            const canvas = document.createElement("canvas")
            const context = canvas.getContext("2d", {willReadFrequently: true})
            const light = colour => {
                context.fillStyle = colour; context.fillRect(0, 0, 1, 1)
                const [r, g, b] = [...context.getImageData(0, 0, 1, 1).data].map(
                    v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
                return .2126 * r + .7152 * g + .0722 * b
            }
            return Math.min(...[...document.querySelectorAll(selector)].map(element => {
                const style = getComputedStyle(element)
                const pair = [light(style.color), light(style.backgroundColor)]
                return (Math.max(...pair) + .05) / (Math.min(...pair) + .05)
            }))
        }""",
        selector,
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_numbers_in_the_heat_map_can_be_read(
    browser: Browser, written: Path, scheme: Literal["light", "dark"]
) -> None:
    page = browser.new_page(color_scheme=scheme)
    page.goto((written / "report.html").as_uri())
    assert page.locator(".heat tbody td").count() == 25
    assert contrast(page, ".heat tbody td") >= 4.5
    page.close()


def test_the_page_prints_dark_on_light(browser: Browser, written: Path) -> None:
    page = browser.new_page(color_scheme="dark")
    page.goto((written / "report.html").as_uri())
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(29, 33, 31)"
    assert page.locator("nav").is_hidden()
    page.close()


def test_many_classes_show_the_weakest_and_the_worst_confusions(
    browser: Browser, tmp_path: Path
) -> None:
    classes = tuple(f"class {index:02}" for index in range(40))
    write(judged(splits_of(tmp_path, classes, test=90), skill=1.0), CONTEXT, tmp_path / "out")
    page = browser.new_page(viewport={"width": 390, "height": 900})
    assert watch_page(page, tmp_path / "out" / "report.html") == []
    assert overflow(page) <= 0
    assert page.locator(".heat").count() == 0
    assert page.locator("#confusion tbody tr").count() == 8
    assert page.locator("#mistakes li").count() == 24
    assert page.locator("#classes tbody tr").count() == 20 + 40
    page.close()


def test_a_perfect_model_has_no_mistakes_to_show(browser: Browser, tmp_path: Path) -> None:
    context = replace(
        CONTEXT, exports=(), judged_before=0, plan={**CONTEXT.plan, "mode": "none", "cut": None}
    )
    write(judged(splits_of(tmp_path, ("a", "b")), skill=99), context, tmp_path / "out")
    page = browser.new_page()
    assert watch_page(page, tmp_path / "out" / "report.html") == []
    text = page.locator("body").inner_text()
    for sentence in (
        "Every held-out image was given its own class",
        "None of the backbone was retrained",
        "first release",
    ):
        assert sentence in text
    page.close()


def test_without_a_test_image_the_page_says_so(browser: Browser, tmp_path: Path) -> None:
    write(judged(splits_of(tmp_path, test=0)), CONTEXT, tmp_path / "out")
    page = browser.new_page()
    assert watch_page(page, tmp_path / "out" / "report.html") == []
    assert "There was no held-out image to judge it" in page.locator("h1").inner_text()
    assert "misses the gate" in page.locator("header").inner_text()
    page.close()
