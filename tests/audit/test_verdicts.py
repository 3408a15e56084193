"""What is wrong with the images: every kind of bad file, named with its reason."""

import hashlib
import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from job.audit import Census, formats, hold_out, inspect, verdicts
from job.dataset import Dataset, Record
from job.errors import DatasetError, Interrupted
from job.telemetry import Progressed


class RecordedProgress:
    """Telemetry that only records progress."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int, str]] = []

    def emit(self, event: Progressed) -> None:
        self.calls.append((event.done, event.total, event.unit))


def encode(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def picture(seed: int, mode: str = "RGB", side: int = 24) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC).convert(mode)


class Folder:
    """A data set in the making."""

    def __init__(self, path: Path) -> None:
        self.path, self.records = path, list[Record]()

    def add(self, name: str, data: bytes, label: str | None = None, **given: str) -> None:
        path = self.path / f"{len(self.records)}"
        path.write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        label = label or name.partition("/")[0]
        self.records.append(
            Record(
                location=str(path),
                name=name,
                label=label,
                sha256=digest,
                size=len(data),
                split=given.get("split"),  # type: ignore[arg-type]  # a test gives good names
                group=given.get("group"),
            )
        )

    def add_class(self, label: str, count: int, first: int = 0) -> None:
        for seed in range(first, first + count):
            self.add(f"{label}/{seed}.png", encode(picture(seed), "PNG"))

    def inspect(
        self, broken_share: float = 1.0, telemetry: Any = None, *, for_training: bool = True
    ) -> Census:
        dataset = Dataset(records=tuple(self.records), digest="", listing="", ignored=())
        recorder: Any = telemetry or RecordedProgress()
        cache = self.path / "cache"
        return inspect(dataset, broken_share, cache, recorder, for_training=for_training)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Two sound classes, to which a test adds bad files."""
    folder = Folder(tmp_path)
    folder.add_class("cat", 11)
    folder.add_class("dog", 11, first=100)
    return folder


def png_header(width: int, height: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )


JPEG, PNG, BMP, GIF = (encode(picture(500), form) for form in ("JPEG", "PNG", "BMP", "GIF"))
WEBP = encode(picture(500), "WEBP")


def patched(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def huge(form: str) -> bytes:
    """65,535 x 65,535 in the header and next to nothing behind it."""
    frame = JPEG.index(b"\xff\xc0")
    return {
        "JPEG": patched(JPEG, frame + 5, struct.pack(">HH", 65535, 65535)),
        "PNG": png_header(65535, 65535),
        "BMP": patched(BMP, 18, struct.pack("<ii", 65535, -65535)),
        "GIF": patched(GIF, 6, struct.pack("<HH", 65535, 65535)),
        "WebP": b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xfe\xff\0" * 2 + bytes(8),
    }[form]


BROKEN = {
    "empty": (b"", "empty (0 bytes)"),
    "text": (b"hello, I am a picture\n" * 10, "text, not an image"),
    "cut in a letter": ("ä".encode() * 400, "text, not an image"),
    "random": (np.random.default_rng(1).bytes(3000), "in no known image format"),
    "web page": (b"<!DOCTYPE html><p>404", "a web page, not an image"),
    "web page in lower case": (b"<!doctype html><p>404", "a web page, not an image"),
    "web page after a mark": (b"\xef\xbb\xbf\r\n<HTML><p>404", "a web page, not an image"),
    "error of a store": (
        b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
        "XML, such as the error of a store, not an image",
    ),
    "pointer": (
        b"version https://git-lfs.github.com/spec/v1\n",
        "a Git LFS pointer: the image itself was not fetched",
    ),
    "cut JPEG": (JPEG[:-200], "a JPEG image that is cut short"),
    "cut PNG": (PNG[:-100], "a PNG image that is cut short"),
    "cut BMP": (BMP[:-100], "a BMP image that is cut short"),
    "cut GIF": (GIF[:-100], "a GIF image that is cut short"),
    "cut WebP": (WEBP[:-100], "a WebP image that is cut short"),
    "JPEG of three bytes": (JPEG[:3], "a JPEG image that is cut short"),
    "PNG of eight bytes": (PNG[:8], "a PNG image that is cut short"),
    "damaged PNG": (
        PNG[:60] + bytes(20) + PNG[80:],
        "a PNG image that is damaged: a checksum is wrong",
    ),
    "text that begins like a BMP": (b"BMW is a car\n" * 9, "text, not an image"),
    "video": (b"\0\0\0\x18ftypmp42" + bytes(99), "a video, not an image"),
    "shortcut": (b"\x4c\0\0\0\x01\x14\x02\0" + bytes(99), "a Windows shortcut, not an image"),
    "archive": (b"Rar!\x1a\x07" + bytes(99), "a RAR archive, not an image"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_image_is_left_out_with_its_reason(kind: str, folder: Folder) -> None:
    data, reason = BROKEN[kind]
    folder.add("cat/bad.jpg", data)
    census = folder.inspect()
    assert [(finding.name, finding.reason) for finding in census.broken] == [
        ("cat/bad.jpg", reason)
    ]
    assert len(census.kept) == 22
    assert census.left_out == 1


def test_a_few_contents_get_the_verdicts_that_they_get_among_many(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Few are decoded without a graph. Every kind of file, and noise, whose hashes are tight.
    for kind, (data, _) in BROKEN.items():
        folder.add(f"cat/{kind}", data)
    random = np.random.default_rng(2)
    for form in ("JPEG", "PNG", "BMP", "GIF", "WEBP"):
        whole = encode(picture(600), form)
        folder.add(f"cat/{form}", whole)
        for number in range(4):
            at = int(random.integers(4, len(whole)))
            folder.add(f"cat/{form} {number}", patched(whole, at, random.bytes(3)))
    for seed in range(8):
        noise = np.random.default_rng(seed).integers(0, 256, (31, 45, 3), dtype=np.uint8)
        folder.add(f"dog/noise {seed}", encode(Image.fromarray(noise), "JPEG"))
    recorder: Any = RecordedProgress()
    found = []
    for most in (1000, 0):
        monkeypatch.setattr(verdicts, "FEW_CONTENTS", most)
        cache = tmp_path / f"cache {most}"
        found.append(verdicts.judge_contents(folder.records, cache, recorder))
    few, many = found
    assert len(few) > len(BROKEN)
    assert few == many


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP", "GIF", "WebP"])
def test_a_gigantic_header_is_refused_before_anything_is_allocated(
    form: str, folder: Folder
) -> None:
    folder.add("cat/bomb.png", huge(form))
    (finding,) = folder.inspect().broken
    assert finding.reason == "65535x65535 = 4.3 gigapixels; the limit is 0.18"


def test_a_large_picture_below_the_limit_is_decoded(folder: Folder) -> None:
    folder.add("cat/panorama.png", encode(Image.new("L", (10_000, 4_000)), "PNG"))
    assert len(folder.inspect().kept) == 23


def ftyp(brand: bytes) -> bytes:
    return b"\0\0\0\x1cftyp" + brand + bytes(100)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (encode(picture(1), "TIFF"), "TIFF"),
        (b"MM\0*" + bytes(50), "TIFF"),
        (encode(picture(1), "AVIF"), "AVIF"),
        (ftyp(b"heic"), "HEIC"),
        (ftyp(b"mif1"), "HEIC"),
        (encode(picture(1), "JPEG2000"), "JPEG 2000"),
        (encode(picture(1), "ICO"), "ICO"),
        (b"\xff\x0a" + bytes(50), "JPEG XL"),
        (b"8BPS" + bytes(50), "Photoshop"),
        (bytes(128) + b"DICM" + bytes(50), "DICOM"),
        (b'<?xml version="1.0"?>\n<svg xmlns="x"/>', "SVG"),
        (encode(picture(1), "PPM"), "PNM"),
        (encode(picture(1), "DIB"), "BMP without its file header"),
        (ftyp(b"crx "), "raw of a camera"),
        (BMP[:30] + b"\1\0\0\0" + BMP[34:], "BMP with run-length encoding"),
        (
            JPEG.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc1\0\x11\x0c"),
            "JPEG with 12 bits per sample",
        ),
        (JPEG.replace(b"\xff\xc0", b"\xff\xc3"), "JPEG with lossless or hierarchical coding"),
        (PNG[:8] + b"\0\0\0\4CgBI" + bytes(8) + PNG[8:], "PNG with changes for iOS"),
    ],
)
def test_a_format_that_the_graph_cannot_read_is_unsupported_not_broken(
    data: bytes, name: str, folder: Folder
) -> None:
    folder.add("cat/photo.jpg", data)
    census = folder.inspect(broken_share=0)
    assert [str(finding) for finding in census.unsupported] == [
        f"cat/photo.jpg: {name} is not supported"
    ]
    assert not census.broken


@pytest.mark.parametrize(
    "data",
    [
        encode(picture(600), "PNG"),
        encode(picture(601, "CMYK"), "JPEG"),
        encode(picture(602, "P"), "GIF"),
        encode(picture(603, "RGBA"), "WEBP"),
        encode(picture(604, "LA"), "PNG"),
        encode(Image.fromarray(np.arange(400, dtype=np.uint16).reshape(20, 20) * 160), "PNG"),
        encode(picture(605), "WEBP", save_all=True, append_images=[picture(606)]),
        encode(picture(607), "JPEG", progressive=True),
        encode(picture(608), "WEBP", lossless=True),
    ],
)
def test_the_content_counts_and_not_the_name(data: bytes, folder: Folder) -> None:
    folder.add("cat/named.jpg", data)
    assert "cat/named.jpg" in [record.name for record in folder.inspect().kept]


def test_more_broken_images_than_the_share_stop_the_run_with_the_list(folder: Folder) -> None:
    for number in range(30):
        folder.add(f"cat/bad{number:02}.jpg", b"text %d" % number)
    with pytest.raises(DatasetError) as caught:
        folder.inspect(broken_share=0.05)
    assert caught.value.exit_code == 3
    assert "broken: 30 of 52 images (57.7%); at most 5.0% may be" in caught.value.problems
    assert sum("text, not an image" in problem for problem in caught.value.problems) == 20
    assert caught.value.problems[-1] == "and 10 more"


def test_a_share_that_is_just_reached_is_accepted(folder: Folder) -> None:
    folder.add("cat/bad1.jpg", b"text")
    folder.add("cat/bad2.jpg", b"more text")
    assert len(folder.inspect(broken_share=2 / 24).broken) == 2


def test_one_content_under_two_labels_is_left_out_and_named(folder: Folder) -> None:
    folder.add("dog/same.png", encode(picture(0), "PNG"))
    census = folder.inspect()
    assert {finding.name for finding in census.conflicting} == {"cat/0.png", "dog/same.png"}
    assert "'cat' as cat/0.png, 'dog' as dog/same.png" in census.conflicting[0].reason
    used = len(census.kept)
    assert census.summary == f"{used + 2} files: {used} used, 2 under two labels"
    assert not {"cat/0.png", "dog/same.png"} & {record.name for record in census.kept}


def test_empty_files_in_two_classes_are_broken_and_not_conflicting(folder: Folder) -> None:
    folder.add("cat/empty.png", b"")
    folder.add("dog/empty.png", b"")
    census = folder.inspect()
    assert (len(census.broken), len(census.conflicting)) == (2, 0)


def test_a_duplicate_under_one_label_is_kept_and_reported(folder: Folder) -> None:
    folder.add("cat/0 (copy).png", encode(picture(0), "PNG"))
    census = folder.inspect()
    assert [str(finding) for finding in census.duplicates] == [
        "cat/0.png: the same content as cat/0 (copy).png"
    ]
    assert census.summary == "23 files: 22 used, 1 duplicate"
    assert len(census.kept) == 23


def test_one_class_is_not_enough(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.add_class("cat", 5)
    with pytest.raises(DatasetError) as caught:
        folder.inspect()
    assert caught.value.problems == ("the classes are: 'cat'; a classifier needs at least 2",)


def test_one_image_is_enough_to_judge_a_model_and_none_is_not(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.add("cat/a.png", encode(picture(1), "PNG"))
    splits = hold_out(folder.inspect(for_training=False), ("ape", "cat"))
    assert (splits.train, splits.val) == ((), ())
    assert [(example.name, example.label) for example in splits.test] == [("cat/a.png", 1)]

    folder.records.clear()
    folder.add("cat/b.png", b"text")
    with pytest.raises(DatasetError, match="cannot be judged on") as caught:
        folder.inspect(for_training=False)
    assert caught.value.problems == ("no image is usable", "cat/b.png: text, not an image")


def test_no_image_at_all_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="a data set of 0 images"):
        Folder(tmp_path).inspect()


def test_all_problems_are_reported_at_once(folder: Folder) -> None:
    folder.add_class("newt", 1, first=200)
    folder.add("owl/a.png", encode(picture(300), "PNG"))
    folder.add("owl/b.png", encode(picture(300), "PNG"))
    folder.add("owl/c.tif", encode(picture(301), "TIFF"))
    folder.add("yak/a.png", b"text")
    with pytest.raises(DatasetError) as caught:
        folder.inspect(broken_share=0)
    text = str(caught.value)
    for problem in (
        "class 'newt' has 1 distinct usable image; at least 3 are needed",
        "class 'owl' has 1 distinct",
        "class 'yak' has 0 distinct",
        "broken: 1 of 27 images (3.7%); at most 0.0% may be",
        "yak/a.png: text, not an image",
        "owl/c.tif: TIFF is not supported",
    ):
        assert problem in text


def test_too_few_groups_to_split_a_class_are_a_problem(folder: Folder) -> None:
    for seed in range(300, 306):
        folder.add(f"newt/{seed}.png", encode(picture(seed), "PNG"), group=f"pond {seed % 2}")
    with pytest.raises(
        DatasetError, match=r"class 'newt' has 2 groups; at least 3 are needed to split it"
    ):
        folder.inspect()


def test_groups_are_not_counted_when_the_split_is_given(folder: Folder) -> None:
    for seed in range(300, 306):
        split = ("train", "val", "test")[seed % 3]
        folder.add(f"newt/{seed}.png", encode(picture(seed), "PNG"), group="pond", split=split)
    assert len(folder.inspect().kept) == 28


def test_few_and_unbalanced_images_are_a_warning(folder: Folder) -> None:
    folder.add_class("newt", 3, first=200)
    folder.add_class("cat", 20, first=300)
    warnings = folder.inspect().warnings
    assert warnings == (
        "class 'newt' has only 3 distinct images",
        "the classes are unbalanced: 'cat' has 31 images, 'newt' has 3",
    )


def test_the_kept_are_in_one_order_whatever_the_order_of_the_list(folder: Folder) -> None:
    before = folder.inspect()
    folder.records.reverse()
    assert folder.inspect() == before
    assert before.classes == ("cat", "dog")
    assert [record.label for record in before.kept] == ["cat"] * 11 + ["dog"] * 11


def test_progress_is_reported_to_the_end(folder: Folder) -> None:
    telemetry = RecordedProgress()
    folder.inspect(telemetry=telemetry)
    assert telemetry.calls[-1] == (22, 22, "images")


def test_a_look_alike_has_a_close_hash_and_another_picture_has_not(folder: Folder) -> None:
    folder.add("cat/again.jpg", encode(picture(0, side=48), "JPEG", quality=70))
    census = folder.inspect()
    hashes = {record.name: census.hashes[record.sha256] for record in census.kept}
    assert (hashes["cat/0.png"] ^ hashes["cat/again.jpg"]).bit_count() <= 3
    assert (hashes["cat/0.png"] ^ hashes["cat/1.png"]).bit_count() > 10


@pytest.fixture
def opened_files(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were opened to be decoded."""
    paths: list[Path] = []
    open_file = Path.open

    def watched(path: Path, mode: str = "r", *rest: Any, **options: Any) -> Any:
        if mode == "rb":
            paths.append(path)
        return open_file(path, mode, *rest, **options)

    monkeypatch.setattr(Path, "open", watched)
    return paths


def test_a_content_is_decoded_once_and_never_again(
    folder: Folder, opened_files: list[Path]
) -> None:
    folder.add("cat/copy.png", encode(picture(0), "PNG"))
    folder.add("cat/bad.png", b"text")
    first = folder.inspect()
    assert len(opened_files) == 23
    folder.add("cat/new.png", encode(picture(900), "PNG"))
    second = folder.inspect()
    assert len(opened_files) == 24
    assert second.broken == first.broken
    assert second.hashes.items() > first.hashes.items()


def test_an_interrupted_audit_continues_where_it_was(
    folder: Folder, opened_files: list[Path]
) -> None:

    class Stopped(RecordedProgress):
        def emit(self, event: Progressed) -> None:
            if event.done:
                raise Interrupted("SIGTERM")

    with pytest.raises(Interrupted):
        folder.inspect(telemetry=Stopped())
    folder.inspect()
    assert len(opened_files) == 22


def version_of_another(text: str) -> str:
    return text.replace("tensorflow", "theano", 1)


def cut_in_a_line(text: str) -> str:
    return text[: len(text) // 2]


def of_another_shape(text: str) -> str:
    return text.splitlines()[0] + '\n["00", {"colour": 1}]\n'


@pytest.mark.parametrize(
    "spoil",
    [version_of_another, cut_in_a_line, of_another_shape, lambda text: "", lambda text: "\ud83d"],
)
def test_a_stale_or_spoilt_cache_costs_time_only(
    spoil: Callable[[str], str], folder: Folder, opened_files: list[Path]
) -> None:
    before = folder.inspect()
    cache = folder.path / "cache" / "audit.jsonl"
    cache.write_bytes(spoil(cache.read_text()).encode("utf-8", "surrogatepass"))
    assert folder.inspect() == before
    assert len(opened_files) == 44
    assert len(cache.read_text().splitlines()) == 23
    assert [path.name for path in cache.parent.iterdir()] == ["audit.jsonl"]


def test_a_cache_that_cannot_be_written_fails_nothing(
    folder: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    (folder.path / "cache").write_text("a file where the folder should be")
    assert len(folder.inspect().kept) == 22
    assert "was not written" in caplog.text


def test_the_cache_forgets_what_is_no_longer_in_the_data_set(folder: Folder) -> None:
    folder.inspect()
    gone = folder.records.pop().sha256
    folder.add("dog/new.png", encode(picture(900), "PNG"))
    folder.inspect()
    known = [
        json.loads(line)[0]
        for line in (folder.path / "cache" / "audit.jsonl").read_text().splitlines()[1:]
    ]
    assert gone not in known
    assert len(known) == 22


SIZES = {
    "JPEG": encode(Image.new("RGB", (33, 21)), "JPEG"),
    "progressive JPEG": encode(Image.new("RGB", (33, 21)), "JPEG", progressive=True),
    "PNG": encode(Image.new("RGB", (33, 21)), "PNG"),
    "GIF": encode(Image.new("RGB", (33, 21)), "GIF"),
    "BMP": encode(Image.new("RGB", (33, 21)), "BMP"),
    "lossy WebP": encode(Image.new("RGB", (33, 21)), "WEBP"),
    "lossless WebP": encode(Image.new("RGB", (33, 21)), "WEBP", lossless=True),
    "extended WebP": encode(Image.new("RGBA", (33, 21)), "WEBP"),
    "animated WebP": encode(
        Image.new("RGB", (33, 21)),
        "WEBP",
        save_all=True,
        append_images=[Image.new("RGB", (33, 21), "red")],
    ),
}


SIZES["padded JPEG"] = SIZES["JPEG"][:20] + b"\xff\xff" + SIZES["JPEG"][20:]


@pytest.mark.parametrize("kind", SIZES)
def test_the_size_is_read_from_the_header(kind: str) -> None:
    data = SIZES[kind]
    name = formats.find_decodable(data)
    assert name is not None
    assert formats.read_dimensions(name, data) == (33, 21)


@pytest.mark.parametrize("kind", SIZES)
def test_a_header_that_is_cut_short_has_no_size(kind: str) -> None:
    data = SIZES[kind]
    for length in range(12, 30):
        head = data[:length]
        assert formats.read_dimensions(formats.find_decodable(data) or "", head) in {
            (0, 0),
            (33, 21),
        }


def test_a_jpeg_without_a_frame_has_no_size() -> None:
    assert formats.read_dimensions("JPEG", b"\xff\xd8\xff\xe0\0\x04ab\0\0") == (0, 0)
