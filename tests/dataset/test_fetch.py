import dataclasses
import hashlib
import json
import logging
import os
import threading
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from job import storage
from job.dataset import Dataset, Listing
from job.dataset.cache import open_cache
from job.dataset.image_manifest.labels import is_missing_word, parse_label
from job.errors import DatasetError, Interrupted, StoreUnavailable, TemporaryError
from job.storage import Store
from tests.conftest import Fault, FaultyProxy
from tests.dataset.conftest import Progress

FLOWERS = {
    "rose/1.jpg": b"one" * 500,
    "daisy/2.jpg": b"two" * 400,
    "daisy/deep/3.jpg": b"three" * 300,
}


def fill(uri: str, files: Mapping[str, bytes]) -> Store:
    store = storage.connect(uri)
    for name, content in files.items():
        store.write(name, content)
    return store


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def seen(dataset: Dataset) -> dict[str, tuple[str, bytes]]:
    return {record.name: (record.label, record.path.read_bytes()) for record in dataset.records}


def objects(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / "objects").glob("??/*"))


def gets(proxy: FaultyProxy) -> list[str]:
    return [
        path for method, path, _ in proxy.requests if method == "GET" and "list-type" not in path
    ]


EXPECTED = {name: (name.split("/")[0], content) for name, content in FLOWERS.items()}


def test_images_of_a_bucket_arrive_under_the_digest_of_their_content(
    bucket: str, fetch_uri: Callable[..., Dataset], tmp_path: Path, progress: Progress
) -> None:
    fill(f"{bucket}/flowers", {**FLOWERS, "flowers.txt": b"no image"})
    dataset = fetch_uri(f"{bucket}/flowers")
    assert seen(dataset) == EXPECTED
    assert objects(tmp_path / "cache") == sorted(map(sha256, FLOWERS.values()))
    assert dataset.ignored == ("flowers.txt",)
    assert progress.calls[-1] == (3, 3, "images")
    assert list(tmp_path.iterdir()) == [tmp_path / "cache"]
    assert list((tmp_path / "cache/incoming/0").iterdir()) == []


def test_records_are_sorted_by_class_and_content(
    plant: Callable[..., Path], fetch_uri: Callable[..., Dataset]
) -> None:
    records = fetch_uri(plant(FLOWERS).as_uri()).records
    assert list(records) == sorted(
        records, key=lambda record: (record.label, record.sha256, record.name)
    )
    assert all(record.sha256 == sha256(FLOWERS[record.name]) for record in records)
    assert all(record.size == len(FLOWERS[record.name]) for record in records)


def test_an_unchanged_object_is_not_fetched_again(
    bucket: str, faulty: FaultyProxy, fetch_uri: Callable[..., Dataset]
) -> None:
    store = fill(bucket, FLOWERS)
    first = fetch_uri(bucket)
    assert len(gets(faulty)) == 3
    assert fetch_uri(bucket) == first
    assert len(gets(faulty)) == 3
    store.write("rose/1.jpg", b"another")
    assert seen(fetch_uri(bucket))["rose/1.jpg"] == ("rose", b"another")
    assert len(gets(faulty)) == 4


@pytest.mark.parametrize(
    "harm", [lambda path: path.unlink(), lambda path: path.write_bytes(b"cut")]
)
def test_a_cached_file_that_was_lost_or_cut_short_is_fetched_again(
    bucket: str, fetch_uri: Callable[..., Dataset], harm: Callable[[Path], object]
) -> None:
    fill(bucket, FLOWERS)
    before = fetch_uri(bucket)
    harm(before.records[0].path)
    assert seen(fetch_uri(bucket)) == EXPECTED


def test_a_folder_is_read_in_place_and_hashed_once(
    plant: Callable[..., Path], fetch_uri: Callable[..., Dataset], tmp_path: Path
) -> None:
    folder = plant(FLOWERS)
    dataset = fetch_uri(folder.as_uri())
    assert seen(dataset) == EXPECTED
    assert all(record.path == folder / record.name for record in dataset.records)
    assert objects(tmp_path / "cache") == []
    (index,) = (tmp_path / "cache/index").glob("*/*.jsonl")
    assert len(index.read_text().splitlines()) == 3
    assert fetch_uri(folder.as_uri()) == dataset
    assert list((tmp_path / "cache/index").glob("*/*.jsonl")) == [index]


def test_a_folder_with_a_strange_name_is_read_in_place(
    plant: Callable[..., Path], fetch_uri: Callable[..., Dataset]
) -> None:
    assert seen(fetch_uri(plant(FLOWERS, "ü #%41 ?x").as_uri())) == EXPECTED


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_bytes(b"x"),
        lambda path: os.utime(path, (1, 1)),
        lambda path: path.unlink(),
    ],
)
def test_a_file_that_changed_since_it_was_listed_is_worth_a_retry(
    plant: Callable[..., Path],
    fetch_uri: Callable[..., Dataset],
    survey_uri: Callable[[str], Listing],
    change: Callable[[Path], object],
) -> None:
    folder = plant(FLOWERS)
    listing = survey_uri(folder.as_uri())
    change(folder / "rose/1.jpg")
    with pytest.raises(TemporaryError, match=r"changed while it was read.*rose/1\.jpg") as caught:
        fetch_uri(folder.as_uri(), listing=listing)
    assert caught.value.exit_code == 75


def test_a_file_that_cannot_be_read_is_an_error_of_the_data_set(
    plant: Callable[..., Path],
    fetch_uri: Callable[..., Dataset],
    survey_uri: Callable[[str], Listing],
) -> None:
    folder = plant(FLOWERS)
    listing = survey_uri(folder.as_uri())
    (folder / "rose/1.jpg").unlink()
    (folder / "rose/1.jpg").mkdir()
    with pytest.raises(DatasetError, match=r"Cannot read .*rose/1\.jpg: Is a directory"):
        fetch_uri(folder.as_uri(), listing=listing)


@pytest.mark.parametrize(
    "change", [lambda store: store.write("rose/1.jpg", b"x"), lambda store: store.delete("rose")]
)
def test_an_object_that_changed_since_it_was_listed_is_worth_a_retry(
    bucket: str,
    fetch_uri: Callable[..., Dataset],
    survey_uri: Callable[[str], Listing],
    change: Callable[[Store], object],
) -> None:
    store = fill(bucket, FLOWERS)
    listing = survey_uri(bucket)
    change(store)
    with pytest.raises(TemporaryError, match="changed while it was read") as caught:
        fetch_uri(bucket, listing=listing)
    assert caught.value.cure


def test_an_object_that_may_not_be_read_is_an_error_of_the_data_set(
    bucket: str,
    faulty: FaultyProxy,
    fetch_uri: Callable[..., Dataset],
    survey_uri: Callable[[str], Listing],
) -> None:
    fill(bucket, FLOWERS)
    listing = survey_uri(bucket)
    faulty.fail("GET", status=403, code="AccessDenied")
    with pytest.raises(DatasetError, match="Cannot read the data set"):
        fetch_uri(bucket, listing=listing)


def test_bytes_that_changed_on_the_way_never_get_a_name(
    bucket: str,
    faulty: FaultyProxy,
    fetch_uri: Callable[..., Dataset],
    survey_uri: Callable[[str], Listing],
    tmp_path: Path,
) -> None:
    fill(bucket, FLOWERS)
    listing = survey_uri(bucket)
    faulty.fail("GET", change_body=b"XX")
    with pytest.raises(StoreUnavailable):
        fetch_uri(bucket, listing=listing)
    assert objects(tmp_path / "cache") == []


def test_what_had_arrived_before_the_store_went_away_is_kept(
    bucket: str,
    faulty: FaultyProxy,
    fetch_uri: Callable[..., Dataset],
    survey_uri: Callable[[str], Listing],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill(bucket, {f"rose/{number}.jpg": bytes([number]) * 100 for number in range(30)})
    listing = survey_uri(bucket)
    with monkeypatch.context() as away:
        away.setattr(faulty, "next_fault", _away_after(faulty, 15))
        with pytest.raises(StoreUnavailable):
            fetch_uri(bucket, listing=listing)
    arrived = len(objects(tmp_path / "cache"))
    assert 0 < arrived < 30
    before = len(gets(faulty))
    assert len(fetch_uri(bucket, listing=listing).records) == 30
    assert len(gets(faulty)) - before == 30 - arrived


def _away_after(proxy: FaultyProxy, answers: int) -> Callable[[str], Fault]:
    """A store that goes away for good after so many answers."""
    usual, count, lock = proxy.next_fault, [0], threading.Lock()

    def next_fault(method: str) -> Fault:
        with lock:
            count[0] += method == "GET"
        fault = usual(method)
        if count[0] > answers:
            fault.status, fault.code = 503, "SlowDown"
        return fault

    return next_fault


def test_a_replaced_run_continues_an_incomplete_archive(
    bucket: str,
    faulty: FaultyProxy,
    fetch_uri: Callable[..., Dataset],
    survey_uri: Callable[[str], Listing],
    tar: Callable[..., Path],
) -> None:
    path = tar({"rose/1.jpg": os.urandom(1 << 20), "daisy/2.jpg": b"2"})
    storage.connect(bucket).upload("a.tar", path)
    listing = survey_uri(f"{bucket}/a.tar")
    faulty.fail("GET", times=1, cut_after_bytes=700_000)
    faulty.fail("GET", times=20, status=503, code="SlowDown")
    with pytest.raises(StoreUnavailable):
        fetch_uri(f"{bucket}/a.tar", listing=listing)
    faulty.faults.clear()
    faulty.requests.clear()
    assert len(fetch_uri(f"{bucket}/a.tar", listing=listing).records) == 2
    assert [headers["Range"] for headers in faulty.asked("GET")] != [None]


def test_an_interruption_cancels_what_has_not_begun(
    bucket: str,
    fetch_uri: Callable[..., Dataset],
    progress: Progress,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill(bucket, {f"rose/{number}.jpg": bytes([number]) for number in range(40)})

    def stop(*_: object) -> NoReturn:
        raise Interrupted("SIGTERM")

    monkeypatch.setattr(progress, "emit", stop)
    with pytest.raises(Interrupted):
        fetch_uri(bucket)
    assert len(objects(tmp_path / "cache")) < 40


def test_two_runs_at_once_share_a_cache(
    bucket: str, fetch_uri: Callable[..., Dataset], tmp_path: Path
) -> None:
    fill(bucket, {f"rose/{number}.jpg": bytes([number]) * 999 for number in range(12)})
    found = []
    runs = [threading.Thread(target=lambda: found.append(fetch_uri(bucket))) for _ in range(3)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert len(found) == 3
    assert found[0] == found[1] == found[2]
    assert len(objects(tmp_path / "cache")) == 12


@pytest.mark.parametrize("name", ["flowers.tar", "flowers.tar.gz", "flowers.zip"])
def test_an_archive_of_a_folder_arrives_like_the_folder(
    tar: Callable[..., Path],
    zipped: Callable[..., Path],
    fetch_uri: Callable[..., Dataset],
    plant: Callable[..., Path],
    name: str,
) -> None:
    path = (zipped if name.endswith("zip") else tar)(
        {f"flowers/{key}": value for key, value in FLOWERS.items()}, name=name
    )
    dataset = fetch_uri(path.as_uri())
    assert seen(dataset) == {f"flowers/{key}": value for key, value in EXPECTED.items()}
    assert dataset.digest == fetch_uri(plant(FLOWERS).as_uri()).digest


def test_an_archive_is_fetched_and_unpacked_once(
    bucket: str,
    faulty: FaultyProxy,
    fetch_uri: Callable[..., Dataset],
    zipped: Callable[..., Path],
    tmp_path: Path,
) -> None:
    storage.connect(bucket).upload("a.zip", zipped({**FLOWERS, "rose/readme.txt": b"x"}))
    first = fetch_uri(f"{bucket}/a.zip")
    assert first.ignored == ("rose/readme.txt",)
    assert len(gets(faulty)) == 1
    assert fetch_uri(f"{bucket}/a.zip") == first
    assert len(gets(faulty)) == 1
    assert list((tmp_path / "cache/incoming/0").iterdir()) == []
    first.records[0].path.unlink()
    assert fetch_uri(f"{bucket}/a.zip") == first
    assert len(gets(faulty)) == 2


def test_a_table_of_contents_that_rotted_is_not_believed(
    fetch_uri: Callable[..., Dataset], zipped: Callable[..., Path], tmp_path: Path
) -> None:
    uri = zipped(FLOWERS).as_uri()
    first = fetch_uri(uri)
    (table,) = set(objects(tmp_path / "cache")) - {record.sha256 for record in first.records}
    path = tmp_path / "cache/objects" / table[:2] / table
    path.write_bytes(path.read_bytes().replace(b"daisy", b"DAISY"))
    assert fetch_uri(uri) == first


def test_an_archive_that_changes_while_it_is_unpacked_is_not_remembered(
    fetch_uri: Callable[..., Dataset],
    zipped: Callable[..., Path],
    progress: Progress,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = zipped(FLOWERS)
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(progress, "emit", lambda *_: os.utime(path, (1, 1)))
        with pytest.raises(TemporaryError, match="changed while it was read"):
            fetch_uri(path.as_uri())
    progress.calls.clear()
    assert len(fetch_uri(path.as_uri()).records) == 3
    assert len(progress.calls) == 3


def test_a_file_that_arrived_whole_just_before_a_run_died_is_not_fetched_again(
    bucket: str,
    faulty: FaultyProxy,
    fetch_uri: Callable[..., Dataset],
    survey_uri: Callable[[str], Listing],
    tmp_path: Path,
) -> None:
    fill(bucket, {"rose/1.jpg": b"one"})
    listing = survey_uri(bucket)
    with open_cache(tmp_path / "cache", None, listing.root) as cache:
        arrival = cache.incoming_path(listing.entries[0])
    arrival.write_bytes(b"one")
    assert seen(fetch_uri(bucket, listing=listing)) == {"rose/1.jpg": ("rose", b"one")}
    assert gets(faulty) == []


def test_a_file_that_a_power_cut_cut_short_before_it_was_kept_is_fetched_again(
    bucket: str,
    fetch_uri: Callable[..., Dataset],
    survey_uri: Callable[[str], Listing],
    tmp_path: Path,
) -> None:
    fill(bucket, {"rose/1.jpg": b"one"})
    listing = survey_uri(bucket)
    with open_cache(tmp_path / "cache", None, listing.root) as cache:
        arrival = cache.incoming_path(listing.entries[0])
    arrival.write_bytes(b"")
    assert seen(fetch_uri(bucket, listing=listing)) == {"rose/1.jpg": ("rose", b"one")}


def test_an_archive_that_changed_since_it_was_listed_is_worth_a_retry(
    fetch_uri: Callable[..., Dataset],
    survey_uri: Callable[[str], Listing],
    zipped: Callable[..., Path],
) -> None:
    listing = survey_uri(zipped(FLOWERS).as_uri())
    uri = zipped({**FLOWERS, "rose/4.jpg": b"new"}).as_uri()
    with pytest.raises(TemporaryError, match="changed while it was read"):
        fetch_uri(uri, listing=listing)
    assert len(fetch_uri(uri).records) == 4


def test_a_part_of_a_listing_can_be_fetched(
    plant: Callable[..., Path],
    fetch_uri: Callable[..., Dataset],
    survey_uri: Callable[[str], Listing],
) -> None:
    listing = survey_uri(plant(FLOWERS).as_uri())
    sample = dataclasses.replace(listing, entries=listing.entries[:1])
    assert [record.name for record in fetch_uri(listing.uri, listing=sample).records] == [
        "daisy/2.jpg"
    ]


def test_an_unsafe_archive_leaves_nothing_behind(
    tar: Callable[..., Path], fetch_uri: Callable[..., Dataset], tmp_path: Path
) -> None:
    path = tar({**FLOWERS, "../../evil.jpg": b"x"})
    with pytest.raises(DatasetError, match="not plain files inside it"):
        fetch_uri(path.as_uri())
    assert objects(tmp_path / "cache") == []
    assert not list(tmp_path.parent.rglob("evil.jpg"))


def test_an_archive_without_any_class_shows_what_is_in_it(
    tar: Callable[..., Path], fetch_uri: Callable[..., Dataset]
) -> None:
    with pytest.raises(DatasetError, match=r"Found: 1\.jpg; 2\.jpg"):
        fetch_uri(tar({"1.jpg": b"1", "2.jpg": b"2"}).as_uri())


def test_an_archive_member_with_an_unprintable_name_is_shown_escaped(
    tar: Callable[..., Path], fetch_uri: Callable[..., Dataset]
) -> None:
    name = b"rose/\xff\n.jpg".decode("utf-8", "surrogateescape")
    assert [record.name for record in fetch_uri(tar({name: b"x"}).as_uri()).records] == [
        "rose/\\udcff\\n.jpg"
    ]


def test_a_manifest_gives_split_and_group(
    plant: Callable[..., Path], fetch_uri: Callable[..., Dataset]
) -> None:
    rows = [
        {"image": "rose/1.jpg", "label": "x", "split": "train", "group": "p1"},
        {"image": "daisy/2.jpg", "label": "y", "split": "test"},
    ]
    folder = plant({**FLOWERS, "m.jsonl": "\n".join(map(json.dumps, rows)).encode()})
    records = fetch_uri(f"{folder.as_uri()}/m.jsonl").records
    assert [(r.name, r.label, r.split, r.group) for r in records] == [
        ("rose/1.jpg", "x", "train", "p1"),
        ("daisy/2.jpg", "y", "test", None),
    ]


def test_ignored_files_are_counted_and_the_first_are_named(
    plant: Callable[..., Path], fetch_uri: Callable[..., Dataset], caplog: pytest.LogCaptureFixture
) -> None:
    folder = plant(FLOWERS | {f"note-{number}.txt": b"" for number in range(7)})
    with caplog.at_level(logging.WARNING, "job.dataset"):
        fetch_uri(folder.as_uri())
    assert "7 files are not images" in caplog.text
    assert "note-4.txt; and 2 more" in caplog.text


# The content decides, not where it comes from.


@pytest.fixture
def digest_of(fetch_uri: Callable[..., Dataset]) -> Callable[..., str]:
    return lambda uri, **more: fetch_uri(uri, **more).digest


def test_the_digest_knows_class_content_split_and_group_but_no_names(
    plant: Callable[..., Path], digest_of: Callable[..., str]
) -> None:
    one = digest_of(plant({"rose/1.jpg": b"1", "daisy/2.jpg": b"2"}, "a").as_uri())
    assert digest_of(plant({"daisy/x/b.png": b"2", "rose/a": b"1"}, "b").as_uri()) == one
    others = [
        plant({"rose/1.jpg": b"1", "daisy/2.jpg": b"3"}, "c").as_uri(),
        plant({"rose/1.jpg": b"1", "iris/2.jpg": b"2"}, "d").as_uri(),
        plant({"rose/1.jpg": b"1", "rose/3.jpg": b"1", "daisy/2.jpg": b"2"}, "e").as_uri(),
        plant({"train/rose/1.jpg": b"1", "train/daisy/2.jpg": b"2"}, "f").as_uri(),
        plant(
            {"1": b"1", "2": b"2", "m.csv": b"image,label,group\n1,rose,g\n2,daisy,\n"}, "g"
        ).as_uri()
        + "/m.csv",
    ]
    assert len({one, *map(digest_of, others)}) == 6


LABELS = st.text(
    st.characters(exclude_categories=["C"], exclude_characters="/\\,\"'"), min_size=1, max_size=6
).filter(
    lambda label: (
        not label.startswith(".")
        and label == label.strip()
        and unicodedata.is_normalized("NFC", label)
        # In a table `[]` is an empty list, and `?` is no label.
        and parse_label(label) == label
        and not is_missing_word(label)
    )
)
IMAGES = st.lists(
    st.tuples(LABELS, st.binary(max_size=20), st.sampled_from(["train", "val", "test"])),
    min_size=1,
    max_size=8,
)


@settings(
    max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(IMAGES, st.booleans())
def test_folder_bucket_archive_and_manifest_of_the_same_images_have_one_digest(
    bucket: str,
    fetch_uri: Callable[..., Dataset],
    tar: Callable[..., Path],
    zipped: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
    images: list[tuple[str, bytes, str]],
    split: bool,
) -> None:
    images = [("a", b"first", "train"), ("b", b"second", "train"), *images]
    # A part without any class of train is refused, and so are names that look alike.
    images += [("a", b"third", part) for part in ("val", "test")]
    labels = {label for label, _, _ in images}
    assume(
        len({unicodedata.normalize("NFKC", label).casefold() for label in labels}) == len(labels)
    )
    folder = tmp_path_factory.mktemp("same")
    files = {
        f"{part}/{label}/{number}.jpg" if split else f"{label}/{number}.jpg": content
        for number, (label, content, part) in enumerate(images)
    }
    rows = [
        {"image": name, "label": label, "split": part if split else None}
        for name, (label, _, part) in zip(files, images, strict=True)
    ]
    prefix = f"{bucket}/{folder.name}"
    for uri in (folder.as_uri(), prefix):
        fill(uri, files | {".rows.jsonl": "\n".join(map(json.dumps, rows)).encode()})
    uris = [
        folder.as_uri(),
        prefix,
        tar(files).as_uri(),
        zipped({f"wrap/{name}": content for name, content in files.items()}).as_uri(),
        f"{folder.as_uri()}/.rows.jsonl",
        f"{prefix}/.rows.jsonl",
    ]
    assert len({fetch_uri(uri).digest for uri in uris}) == 1


def test_the_digest_of_the_listing_stays_with_the_data_set(
    plant: Callable[..., Path],
    fetch_uri: Callable[..., Dataset],
    survey_uri: Callable[[str], Listing],
) -> None:
    uri = plant(FLOWERS).as_uri()
    assert fetch_uri(uri).listing == survey_uri(uri).digest
