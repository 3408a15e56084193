from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from job import storage
from job.dataset import Listing
from job.errors import DatasetError, StoreUnavailable
from job.storage import Store
from tests.conftest import FaultyProxy

FLOWERS = {"rose/1.jpg": b"one", "daisy/2.jpg": b"two"}


def fill(uri: str, files: Mapping[str, bytes]) -> Store:
    store = storage.connect(uri)
    for name, content in files.items():
        store.write(name, content)
    return store


@pytest.fixture
def folder_uri(tmp_path: Path) -> str:
    folder = tmp_path / "store"
    folder.mkdir()
    return folder.as_uri()


def keys(listing: Listing) -> list[str]:
    return [entry.key for entry in listing.entries]


def test_a_folder_and_a_prefix_list_alike(
    store_uri: str, survey_uri: Callable[[str], Listing]
) -> None:
    fill(f"{store_uri}/flowers", {**FLOWERS, "readme.txt": b"hi"})
    listing = survey_uri(f"{store_uri}/flowers")
    assert keys(listing) == ["daisy/2.jpg", "rose/1.jpg"]
    assert listing.ignored == ("readme.txt",)
    assert survey_uri(f"{store_uri}/flowers/").digest == listing.digest


def test_the_same_files_have_the_same_listing_in_a_bucket_and_in_a_folder(
    bucket: str, plant: Callable[..., Path], survey_uri: Callable[[str], Listing]
) -> None:
    fill(bucket, FLOWERS)
    assert survey_uri(bucket).digest == survey_uri(plant(FLOWERS).as_uri()).digest


def test_the_listing_changes_with_the_images_and_with_nothing_else(
    folder_uri: str, survey_uri: Callable[[str], Listing]
) -> None:
    store = fill(folder_uri, FLOWERS)
    before = survey_uri(folder_uri).digest
    store.write(".DS_Store", b"noise")
    assert survey_uri(folder_uri).digest == before
    store.write("rose/1.jpg", b"ONE")
    assert survey_uri(folder_uri).digest != before


def test_no_image_is_fetched_by_a_survey(
    bucket: str, faulty: FaultyProxy, survey_uri: Callable[[str], Listing]
) -> None:
    fill(bucket, FLOWERS)
    survey_uri(bucket)
    assert all("list-type=2" in path for method, path, _ in faulty.requests if method == "GET")


def test_a_sibling_prefix_is_not_listed(bucket: str, survey_uri: Callable[[str], Listing]) -> None:
    fill(bucket, {"cats/a/1.jpg": b"1", "cats-old/b/2.jpg": b"2", "cats": b"3"})
    assert keys(survey_uri(f"{bucket}/cats")) == ["a/1.jpg"]


def test_an_inner_folder_named_like_the_prefix_is_kept(
    store_uri: str, survey_uri: Callable[[str], Listing]
) -> None:
    fill(store_uri, {"cats/cats/1.jpg": b"1", "cats/dogs/2.jpg": b"2"})
    listing = survey_uri(f"{store_uri}/cats")
    assert {place.label for place in listing.places.values()} == {"cats", "dogs"}


@pytest.mark.parametrize("name", ["x", "x.tar"])
def test_a_prefix_that_is_missing_is_an_error(
    store_uri: str, survey_uri: Callable[[str], Listing], name: str
) -> None:
    fill(store_uri, FLOWERS)
    with pytest.raises(DatasetError) as caught:
        survey_uri(f"{store_uri}/{name}")
    assert caught.value.exit_code == 3
    assert name in caught.value.message
    assert caught.value.cure


def test_a_bucket_that_is_missing_is_an_error(
    s3: str, survey_uri: Callable[[str], Listing]
) -> None:
    with pytest.raises(DatasetError, match="no-such-bucket") as caught:
        survey_uri("s3://no-such-bucket/cats")
    assert caught.value.cure
    assert caught.value.__cause__


def test_a_folder_that_is_missing_or_empty_is_an_error(
    tmp_path: Path, survey_uri: Callable[[str], Listing]
) -> None:
    with pytest.raises(DatasetError, match="no-such-folder"):
        survey_uri((tmp_path / "no-such-folder").as_uri())
    with pytest.raises(DatasetError, match="holds nothing"):
        survey_uri(tmp_path.as_uri())


def test_no_permission_is_an_error_of_the_data_set(
    bucket: str, faulty: FaultyProxy, survey_uri: Callable[[str], Listing]
) -> None:
    faulty.fail("GET", status=403, code="AccessDenied")
    with pytest.raises(DatasetError) as caught:
        survey_uri(bucket)
    assert caught.value.exit_code == 3
    assert caught.value.cure


def test_a_store_that_is_away_stays_worth_a_retry(
    bucket: str, faulty: FaultyProxy, survey_uri: Callable[[str], Listing]
) -> None:
    faulty.fail("GET", status=503, code="SlowDown")
    with pytest.raises(StoreUnavailable) as caught:
        survey_uri(bucket)
    assert caught.value.exit_code == 75


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz", "x.TGZ", "x.zip"])
def test_an_archive_is_one_object_that_is_not_opened_yet(
    folder_uri: str, survey_uri: Callable[[str], Listing], name: str
) -> None:
    fill(folder_uri, {name: b"not even an archive", "other/1.jpg": b""})
    listing = survey_uri(f"{folder_uri}/{name}")
    assert (keys(listing), listing.archive) == ([name], True)


def test_a_folder_may_be_named_like_an_archive(
    folder_uri: str, survey_uri: Callable[[str], Listing]
) -> None:
    fill(f"{folder_uri}/photos.zip", FLOWERS)
    assert keys(survey_uri(f"{folder_uri}/photos.zip")) == ["daisy/2.jpg", "rose/1.jpg"]


def test_a_prefix_that_holds_one_archive_means_the_archive(
    store_uri: str, survey_uri: Callable[[str], Listing]
) -> None:
    fill(f"{store_uri}/drop", {"flowers.tar": b"x", ".hidden": b""})
    listing = survey_uri(f"{store_uri}/drop/")
    assert (keys(listing), listing.archive) == (["flowers.tar"], True)


def test_one_object_that_is_neither_archive_nor_manifest_is_refused(
    store_uri: str, survey_uri: Callable[[str], Listing]
) -> None:
    fill(store_uri, {"cats.rar": b"x"})
    with pytest.raises(DatasetError, match=r"is one object; those that can be read end in \.tar"):
        survey_uri(f"{store_uri}/cats.rar")


def test_a_manifest_lists_what_it_names_and_the_manifest_itself(
    store_uri: str, survey_uri: Callable[[str], Listing]
) -> None:
    table = b"image,label\nrose/1.jpg,flower\n"
    fill(store_uri, {**FLOWERS, "few.csv": table, "rose/3.jpg": b"three"})
    listing = survey_uri(f"{store_uri}/few.csv")
    assert keys(listing) == ["few.csv", "rose/1.jpg"]
    assert listing.ignored == ("rose/3.jpg",)
    before = listing.digest
    fill(store_uri, {"few.csv": table.replace(b"flower", b"FLOWER")})
    assert survey_uri(f"{store_uri}/few.csv").digest != before


def test_a_manifest_in_a_large_bucket_lists_only_the_folder_of_its_images(
    bucket: str, faulty: FaultyProxy, survey_uri: Callable[[str], Listing]
) -> None:
    fill(
        bucket,
        {
            "m.csv": b"image,label\na/b/1.jpg,x\na/b/c/2.jpg,y\n",
            "a/b/1.jpg": b"1",
            "a/b/c/2.jpg": b"2",
        },
    )
    survey_uri(f"{bucket}/m.csv")
    assert [
        path
        for _, path, _ in faulty.requests
        if "list-type=2" in path and "prefix=a%2Fb%2F" not in path
    ] == []


def test_rows_that_name_no_file_and_other_faults_come_together(
    folder_uri: str, survey_uri: Callable[[str], Listing]
) -> None:
    rows = "".join(f"gone/{number}.jpg,rose\n" for number in range(9))
    fill(folder_uri, {**FLOWERS, "all.csv": f"image,label\nrose/1.jpg,\n{rows}".encode()})
    with pytest.raises(DatasetError, match="has 10 rows that cannot be used") as caught:
        survey_uri(f"{folder_uri}/all.csv")
    assert caught.value.problems[:2] == (
        "line 2 has no label (rose/1.jpg)",
        "line 3 names gone/0.jpg, which is not a file there",
    )
    assert caught.value.problems[-1] == "and 5 more"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("", "No image is in a class folder"),
        ("rose/1.jpg,rose,test\n", "images in test but none in train"),
        ('rose/1.jpg,"ro\nse",train\n', "must be printable"),
    ],
)
def test_a_manifest_from_which_nothing_can_be_learnt_is_refused(
    folder_uri: str, survey_uri: Callable[[str], Listing], rows: str, message: str
) -> None:
    fill(folder_uri, {**FLOWERS, "m.csv": f"image,label,split\n{rows}".encode()})
    with pytest.raises(DatasetError, match=message):
        survey_uri(f"{folder_uri}/m.csv")


def test_a_manifest_at_the_root_of_a_bucket_is_found(
    bucket: str, survey_uri: Callable[[str], Listing]
) -> None:
    fill(bucket, {"m.jsonl": b'{"image": "1.jpg", "label": "x"}', "1.jpg": b"1"})
    assert keys(survey_uri(f"{bucket}/m.jsonl")) == ["m.jsonl", "1.jpg"]


def test_a_line_break_in_a_key_is_legal_and_shown_escaped(
    folder_uri: str, survey_uri: Callable[[str], Listing]
) -> None:
    fill(folder_uri, {"rose/1\n.jpg": b"x", "no\nte.txt": b"x", "ok/2.jpg": b"x"})
    assert keys(survey_uri(folder_uri)) == ["ok/2.jpg", "rose/1\n.jpg"]


def test_strange_keys_are_legal_in_a_bucket(
    bucket: str, survey_uri: Callable[[str], Listing]
) -> None:
    strange = [
        "rose/a..b.jpg",
        "rose//double.jpg",
        "/rose/lead.jpg",
        "rose/" + "x" * 1017,
        "rose/A.jpg",
        "rose/a.jpg",
        "rose/a.jpg/b",
        "rose/ü ?#%&+.jpg",
    ]
    fill(f"{bucket}/p", dict.fromkeys(strange, b"x") | {"rose/../../etc/passwd": b"x", "..": b"x"})
    listing = survey_uri(f"{bucket}/p")
    assert sorted(keys(listing)) == sorted(strange)
    assert {place.label for place in listing.places.values()} == {"rose"}
    assert listing.ignored == ("..", "rose/../../etc/passwd")
