"""The pictures of the report: what they show, of which images, and how much of the page they take.

Beside them: the links to the files around the page, and the terms beside its headings.
"""

import base64
import io
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser

from job import images
from job.audit import Example, Splits
from job.evaluation import ReportContext, write
from job.evaluation.gallery import MOST_BYTES
from job.evaluation.pictures import make_thumbnail
from tests.evaluation.test_report import CONTEXT, judged, splits_of
from tools.sample_report import PROMOTION

NUM_CLASSES = 30


def make_noise(seed: int, side: int = 200) -> Image.Image:
    generator = np.random.default_rng(seed)
    return Image.fromarray(generator.integers(0, 256, (side, side, 3), dtype=np.uint8))


def shrunk(path: Path) -> NDArray[np.int64]:
    uri = make_thumbnail(path)
    assert uri is not None
    content = base64.b64decode(uri.partition(",")[2])
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"), np.int64)


def write_page(splits: Splits, context: ReportContext, folder: Path) -> str:
    """Write the report of all images of these splits, and return its page."""
    examples = (*splits.train, *splits.val, *splits.test)
    known = {example.name: example.path for example in examples}
    files = {**known, **context.image_files}
    write(judged(splits, skill=1.0), replace(context, image_files=files), folder)
    return (folder / "report.html").read_text(encoding="utf-8")


def find_section(page: str, name: str) -> str:
    return page.split(f'<section id="{name}">')[1].split("</section>", maxsplit=1)[0]


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    """Thirty classes of nine images. Nothing takes more bytes than noise."""
    folder = tmp_path_factory.mktemp("crowd")
    parts: Mapping[str, list[Example]] = {"train": [], "val": [], "test": []}
    for label in range(NUM_CLASSES):
        for index in range(9):
            part = {7: "val", 8: "test"}.get(index, "train")
            path = folder / f"{label}-{index}.png"
            make_noise(10 * label + index, side=90).save(path)
            example = Example(
                path=path, name=path.name, label=label, sha256=path.name, format="PNG"
            )
            parts[part].append(example)
    return Splits(
        classes=tuple(f"class {label}" for label in range(NUM_CLASSES)),
        train=tuple(parts["train"]),
        val=tuple(parts["val"]),
        test=tuple(parts["test"]),
        near_duplicates=(),
        leaks=(),
        given=False,
    )


@pytest.fixture(scope="module")
def crowd_page(crowd: Splits, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of the thirty classes, with as many broken images as are shown."""
    names = [example.name for example in crowd.train[:40]]
    context = replace(CONTEXT, left_out=tuple((name, "broken") for name in names))
    return write_page(crowd, context, tmp_path_factory.mktemp("crowd-report"))


# What a picture shows.


@pytest.mark.parametrize(
    "kind", ["BMP with alpha", "BMP with empty alpha", "CMYK", "CMYK without a mark"]
)
def test_a_picture_that_browsers_show_otherwise_is_as_the_model_sees_it(
    kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "image"
    if kind.startswith("BMP"):
        pixels = np.full((24, 24, 4), (200, 30, 60, 0), np.uint8)
        if kind == "BMP with alpha":
            pixels[:12, :, 3] = 255
        # BITFIELDS with a mask of alpha, which Pillow does not write.
        head = np.array([40 + 68, 24, 24], "<u4").tobytes() + np.array([1, 32], "<u2").tobytes()
        masks = np.array([0xFF0000, 0xFF00, 0xFF, 0xFF000000], "<u4").tobytes()
        info = head + np.array([3, 24 * 24 * 4, 0, 0, 0, 0], "<u4").tobytes() + masks
        info += b"BGRs" + bytes(108 - len(info) - 4)
        body = pixels[::-1, :, [2, 1, 0, 3]].tobytes()
        start = 14 + len(info)
        size = np.array([start + len(body), 0, start], "<u4").tobytes()
        path.write_bytes(b"BM" + size + info + body)
    else:
        Image.new("CMYK", (24, 24), (20, 200, 90, 10)).save(path, "JPEG", quality=95)
        if kind == "CMYK without a mark":
            encoded = path.read_bytes()
            start = encoded.index(b"\xff\xee")
            path.write_bytes(encoded[:start] + encoded[start + 16 :])
    seen = images.decode(tf.constant(path.read_bytes())).numpy().astype(np.int64)

    shown = shrunk(path)
    assert shown.shape == seen.shape
    assert shown[4, 12] == pytest.approx(seen[4, 12], abs=12)
    assert shown[20, 12] == pytest.approx(seen[20, 12], abs=12)


def test_of_a_torn_jpeg_the_part_that_is_there_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "torn.jpg"
    Image.new("RGB", (160, 160), (250, 20, 20)).save(path, quality=95)
    top = Image.open(path).convert("RGB")
    top.paste(make_noise(3, 160).crop((0, 80, 160, 160)), (0, 80))
    top.save(path, quality=95)
    encoded = path.read_bytes()
    path.write_bytes(encoded[: len(encoded) // 2])
    assert shrunk(path)[20, 80] == pytest.approx((250, 20, 20), abs=12)


def test_a_large_photograph_is_shrunk_to_the_same_picture(tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 2400, dtype=np.uint8)
    pixels = np.stack([np.tile(ramp, (1600, 1)), np.full((1600, 2400), 90, np.uint8)], axis=-1)
    image = Image.fromarray(np.concatenate([pixels, pixels[..., :1]], axis=-1))
    image.save(tmp_path / "large.jpg", quality=95)
    shown = shrunk(tmp_path / "large.jpg")
    wanted = np.asarray(image.resize((shown.shape[1], shown.shape[0])), np.int64)
    assert np.abs(shown - wanted).mean() < 3


# Which images are shown.


def test_each_class_shows_six_images_that_it_learnt_from(tmp_path: Path) -> None:
    splits = splits_of(tmp_path, ("cats", "dogs"), test=10)
    page = write_page(splits, CONTEXT, tmp_path / "out")
    examples = find_section(page, "data").split('class="examples"')[1].split("</ul>")[0]
    for label in range(2):
        row = examples.split("<li>")[1 + label]
        names = re.findall(r'alt="([^"]+)"', row)
        assert names == [example.name for example in splits.train if example.label == label][:6]


def test_one_content_is_shown_once_in_its_class(tmp_path: Path) -> None:
    splits = splits_of(tmp_path, ("cats", "dogs"), test=10)
    train = tuple(replace(example, sha256=f"class {example.label}") for example in splits.train)
    page = write_page(replace(splits, train=train), CONTEXT, tmp_path / "out")
    examples = find_section(page, "data").split('class="examples"')[1].split("</ul>")[0]
    first = re.findall(r'alt="([^"]+)"', examples.split("<li>")[1])
    assert sum(name.startswith("train/") for name in first) == 1
    assert len(first) == 6


def test_findings_are_shown_as_pictures_side_by_side(browser: Browser, tmp_path: Path) -> None:
    splits = splits_of(tmp_path)
    seen = splits.train[0].path
    (tmp_path / "text.jpg").write_text("no image")
    context = replace(
        CONTEXT,
        left_out=(
            ("birds/text.jpg", "not an image"),
            ("birds/torn.jpg", "cut short"),
            ("cats/1.jpg", "one content under several labels"),
            ("dogs/1.jpg", "one content under several labels"),
        ),
        contradictions=(
            (
                {"name": "cats/1.jpg", "label": "cats"},
                {"name": "dogs/1.jpg", "label": "dogs"},
            ),
        ),
        image_files={
            "birds/text.jpg": tmp_path / "text.jpg",
            "birds/torn.jpg": seen,
            "birds/copy.jpg": seen,
            "cats/1.jpg": seen,
            "dogs/1.jpg": seen,
        },
    )
    write_page(splits, context, tmp_path / "out")
    page = browser.new_page()
    page.goto((tmp_path / "out" / "report.html").as_uri())
    cards = page.locator(".findings li")
    assert [card.inner_text().splitlines()[0] for card in cards.all()] == [
        "birds/torn.jpg",
        "cats or dogs",
        "train/9.png",
        "birds/copy.jpg",
        "test/1.png (test) and train/1.png (train)",
    ]
    assert page.locator(".findings li.two img").count() == 2
    text = page.locator("#data").inner_text()
    assert "Left out (2)" in text
    assert "birds/text.jpg · not an image" in text
    assert "cats/1.jpg, dogs/1.jpg" in text
    assert "Each copy is kept, in the same part of the split as its original." in text
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    page.close()


# How much of the page they take.


def test_the_page_of_30_classes_stays_below_600_kilobytes(crowd_page: str) -> None:
    pictures = sum(map(len, re.findall(r'src="(data:[^"]+)"', crowd_page)))
    assert 0.9 * MOST_BYTES < pictures <= MOST_BYTES
    assert len(crowd_page.encode()) < 600_000


def test_where_not_all_fit_the_classes_have_alike_many(crowd_page: str) -> None:
    examples = find_section(crowd_page, "data").split('class="examples"')[1].split("</ul>")[0]
    counts = [row.count("<img ") for row in examples.split("<li>")[1:]]
    shown = counts + [0] * (NUM_CLASSES - len(counts))
    assert max(shown) - min(shown) <= 1


def test_pictures_depend_neither_on_the_folder_nor_on_the_run(tmp_path: Path) -> None:
    pages = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        pages.append(write_page(splits_of(tmp_path / name), CONTEXT, tmp_path / name / "out"))
    assert pages[0] == pages[1]
    content = json.loads((tmp_path / "first" / "out" / "report.json").read_text(encoding="utf-8"))
    assert "image_files" not in content
    assert str(tmp_path) not in pages[0]


# The rest of the page.


@pytest.mark.parametrize(("num_classes", "is_shown"), [(9, False), (10, True)])
def test_top_k_is_told_from_ten_classes_on(
    num_classes: int, is_shown: bool, tmp_path: Path
) -> None:
    classes = tuple(f"class {index}" for index in range(num_classes))
    page = write_page(splits_of(tmp_path, classes), CONTEXT, tmp_path / "out")
    card = (tmp_path / "out" / "model-card.md").read_text(encoding="utf-8")
    assert ("Top-5 accuracy" in page) is is_shown
    assert ("top-5 accuracy" in card) is is_shown
    content = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert 0 < content["test"]["top_k"] <= 1


def test_each_class_has_the_interval_of_its_precision_and_recall(tmp_path: Path) -> None:
    page = write_page(splits_of(tmp_path, ("cats", "dogs"), test=10), CONTEXT, tmp_path / "out")
    content = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    for row in content["test"]["per_class"]:
        assert row["recall_low"] < row["recall"] <= row["recall_high"]
    assert find_section(page, "classes").count("95 % interval") == 2


def test_headings_have_the_terms_that_people_search_for(tmp_path: Path) -> None:
    page = write_page(splits_of(tmp_path), CONTEXT, tmp_path / "out")
    headings = " ".join(re.findall(r"<h2>(.*?)</h2>", page))
    for term in ("confusion matrix", "calibration", "precision, recall, F1", "duplicates"):
        assert term in headings


def test_the_page_links_to_its_neighbours(tmp_path: Path) -> None:
    page = write_page(splits_of(tmp_path), CONTEXT, tmp_path / "out")
    links = set(re.findall(r'<a href="([^#"]+)"', page))
    assert {"model-card.md", "report.json", "history.csv", "manifest.json"} <= links
    assert {"saved_model/1/saved_model.pb", "model.keras", "model.onnx", "model.tflite"} <= links
    # Nothing was measured, so no suspects were looked for.
    assert "suspects.csv" not in links


@pytest.mark.parametrize("champion", ["0123", None])
def test_the_page_links_to_the_champions_report_if_there_is_one(
    champion: str | None, tmp_path: Path
) -> None:
    context = replace(CONTEXT, promotion=PROMOTION, champion=champion)
    page = write_page(splits_of(tmp_path), context, tmp_path / "out")
    assert re.findall(r'href="(\.\./[^"]+)"', page) == (["../0123/report.html"] if champion else [])


def test_code_of_the_page_is_code(tmp_path: Path) -> None:
    page = write_page(splits_of(tmp_path), replace(CONTEXT, name="flowers"), tmp_path / "out")
    codes = re.findall(r"<pre><code>(.*?)</code></pre>", page, re.DOTALL)
    python = [unescape(code) for code in codes if "import" in code]
    assert len(python) == 5
    for code in python:
        compile(code, "report.html", "exec")
