import gzip
import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from job.dataset import archive
from job.errors import DatasetError

IMAGES = {"rose/1.jpg": b"rose one", "daisy/2.jpg": b"daisy two" * 300}


def contents(path: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    names = {member.name for member in archive.list_members(path, path.name)}
    archive.unpack(path, path.name, names, lambda name, stream: found.update({name: stream.read()}))
    return found


@pytest.mark.parametrize("name", ["data.tar", "data.tar.gz", "data.TGZ"])
def test_a_tar_gives_its_files(tar: Callable[..., Path], name: str) -> None:
    assert contents(tar(IMAGES, name=name)) == IMAGES


def test_a_tar_that_is_compressed_without_saying_so_gives_its_files(
    tar: Callable[..., Path],
) -> None:
    path = tar(IMAGES, name="data.tar.gz")
    assert contents(path.rename(path.with_name("data.tar"))) == IMAGES


def test_a_zip_gives_its_files(zipped: Callable[..., Path]) -> None:
    assert contents(zipped(IMAGES)) == IMAGES


def test_sizes_are_known_before_anything_is_unpacked(
    tar: Callable[..., Path], zipped: Callable[..., Path]
) -> None:
    sizes = {name: len(content) for name, content in IMAGES.items()}
    for path in (tar(IMAGES), zipped(IMAGES)):
        assert {
            member.name: member.size for member in archive.list_members(path, path.name)
        } == sizes


def test_names_are_normalised_and_folders_are_not_files(
    tar: Callable[..., Path], zipped: Callable[..., Path]
) -> None:
    folder = tarfile.TarInfo("./rose")
    folder.type = tarfile.DIRTYPE
    assert list(contents(tar({"./rose//1.jpg": b"x"}, folder))) == ["rose/1.jpg"]
    assert list(contents(zipped({"rose/": b"", "./rose/1.jpg": b"x"}))) == ["rose/1.jpg"]


def test_only_what_is_wanted_is_read(tar: Callable[..., Path]) -> None:
    seen = []
    archive.unpack(
        path := tar(IMAGES), path.name, {"rose/1.jpg"}, lambda name, _: seen.append(name)
    )
    assert seen == ["rose/1.jpg"]


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("../evil.jpg", "leads outside with '..'"),
        ("rose/../../evil.jpg", "leads outside with '..'"),
        ("rose\\..\\..\\evil.jpg", "leads outside with '..'"),
        ("/etc/evil.jpg", "has an absolute name"),
        ("C:/evil.jpg", "has an absolute name"),
        ("C:\\evil.jpg", "has an absolute name"),
        ("\\\\host\\evil.jpg", "has an absolute name"),
        ("rose/./1.jpg", "occurs twice"),
    ],
)
def test_a_name_that_is_not_safe_refuses_the_archive(
    tar: Callable[..., Path], zipped: Callable[..., Path], name: str, fault: str
) -> None:
    for path in (tar({**IMAGES, name: b"x"}), zipped({**IMAGES, name: b"x"})):
        with pytest.raises(DatasetError) as caught:
            archive.list_members(path, path.name)
        assert caught.value.problems == (f"{name} {fault}",)


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        (tarfile.SYMTYPE, "is a link to /etc/passwd, outside the archive"),
        (tarfile.LNKTYPE, "is a link to /etc/passwd, outside the archive"),
        (tarfile.CHRTYPE, "is a device"),
        (tarfile.BLKTYPE, "is a device"),
        (tarfile.FIFOTYPE, "is a device"),
    ],
)
def test_a_link_outside_or_a_device_refuses_the_tar(
    tar: Callable[..., Path], kind: bytes, problem: str
) -> None:
    member = tarfile.TarInfo("rose/link.jpg")
    member.type, member.linkname = kind, "/etc/passwd"
    with pytest.raises(DatasetError) as caught:
        archive.list_members(path := tar(IMAGES, member), path.name)
    assert caught.value.problems == (f"rose/link.jpg {problem}",)


@pytest.mark.parametrize(
    ("mode", "problem"),
    [
        (stat.S_IFLNK, "is a link to /etc/passwd, outside the archive"),
        (stat.S_IFCHR, "is a device"),
        (stat.S_IFIFO, "is a device"),
    ],
)
def test_a_link_outside_or_a_device_refuses_the_zip(
    zipped: Callable[..., Path], mode: int, problem: str
) -> None:
    member = zipfile.ZipInfo("rose/link.jpg")
    member.external_attr = (mode | 0o777) << 16
    with pytest.raises(DatasetError) as caught:
        archive.list_members(path := zipped({member: b"/etc/passwd"}), path.name)
    assert caught.value.problems == (f"rose/link.jpg {problem}",)


def test_an_encrypted_zip_is_refused(zipped: Callable[..., Path]) -> None:
    path = zipped({"rose/1.jpg": b"x"})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(DatasetError, match="is encrypted"):
        archive.list_members(path, path.name)


def test_all_unsafe_members_are_named_up_to_a_few(tar: Callable[..., Path]) -> None:
    path = tar({f"../{number}.jpg": b"x" for number in range(8)})
    with pytest.raises(DatasetError) as caught:
        archive.list_members(path, path.name)
    assert len(caught.value.problems) == 6
    assert caught.value.problems[-1] == "and 3 more"


def test_a_bomb_is_refused_by_what_it_says_of_itself(
    tmp_path: Path, zipped: Callable[..., Path]
) -> None:
    bomb = tmp_path / "bomb.tar.gz"
    info = tarfile.TarInfo("rose/1.bmp")
    info.size = 1 << 40
    bomb.write_bytes(gzip.compress(info.tobuf()))
    for path in (bomb, zipped({"rose/1.bmp": bytes(101 << 20)}, name="bomb.zip")):
        with pytest.raises(DatasetError, match="more than 100 times its own"):
            archive.list_members(path, path.name)


def test_too_many_members_are_a_bomb(
    tar: Callable[..., Path], zipped: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "MAX_MEMBERS", 9)
    files = {f"rose/{number}.jpg": b"" for number in range(10)}
    for path in (tar(files), zipped(files)):
        with pytest.raises(DatasetError, match="more than 9 members"):
            archive.list_members(path, path.name)


def test_a_header_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("PaxHeaders/x")
    info.type, info.size = tarfile.XHDTYPE, 1 << 33
    path = tmp_path / "bomb.tar.gz"
    path.write_bytes(gzip.compress(info.tobuf(tarfile.GNU_FORMAT)))
    with pytest.raises(DatasetError, match="a header of 8,589,934,592 bytes"):
        archive.list_members(path, path.name)


def test_a_size_below_zero_does_not_send_the_reader_round_in_circles(tmp_path: Path) -> None:
    info = tarfile.TarInfo("rose/1.jpg")
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = b"\xff" * 10 + b"\xfc\x00"  # -1024
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    path = tmp_path / "round.tar"
    path.write_bytes(bytes(block) * 3 + bytes(1024))
    with pytest.raises(DatasetError, match="damaged"):
        archive.list_members(path, path.name)


@pytest.mark.parametrize("name", ["data.tar", "data.tar.gz", "data.zip"])
@pytest.mark.parametrize("keep", [0, 1, 100, 600, 0.5, 0.9, 0.99])
def test_an_archive_cut_short_anywhere_is_refused(
    tar: Callable[..., Path], zipped: Callable[..., Path], name: str, keep: float
) -> None:
    path = (zipped if name.endswith("zip") else tar)(IMAGES, name=name)
    data = path.read_bytes()
    cut = keep if isinstance(keep, int) else int(len(data.rstrip(b"\0")) * keep)
    path.write_bytes(data[: min(cut, len(data) - 1)])
    with pytest.raises(DatasetError, match="damaged or cut short"):
        contents(path)


def test_a_tar_cut_between_two_members_is_refused(tar: Callable[..., Path]) -> None:
    path = tar(IMAGES)
    path.write_bytes(path.read_bytes()[:1024])
    with pytest.raises(DatasetError, match="its end mark is missing"):
        archive.list_members(path, path.name)


def test_a_tar_that_goes_on_and_on_after_its_end_is_refused(tar: Callable[..., Path]) -> None:
    path = tar(IMAGES)
    path.write_bytes(
        gzip.compress(path.read_bytes() + bytes(archive.HARMLESS_BYTES), compresslevel=1)
    )
    with pytest.raises(DatasetError, match="goes on after its end mark"):
        archive.list_members(path, path.name)


@pytest.mark.parametrize("name", ["data.tar", "data.tar.gz", "data.zip"])
def test_something_else_by_the_name_of_an_archive_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"<html>404 Not Found</html>" * 100)
    with pytest.raises(DatasetError, match="is not an archive, but a web page"):
        archive.list_members(path, name)


def _archives() -> list[tuple[str, bytes]]:
    tarred, zipped = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=tarred, mode="w") as file:
        for name, content in IMAGES.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in IMAGES.items():
            packed.writestr(name, content)
    whole = tarred.getvalue()
    return [
        ("data.tar", whole),
        ("data.tgz", gzip.compress(whole)),
        ("data.zip", zipped.getvalue()),
    ]


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.sampled_from(_archives()), st.data())
def test_damage_anywhere_is_an_error_of_ours_or_harmless(
    tmp_path: Path, sample: tuple[str, bytes], data: st.DataObject
) -> None:
    name, content = sample
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / name
    path.write_bytes(damaged)
    try:
        found = contents(path)
    except DatasetError:
        return
    assert all(".." not in member.split("/") for member in found)
