"""Archives as people's tools write them."""

import bz2
import gzip
import io
import json
import lzma
import stat
import struct
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from job import telemetry
from job.dataset import Dataset, fetch, survey
from job.dataset.archive_formats import find_zstd
from job.errors import DatasetError
from job.settings import CacheSettings, DatasetSettings

FLOWERS = {"rose/1.jpg": b"rose one", "daisy/2.jpg": b"daisy two" * 300}


def make_tar(files: Mapping[str, bytes], mode: str = "w", *links: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for link in links:
            archive.addfile(link)
    return buffer.getvalue()


def make_zip(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def make_link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def rename_in_zip(data: bytes, plain: bytes, raw: bytes, *, says_utf8: bool = False) -> bytes:
    """Bytes of a name as tools write them that do not say their encoding. The length stays."""
    assert len(plain) == len(raw)
    changed = bytearray(data.replace(plain, raw))
    for magic, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = 0
        while (start := changed.find(magic, start)) >= 0:
            flags = struct.unpack_from("<H", changed, start + at)[0]
            flags = flags | 0x800 if says_utf8 else flags & ~0x800
            struct.pack_into("<H", changed, start + at, flags)
            start += 4
    return bytes(changed)


@pytest.fixture
def fetch_file(tmp_path: Path) -> Callable[..., Dataset]:
    """Fetch an archive of this name and content, with settings of the data set."""

    def act(name: str, content: bytes, **fields: Any) -> Dataset:
        path = tmp_path / name
        path.write_bytes(content)
        dataset = DatasetSettings(uri=path.as_uri(), **fields)
        cache = CacheSettings(dir=tmp_path / "cache")
        return fetch(survey(dataset), dataset, cache, telemetry.silent())

    return act


def read_all(data: Dataset) -> dict[str, bytes]:
    return {record.name: record.path.read_bytes() for record in data.records}


def count(data: Dataset) -> dict[str, int]:
    return dict(Counter(f"{record.split or '-'} {record.label}" for record in data.records))


def require_nothing_half_written(cache: Path) -> None:
    """Every object has the content of its name, and nothing else is there."""
    incoming = [path for path in (cache / "incoming").rglob("*") if path.suffix != ".lock"]
    assert [path for path in incoming if path.is_file()] == []
    assert list((cache / "index").rglob("*.jsonl")) == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("data.tar.bz2", make_tar(FLOWERS, "w:bz2"), id="tar-bz2"),
        pytest.param("data.tbz2", make_tar(FLOWERS, "w:bz2"), id="tbz2"),
        pytest.param("data.tar.xz", make_tar(FLOWERS, "w:xz"), id="tar-xz"),
        pytest.param("data.txz", make_tar(FLOWERS, "w:xz"), id="txz"),
        pytest.param("data.tar.gz", make_tar(FLOWERS, "w:gz"), id="tar-gz"),
        pytest.param("data.zip", make_zip(FLOWERS, zipfile.ZIP_BZIP2), id="zip-with-bzip2"),
        pytest.param("data.zip", make_zip(FLOWERS, zipfile.ZIP_LZMA), id="zip-with-lzma"),
        pytest.param("data.zip", make_tar(FLOWERS, "w:gz"), id="zip-that-is-a-tar-gz"),
        pytest.param("data.tar.gz", make_zip(FLOWERS), id="tar-gz-that-is-a-zip"),
        pytest.param("data.tar", make_tar(FLOWERS, "w:xz"), id="tar-that-is-a-tar-xz"),
        pytest.param("data.tgz", make_tar(FLOWERS), id="tgz-that-is-not-compressed"),
        pytest.param("data.tar.bz2", make_tar(FLOWERS, "w:gz"), id="tar-bz2-that-is-a-tar-gz"),
        pytest.param("data.zip", b"#!/bin/sh\nexit\n" + make_zip(FLOWERS), id="zip-after-a-script"),
    ],
)
def test_an_archive_of_any_kind_gives_its_images(
    name: str, content: bytes, fetch_file: Callable[..., Dataset]
) -> None:
    assert read_all(fetch_file(name, content)) == FLOWERS


MOJIBAKE = make_zip({"K__fer/1.jpg": b"one", "rose/2.jpg": b"two"})
SHORT = make_zip({"K_fer/1.jpg": b"one", "rose/2.jpg": b"two"})
CHINESE = make_zip({"____/1.jpg": b"one", "rose/2.jpg": b"two"})


@pytest.mark.parametrize(
    ("content", "encoding", "label"),
    [
        pytest.param(
            rename_in_zip(MOJIBAKE, b"K__fer", "Käfer".encode()), "", "Käfer", id="utf8-unsaid"
        ),
        pytest.param(
            rename_in_zip(MOJIBAKE, b"K__fer", "Käfer".encode(), says_utf8=True),
            "",
            "Käfer",
            id="utf8-said",
        ),
        pytest.param(
            rename_in_zip(SHORT, b"K_fer", "Käfer".encode("cp437")), "cp437", "Käfer", id="cp437"
        ),
        pytest.param(
            rename_in_zip(SHORT, b"K_fer", "Käfer".encode("cp1252")), "cp1252", "Käfer", id="cp1252"
        ),
        pytest.param(
            rename_in_zip(CHINESE, b"____", "玫瑰".encode("gbk")), "gbk", "玫瑰", id="gbk"
        ),
        pytest.param(
            rename_in_zip(CHINESE, b"____", "薔薇".encode("shift_jis")),
            "shift_jis",
            "薔薇",
            id="shift-jis",
        ),
        pytest.param(
            rename_in_zip(CHINESE, b"____", "роза".encode("cp866")), "cp866", "роза", id="cp866"
        ),
    ],
)
def test_a_name_in_a_zip_is_what_its_owner_wrote(
    content: bytes, encoding: str, label: str, fetch_file: Callable[..., Dataset]
) -> None:
    data = fetch_file("data.zip", content, archive_encoding=encoding)
    assert {record.label for record in data.records} == {label, "rose"}


@pytest.mark.parametrize(
    ("name", "content", "encoding", "shown"),
    [
        pytest.param(
            "data.zip",
            rename_in_zip(SHORT, b"K_fer", "Käfer".encode("cp437")),
            "",
            "cp437: Käfer/1.jpg",
            id="cp437-unsaid",
        ),
        pytest.param(
            "data.zip",
            rename_in_zip(CHINESE, b"____", "玫瑰".encode("gbk")),
            "",
            "gbk: 玫瑰/1.jpg",
            id="gbk-unsaid",
        ),
        pytest.param(
            "data.zip",
            rename_in_zip(SHORT, b"K_fer", "Käfer".encode("cp1252")),
            "ascii",
            "cp1252: Käfer/1.jpg",
            id="wrong-encoding-said",
        ),
        pytest.param(
            "data.tar",
            make_tar({"K\udce4fer/1.jpg": b"one", "rose/2.jpg": b"two"}),
            "",
            "cp1252: Käfer/1.jpg",
            id="tar-in-cp1252-unsaid",
        ),
    ],
)
def test_a_name_in_an_unknown_encoding_is_refused_with_what_it_could_be(
    name: str, content: bytes, encoding: str, shown: str, fetch_file: Callable[..., Dataset]
) -> None:
    with pytest.raises(DatasetError, match="1 name not in") as caught:
        fetch_file(name, content, archive_encoding=encoding)
    assert caught.value.exit_code == 3
    assert shown in caught.value.problems
    assert "GRAFT_DATASET_ARCHIVE_ENCODING" in caught.value.cure


def test_another_encoding_reads_a_known_archive_again(
    fetch_file: Callable[..., Dataset],
) -> None:
    content = rename_in_zip(SHORT, b"K_fer", "Käfer".encode("cp1252"))
    for encoding, label in (("cp1252", "Käfer"), ("cp437", "KΣfer")):
        data = fetch_file("data.zip", content, archive_encoding=encoding)
        assert {record.label for record in data.records} == {label, "rose"}


def test_the_unicode_name_beside_a_code_page_is_taken(fetch_file: Callable[..., Dataset]) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("K_fer/1.jpg")
        noted = "Käfer/1.jpg".encode()
        info.extra = struct.pack("<HHBI", 0x7075, 5 + len(noted), 1, 0) + noted
        archive.writestr(info, b"one")
        archive.writestr("rose/2.jpg", b"two")
    content = rename_in_zip(buffer.getvalue(), b"K_fer", "Käfer".encode("cp850"))
    assert {record.label for record in fetch_file("data.zip", content).records} == {"Käfer", "rose"}


def test_backslashes_of_windows_are_separators(fetch_file: Callable[..., Dataset]) -> None:
    files = {"f\\": b"", "f\\rose\\1.jpg": b"one", "f\\daisy\\2.jpg": b"two"}
    assert count(fetch_file("data.zip", make_zip(files))) == {"- rose": 1, "- daisy": 1}


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        pytest.param(
            make_link("best/1.jpg", "../rose/1.jpg"),
            {**FLOWERS, "best/1.jpg": FLOWERS["rose/1.jpg"]},
            id="symbolic-link-to-an-image",
        ),
        pytest.param(
            make_link("best/1.jpg", "rose/1.jpg", tarfile.LNKTYPE),
            {**FLOWERS, "best/1.jpg": FLOWERS["rose/1.jpg"]},
            id="hard-link-to-an-image",
        ),
        pytest.param(
            make_link("best", "./rose"),
            {**FLOWERS, "best/1.jpg": FLOWERS["rose/1.jpg"]},
            id="symbolic-link-to-a-folder",
        ),
    ],
)
def test_a_link_that_stays_inside_a_tar_is_followed(
    link: tarfile.TarInfo, expected: dict[str, bytes], fetch_file: Callable[..., Dataset]
) -> None:
    data = fetch_file("data.tar", make_tar(FLOWERS, "w", link))
    assert read_all(data) == expected


def test_a_link_through_a_link_is_followed(fetch_file: Callable[..., Dataset]) -> None:
    links = (make_link("a/1.jpg", "../b/1.jpg"), make_link("b", "rose"))
    data = fetch_file("data.tar", make_tar(FLOWERS, "w", *links))
    assert read_all(data)["a/1.jpg"] == FLOWERS["rose/1.jpg"]


def test_a_link_inside_a_zip_is_followed(fetch_file: Callable[..., Dataset]) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in FLOWERS.items():
            archive.writestr(name, content)
        info = zipfile.ZipInfo("best/1.jpg")
        info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "../rose/1.jpg")
    assert read_all(fetch_file("data.zip", buffer.getvalue()))["best/1.jpg"] == b"rose one"


@pytest.mark.parametrize(
    ("link", "problem"),
    [
        pytest.param(
            make_link("rose/l.jpg", "../../etc/passwd"), "outside the archive", id="link-outside"
        ),
        pytest.param(make_link("l.jpg", "/etc/passwd"), "outside the archive", id="link-absolute"),
        pytest.param(
            make_link("rose/l.jpg", "gone.jpg"),
            "rose/gone.jpg, which is not in",
            id="link-dangling",
        ),
        pytest.param(make_link("rose/l", "l"), "leads in a circle", id="link-to-itself"),
        pytest.param(make_link("rose/up", ".."), "a folder around it", id="link-to-a-parent"),
    ],
)
def test_a_link_that_cannot_be_followed_refuses_the_tar(
    link: tarfile.TarInfo, problem: str, fetch_file: Callable[..., Dataset], tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match="not plain files inside it") as caught:
        fetch_file("data.tar", make_tar(FLOWERS, "w", link))
    assert problem in caught.value.problems[0]
    require_nothing_half_written(tmp_path / "cache")


PARTS = {
    "train": {"rose/1.jpg": b"a", "daisy/2.jpg": b"b"},
    "test": {"rose/3.jpg": b"c", "daisy/4.jpg": b"d"},
}
SPLIT = {"train rose": 1, "train daisy": 1, "test rose": 1, "test daisy": 1}


# Each part as one archive, and once more with the folder of the part in it.
ZIPPED = {f"{part}.zip": make_zip(files) for part, files in PARTS.items()}
TARRED = {f"data/{part}.tar.gz": make_tar(files, "w:gz") for part, files in PARTS.items()}
TWICE = {
    f"{part}.zip": make_zip({f"{part}/{name}": files[name] for name in files})
    for part, files in PARTS.items()
}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("data.zip", make_zip(ZIPPED), id="zip-of-zips"),
        pytest.param("data.tar", make_tar(TARRED), id="tar-of-tars-in-a-folder"),
        pytest.param("data.zip", make_zip(TWICE), id="zip-of-zips-with-the-parts-again"),
    ],
)
def test_an_archive_of_archives_by_split_is_a_split(
    name: str, content: bytes, fetch_file: Callable[..., Dataset], tmp_path: Path
) -> None:
    assert count(fetch_file(name, content)) == SPLIT
    # Known by then, and without the inner archives.
    assert count(fetch_file(name, content)) == SPLIT
    assert len([path for path in (tmp_path / "cache/objects").rglob("*") if path.is_file()]) <= 6


def test_a_tar_of_one_tar_per_class_gives_the_classes(fetch_file: Callable[..., Dataset]) -> None:
    inner = {f"{wnid}.tar": make_tar({f"{wnid}_1.JPEG": wnid.encode()}) for wnid in ("n01", "n02")}
    assert count(fetch_file("train.tar", make_tar(inner))) == {"- n01": 1, "- n02": 1}


def test_a_folder_of_archives_by_split_is_a_split(tmp_path: Path) -> None:
    for part, files in PARTS.items():
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / f"{part}.tar").write_bytes(make_tar(files))
    (tmp_path / "data" / "README.md").write_text("Two archives.")
    dataset = DatasetSettings(uri=(tmp_path / "data").as_uri())
    cache = CacheSettings(dir=tmp_path / "cache")
    for _ in range(2):
        data = fetch(survey(dataset), dataset, cache, telemetry.silent())
        assert count(data) == SPLIT


def claim_method(data: bytes, method: int) -> bytes:
    """A ZIP that says it is compressed by this method."""
    changed = bytearray(data)
    for magic, at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        start = 0
        while (start := changed.find(magic, start)) >= 0:
            struct.pack_into("<H", changed, start + at, method)
            start += 4
    return bytes(changed)


def say_second_disk(data: bytes) -> bytes:
    at = data.rfind(b"PK\x05\x06")
    return data[: at + 4] + b"\x01\0" + data[at + 6 :]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        pytest.param(
            "data.zip", claim_method(make_zip(FLOWERS), 9), "not read: Deflate64", id="deflate64"
        ),
        pytest.param(
            "data.zip",
            claim_method(make_zip(FLOWERS), 93),
            "not read: Zstandard",
            id="zip-with-zstd",
        ),
        pytest.param(
            "data.zip", claim_method(make_zip(FLOWERS), 98), "not read: PPMd", id="zip-with-ppmd"
        ),
        pytest.param(
            "data.zip",
            say_second_disk(make_zip(FLOWERS)),
            "one part of an archive",
            id="zip-volume",
        ),
        pytest.param(
            "data.tar.gz",
            gzip.compress(make_tar(FLOWERS, "w:gz")),
            "compressed once more, by gzip",
            id="tar-gz-compressed-again",
        ),
        pytest.param(
            "data.tar.xz",
            lzma.compress(make_zip(FLOWERS)),
            "compressed once more, by xz",
            id="zip-compressed-as-tar-xz",
        ),
        pytest.param(
            "data.tgz", gzip.compress(b"<html>Sign in"), "a web page", id="web-page-in-tgz"
        ),
        pytest.param(
            "data.zip", b"Rar!\x1a\x07\x01\0" + bytes(99), "a RAR archive", id="rar-as-zip"
        ),
        pytest.param(
            "data.zip", b"7z\xbc\xaf\x27\x1c" + bytes(99), "a 7-Zip archive", id="7z-as-zip"
        ),
        pytest.param("data.tar.gz", b"\x04\x22\x4d\x18" + bytes(99), "lz4", id="lz4-as-gz"),
        *(
            pytest.param(name, magic + bytes(99), message, id=case)
            for case, name, magic, message in (
                ("cabinet-as-zip", "data.zip", b"MSCF", "a Cabinet archive"),
                ("debian-package-as-tar", "data.tar", b"!<arch>\n", "a Debian package"),
                ("cpio-as-tar", "data.tar", b"070701", "a CPIO archive"),
                ("lzip-as-tar", "data.tar", b"LZIP", "compressed by lzip"),
                ("lzma-as-xz", "data.tar.xz", b"\x5d\0\0\x80", "compressed by lzma"),
                ("image-as-zip", "data.zip", b"\xff\xd8\xff", "a JPEG image"),
                ("hdf5-as-zip", "data.zip", b"\x89HDF", "an HDF5 file"),
                ("parquet-as-tar", "data.tar", b"PAR1", "a Parquet file"),
                ("git-lfs-pointer-as-zip", "data.zip", b"version https://git-lfs", "Git LFS"),
                ("web-page-as-zip", "data.zip", b"<!DOCTYPE html><title>Sign in", "a web page"),
                ("web-page-after-lines-as-tar", "data.tar", b"\r\n\r\n<html>", "a web page"),
                ("database-as-zip", "data.zip", b"SQLite format 3\0", "a SQLite database"),
                ("error-of-a-store-as-zip", "data.zip", b"<?xml", "XML, such as the error"),
                ("error-of-a-server-as-zip", "data.zip", b'{"error"', "JSON, such as the error"),
            )
        ),
    ],
)
def test_a_kind_that_is_not_read_is_told_as_that_and_not_as_damage(
    name: str, content: bytes, message: str, fetch_file: Callable[..., Dataset], tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        fetch_file(name, content)
    assert "damaged" not in caught.value.message
    assert caught.value.cure
    require_nothing_half_written(tmp_path / "cache")


def encrypt(data: bytes) -> bytes:
    """The ZIP with the flags of encryption. Nobody looks at the content."""
    changed = bytearray(data)
    for magic, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = 0
        while (start := changed.find(magic, start)) >= 0:
            changed[start + at] |= 1
            start += 4
    return bytes(changed)


def add_again(files: Mapping[str, bytes], name: str) -> bytes:
    """What `tar -r` makes of a file that was added before."""
    buffer = io.BytesIO(make_tar(files))
    with tarfile.open(fileobj=buffer, mode="a") as archive:
        archive.addfile(tarfile.TarInfo(name))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "problem", "cure"),
    [
        pytest.param(
            "data.zip", encrypt(make_zip(FLOWERS)), "is encrypted", "without a password",
            id="zip-with-a-password",
        ),
        pytest.param(
            "data.zip",
            make_zip({"train.zip": encrypt(make_zip(FLOWERS))}),
            "is encrypted",
            "without a password",
            id="inner-zip-with-a-password",
        ),
        pytest.param(
            "data.tar", add_again(FLOWERS, "rose/1.jpg"), "rose/1.jpg occurs twice",
            "into a new archive", id="tar-that-was-updated",
        ),
        pytest.param(
            "data.zip",
            make_zip({f"D:{name}": content for name, content in FLOWERS.items()}),
            "D:rose/1.jpg has an absolute name",
            "with relative names",
            id="names-with-a-drive",
        ),
        pytest.param(
            "data.tar", make_tar(FLOWERS, "w", make_link("rose/2.jpg", "", b"M")),
            "goes on in another volume", "Pack only", id="tar-in-several-volumes",
        ),
    ],
)  # fmt: skip
def test_members_that_are_not_read_say_what_to_do(
    name: str, content: bytes, problem: str, cure: str, fetch_file: Callable[..., Dataset]
) -> None:
    with pytest.raises(DatasetError) as caught:
        fetch_file(name, content)
    assert problem in caught.value.problems[0]
    assert cure in caught.value.cure


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("a.tar", make_tar(FLOWERS) + make_tar(FLOWERS), id="two-tars-by-cat"),
        pytest.param(
            "a.tar.gz", make_tar(FLOWERS, "w:gz") + make_tar(FLOWERS, "w:gz"), id="two-tgz-by-cat"
        ),
    ],
)
def test_an_archive_behind_another_one_is_not_lost_in_silence(
    name: str, content: bytes, fetch_file: Callable[..., Dataset]
) -> None:
    with pytest.raises(DatasetError, match="another archive is behind its end mark"):
        fetch_file(name, content)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(
            make_tar({}, "w", make_link("BACKUP", "", b"V"))[:512] + make_tar(FLOWERS),
            id="tar-with-a-label",
        ),
        pytest.param(make_tar(FLOWERS) + bytes(99 * 512), id="tar-with-zeros-behind"),
    ],
)
def test_what_belongs_to_no_file_of_a_tar_is_passed_over(
    content: bytes, fetch_file: Callable[..., Dataset]
) -> None:
    assert read_all(fetch_file("data.tar", content)) == FLOWERS


def test_zstd_is_read_where_python_has_it_and_else_named(
    fetch_file: Callable[..., Dataset],
) -> None:
    zstd = find_zstd()
    if zstd is None:
        # The magic, and an empty block.
        content = bytes.fromhex("28b52ffd2000010000")
        with pytest.raises(DatasetError, match="zstd, which this Python cannot read"):
            fetch_file("data.tar.zst", content)
        return
    content = zstd.compress(make_tar(FLOWERS))
    assert read_all(fetch_file("data.tar.zst", content)) == FLOWERS
    with pytest.raises(DatasetError, match="damaged or cut short"):
        fetch_file("cut.tar.zst", content[:-9])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("data.tar.bz2", make_tar(FLOWERS, "w:bz2")[:-20], id="tar-bz2-cut-short"),
        pytest.param("data.tar.xz", make_tar(FLOWERS, "w:xz")[:-20], id="tar-xz-cut-short"),
        pytest.param("data.zip", make_zip(FLOWERS)[:-20], id="zip-cut-short"),
        pytest.param("data.tar.bz2", bz2.compress(b"no tar" * 99), id="bz2-of-something-else"),
        pytest.param("data.tar.xz", lzma.compress(b"no tar" * 99), id="xz-of-something-else"),
        pytest.param("data.zip", b"", id="empty-file-as-zip"),
        pytest.param(
            "data.zip",
            make_zip({"train.zip": make_zip(FLOWERS)[:-30], "test.zip": make_zip(FLOWERS)}),
            id="inner-archive-cut-short",
        ),
    ],
)  # fmt: skip
def test_a_damaged_archive_leaves_nothing_half_written(
    name: str, content: bytes, fetch_file: Callable[..., Dataset], tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match="damaged or cut short") as caught:
        fetch_file(name, content)
    assert caught.value.exit_code == 3
    require_nothing_half_written(tmp_path / "cache")


def test_an_image_that_rots_inside_leaves_only_whole_objects(
    fetch_file: Callable[..., Dataset], tmp_path: Path
) -> None:
    content = bytearray(make_zip({**FLOWERS, "tulip/3.jpg": bytes(range(256)) * 9}))
    # In the middle of the last member's content.
    content[content.index(b"tulip/3.jpg") + 150] ^= 0xFF
    with pytest.raises(DatasetError, match="damaged or cut short"):
        fetch_file("data.zip", bytes(content))
    require_nothing_half_written(tmp_path / "cache")


def test_an_archive_as_folders_are_shows_the_tree_and_the_setting(
    fetch_file: Callable[..., Dataset],
) -> None:
    files = {f"fold{n}/{label}/{n}.jpg": b"%d" % n for n in (1, 2) for label in ("cat", "dog")}
    with pytest.raises(DatasetError, match="fold1; fold2 hold the same folders") as caught:
        fetch_file("data.zip", make_zip(files))
    assert "fold1/cat/ with 1 file" in caught.value.problems
    data = fetch_file("data.zip", make_zip(files), class_depth=2)
    assert {record.label for record in data.records} == {"cat", "dog"}


def test_macos_archives_have_shadows_that_are_no_images(fetch_file: Callable[..., Dataset]) -> None:
    shadows = {f"__MACOSX/flowers/{name.replace('/', '/._')}": b"x" for name in FLOWERS}
    wrapped = {f"flowers/{name}": content for name, content in FLOWERS.items()}
    data = fetch_file("data.zip", make_zip({**wrapped, **shadows, "flowers/.DS_Store": b"x"}))
    assert count(data) == {"- rose": 1, "- daisy": 1}
    assert json.dumps(data.notes) == '["stepped into the folder flowers"]'
