import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from job.dataset.image_manifest import Matching, match, read
from job.dataset.layout import Place
from job.errors import DatasetError
from job.settings import DatasetSettings

ROOT = "s3://bucket/data"
SETTINGS = DatasetSettings(uri=f"{ROOT}/m.csv")
FILES = ("a.jpg", "b.jpg", "c.jpg", "d.jpg", "b/c.jpg", "a,b\nc.jpg")


def read_table(data: bytes, name: str) -> Matching:
    return match(read(data, name, SETTINGS), FILES, (ROOT,))


def test_a_csv_gives_image_label_split_and_group() -> None:
    table = b"image,label,split,group\na.jpg,cat,train,p1\nb/c.jpg, dog ,Validation,\n"
    assert dict(read_table(table, "m.csv").places) == {
        "a.jpg": Place("cat", "train", "p1"),
        "b/c.jpg": Place("dog", "val", None),
    }


def test_a_jsonl_gives_the_same() -> None:
    rows = [
        {"image": "./a.jpg", "label": 7, "group": 3},
        {"image": "b.jpg", "label": "dog", "split": None, "width": 640},
    ]
    data = "\n\n".join(json.dumps(row) for row in rows).encode()
    assert dict(read_table(data, "m.JSONL").places) == {
        "a.jpg": Place("7", None, "3"),
        "b.jpg": Place("dog"),
    }


def test_columns_may_be_in_any_order_and_case_after_a_byte_order_mark() -> None:
    table = "Label,width,IMAGE\r\ncat,640,a.jpg\r\n".encode("utf-8-sig")
    assert dict(read_table(table, "m.csv").places) == {"a.jpg": Place("cat")}


def test_quoted_cells_keep_their_commas_and_line_breaks() -> None:
    assert list(read_table(b'image,label\n"a,b\nc.jpg",cat\n', "m.csv").places) == ["a,b\nc.jpg"]


@pytest.mark.parametrize("header", ["photo, label", "photo", "image, breed"])
def test_missing_columns_are_named_with_the_header_received(header: str) -> None:
    with pytest.raises(DatasetError, match=r"no column (image|label)") as caught:
        read_table(f"{header}\na.jpg,cat\n".encode(), "m.csv")
    assert header in caught.value.message


@pytest.mark.parametrize("name", ["m.csv", "m.tsv", "m.lst", "m.jsonl"])
def test_an_empty_table_has_no_columns(name: str) -> None:
    with pytest.raises(DatasetError, match="its header is: nothing"):
        read_table(b"", name)


def test_another_encoding_is_refused_with_the_line() -> None:
    with pytest.raises(DatasetError, match=r"m\.csv, line 2: not UTF-8"):
        read_table("image,label\nkäfer.jpg,x\n".encode("latin-1"), "m.csv")


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("a.jpg,", "line 2 has no label (a.jpg)"),
        (",cat", "line 2 has no image"),
        ("a.jpg", "line 2 has no label (a.jpg)"),
        (
            "a.jpg,cat,holdout",
            (
                "line 2 has the split 'holdout'; "
                "expected train, val, valid, validation, dev, test, training, validate, "
                "testing, unassigned or nothing"
            ),
        ),
        ("a.jpg,cat,train,g,extra", "line 2 has more cells than the header"),
        (
            "/a.jpg,cat",
            "line 2 names /a.jpg; expected a path relative to the manifest's folder, inside it",
        ),
        (
            "s3://b/a.jpg,cat",
            (
                "line 2 names s3://b/a.jpg; "
                "expected a path relative to the manifest's folder, inside it"
            ),
        ),
        (
            "x/../../a.jpg,cat",
            (
                "line 2 names x/../../a.jpg; "
                "expected a path relative to the manifest's folder, inside it"
            ),
        ),
        ('"a.jpg"x,cat', "line 2 is not valid CSV: ',' expected after '\"'"),
    ],
)
def test_a_row_that_cannot_be_used_is_reported_with_its_line(row: str, problem: str) -> None:
    assert read_table(f"image,label,split,group\n{row}\n".encode(), "m.csv").problems == (problem,)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("{", "is not a JSON object"),
        ("[1]", "is not a JSON object"),
        ("[" * 100_000, "is not a JSON object"),
        (
            '{"image": "a.jpg", "label": ["cat", "dog"]}',
            'has ["cat", "dog"]; expected one label or name, not several',
        ),
        (
            '{"image": "a.jpg", "label": 0.5}',
            "has 0.5; expected text, a whole number, true or false",
        ),
        ('{"image": "a.jpg", "label": null}', "has no label (a.jpg)"),
    ],
)
def test_a_json_line_that_cannot_be_used_is_reported_with_its_line(row: str, problem: str) -> None:
    assert read_table(row.encode(), "m.jsonl").problems == (f"line 1 {problem}",)


def test_a_second_row_for_one_image_is_a_problem() -> None:
    table = read_table(b"image,label\na.jpg,cat\nb.jpg,cat\n./a.jpg,dog\n", "m.csv")
    assert table.problems == ("line 4 names a.jpg again, after line 2: 'dog', after 'cat'",)


def test_a_split_in_some_rows_only_is_a_problem() -> None:
    table = read_table(b"image,label,split\na.jpg,cat,train\nb.jpg,cat,\nc.jpg,cat,\n", "m.csv")
    assert table.problems == ("line 3 has no split although other rows have one (2 such rows)",)


def test_all_problems_are_listed() -> None:
    assert (
        len(read_table(b"image,label\na.jpg,\n,cat\n/c.jpg,cat\nd.jpg,dog\n", "m.csv").problems)
        == 3
    )


@given(st.binary(max_size=200), st.sampled_from(["m.csv", "m.jsonl"]))
def test_any_bytes_give_rows_or_a_dataset_error(data: bytes, name: str) -> None:
    try:
        table = read_table(b"image,label\n" + data if name.endswith("csv") else data, name)
    except DatasetError:
        return
    assert all(
        image and ".." not in image.split("/") and place.label
        for image, place in table.places.items()
    )
