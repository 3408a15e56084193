"""Tables of images and labels as people, spreadsheets and tools write them.

Each case is a row of docs/reference/inputs/tables.md, under the same name.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from job import audit, storage
from job.dataset import Listing, fetch, survey
from job.errors import DatasetError
from job.settings import CacheSettings, DatasetSettings
from job.telemetry import Progressed
from tools.paths import ROOT

# The files beside the table unless a case says otherwise, and what it should say about them.
FILES = ("cats/1.jpg", "cats/2.jpg", "dogs/3.jpg")
LABELS = {"cats/1.jpg": "cat", "cats/2.jpg": "cat", "dogs/3.jpg": "dog"}
NUMBERS = {"cats/1.jpg": "0", "cats/2.jpg": "0", "dogs/3.jpg": "1"}
SPLITS = {"cats/1.jpg": "train", "cats/2.jpg": "val", "dogs/3.jpg": "test"}

LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n"
SAVE = "Save the table as CSV"
PLAIN = "image,label\ncats/1.jpg,cat\ncats/2.jpg,cat\ndogs/3.jpg,dog\n"
VERTEX = "gs://my-bucket/import"
AZURE = "azureml://subscriptions/s/resourcegroups/g/workspaces/w/datastores/workspaceblobstore/paths/pets"

Survey = Callable[..., Listing]


@pytest.fixture
def survey_table(tmp_path: Path) -> Survey:
    """Write a table and files into a folder, and survey the table."""

    def act(
        table: str | bytes, name: str = "m.csv", files: Sequence[str] = FILES, **settings: str
    ) -> Listing:
        for file in files:
            path = tmp_path / "data" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.encode())
        path = tmp_path / "data" / name
        path.write_bytes(table.encode() if isinstance(table, str) else table)
        values: dict[str, Any] = {"uri": path.as_uri(), **settings}
        return survey(DatasetSettings(**values))

    return act


def labels_of(listing: Listing) -> dict[str, str]:
    return {key: place.label for key, place in listing.places.items()}


def splits_of(listing: Listing) -> dict[str, str | None]:
    return {key: place.split for key, place in listing.places.items()}


def write_rows(*rows: Mapping[str, object]) -> str:
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)


def write_truth(source: str, number: object, name: str) -> dict[str, object]:
    """A row as Ground Truth writes it."""
    return {
        "source-ref": source,
        "pets": number,
        "pets-metadata": {
            "class-name": name,
            "confidence": 0.0,
            "type": "groundtruth/image-classification",
            "human-annotated": "yes",
        },
    }


def write_vertex(source: str, name: str, use: str) -> dict[str, object]:
    """A row of Vertex AI's import file."""
    return {
        "imageGcsUri": source,
        "classificationAnnotation": {"displayName": name, "annotationResourceLabels": {}},
        "dataItemResourceLabels": {"aiplatform.googleapis.com/ml_use": use},
    }


# One line per case: the table, and what must be said (nothing where nothing is guessed).
@pytest.mark.parametrize(
    ("table", "said"),
    [
        pytest.param(PLAIN, [], id="plain-csv"),
        pytest.param(PLAIN.replace(",", ";"), ["semicolons"], id="excel-semicolons"),
        pytest.param(PLAIN.replace(",", "\t"), ["tabs"], id="excel-tabs"),
        pytest.param(PLAIN.replace(",", "|"), ["vertical bars"], id="vertical-bars"),
        pytest.param("sep=;\r\n" + PLAIN.replace(",", ";"), [], id="sep-line"),
        pytest.param('"sep=;"\n' + PLAIN.replace(",", ";"), [], id="sep-line-in-quotes"),
        pytest.param("sep=,\n" + PLAIN, [], id="sep-line-with-a-comma"),
        pytest.param("SEP=\t\n" + PLAIN.replace(",", "\t"), [], id="sep-line-with-a-tab"),
        pytest.param("\n\r\n" + PLAIN.replace("\n", "\n\n"), [], id="blank-rows"),
        pytest.param(PLAIN + ",\n , \n", [], id="rows-of-empty-cells"),
        pytest.param("# of Tuesday, v2\n" + PLAIN, [], id="comment-above-the-heading"),
        pytest.param(PLAIN + "# checked by hand\n", [], id="comment-row"),
        pytest.param(
            PLAIN + "#cats/2.jpg,dog\n", ["1 row that begins with #"], id="row-commented-out"
        ),
        pytest.param("#" + PLAIN, [], id="heading-written-as-a-comment"),
        pytest.param(PLAIN.replace("image,label", "IMAGE,Label"), [], id="headings-in-any-case"),
        pytest.param(PLAIN.replace("\n", "\r\n"), [], id="windows-line-ends"),
        pytest.param(PLAIN.replace("\n", "\r"), [], id="old-mac-line-ends"),
        pytest.param(PLAIN.rstrip(), [], id="no-line-end-at-the-end"),
        pytest.param(PLAIN.replace("\n", ",,\n"), [], id="empty-columns-on-the-right"),
        pytest.param(
            ",image,label\n0,cats/1.jpg,cat\n1,cats/2.jpg,cat\n2,dogs/3.jpg,dog\n",
            [],
            id="pandas-index-column",
        ),
        pytest.param(
            '"image"; "label"\n"cats/1.jpg"; "cat"\n"cats/2.jpg"; "cat"\n"dogs/3.jpg"; "dog"\n',
            ["semicolons"],
            id="quoted-cells-with-blanks",
        ),
        pytest.param(
            'image;label;note\ncats/1.jpg;cat;"a;b, c"\ncats/2.jpg;cat;\ndogs/3.jpg;dog;1,5\n',
            ["semicolons"],
            id="semicolons-and-decimal-commas",
        ),
        pytest.param(PLAIN.encode("utf-8-sig"), [], id="utf-8-with-a-mark"),
        pytest.param(PLAIN.encode("utf-16"), [], id="utf-16-with-a-mark"),
        pytest.param(
            b"\xfe\xff" + PLAIN.encode("utf-16-be"), [], id="utf-16-big-endian-with-a-mark"
        ),
        pytest.param(PLAIN.encode("utf-32"), [], id="utf-32-with-a-mark"),
        pytest.param(PLAIN.replace(",", "\t").encode("utf-16"), ["tabs"], id="excel-unicode-text"),
        pytest.param(PLAIN + "cats/1.jpg,cat\n", ["1 row repeats"], id="one-row-twice"),
        pytest.param(
            "filename,cat,dog\ncats/1.jpg,1,0\ncats/2.jpg,1,0\ndogs/3.jpg,0,1\n",
            ["'filename'", "the one column of each row that is 1: cat, dog"],
            id="roboflow-one-hot",
        ),
        pytest.param(
            "image,cat,dog,UNK\ncats/1,1.0,0.0,0.0\ncats/2,1.0,0.0,0.0\ndogs/3,0.0,1.0,0.0\n",
            ["cat, dog, UNK", "with the extension"],
            id="isic-one-hot-without-extensions",
        ),
        pytest.param(
            "path,cat,dog\ncats/1.jpg,True,False\ncats/2.jpg,True,False\ndogs/3.jpg,False,True\n",
            ["cat, dog"],
            id="pandas-get-dummies",
        ),
        pytest.param(
            "image_path,class,class_id\ncats/1.jpg,cat,0\ncats/2.jpg,cat,0\ndogs/3.jpg,dog,1\n",
            ["the label is the column 'class'"],
            id="class-and-its-number",
        ),
        pytest.param(
            "filename,filepath,label\n1.jpg,cats/1.jpg,cat\n2.jpg,cats/2.jpg,cat\n3.jpg,dogs/3.jpg,dog",
            ["the image is the column 'filepath'"],
            id="name-and-path",
        ),
        pytest.param(
            "filename,path,label\n"
            "cats/1.jpg,/home/me/1.jpg,cat\ncats/2.jpg,/home/me/2.jpg,cat\n"
            "dogs/3.jpg,/home/me/3.jpg,dog\n",
            ["the image is the column 'filename'"],
            id="path-of-another-machine-beside-a-name",
        ),
        pytest.param(
            "filename,width,height,class,xmin\n"
            "cats/1.jpg,9,9,cat,1\ncats/1.jpg,9,9,cat,5\ncats/2.jpg,9,9,cat,1\ndogs/3.jpg,9,9,dog,1\n",
            ["1 row repeats"],
            id="boxes-of-one-class",
        ),
        pytest.param(
            "cats/1.jpg,cat\ncats/2.jpg,cat\ndogs/3.jpg,dog\n",
            ["no heading line: image is column 1, label is column 2"],
            id="no-heading",
        ),
        pytest.param(
            "cat\tcats/1.jpg\ncat\tcats/2.jpg\ndog\tdogs/3.jpg\n",
            ["no heading line: image is column 2, label is column 1"],
            id="no-heading-label-first",
        ),
        pytest.param(
            f"{VERTEX}/cats/1.jpg,cat\n{VERTEX}/cats/2.jpg,cat\n{VERTEX}/dogs/3.jpg,dog\n",
            ["addresses of another store", "without my-bucket/import/"],
            id="vertex-csv-without-split",
        ),
        pytest.param(
            "".join(f"UNASSIGNED,{VERTEX}/{key},{label}\n" for key, label in LABELS.items()),
            ["split is column 1", "addresses of another store"],
            id="automl-unassigned",
        ),
    ],
)
def test_a_csv_says_what_its_writer_meant(
    survey_table: Survey, table: str | bytes, said: list[str]
) -> None:
    listing = survey_table(table)
    assert labels_of(listing) == LABELS
    notes = "\n".join(listing.notes)
    assert [part for part in said if part not in notes] == []
    assert bool(said) == bool(notes)


@pytest.mark.parametrize(
    ("table", "name", "expected", "said"),
    [
        pytest.param(
            "".join(
                f"{use},{VERTEX}/{key},{label}\n"
                for use, (key, label) in zip(
                    ("TRAINING", "VALIDATION", "TEST"), LABELS.items(), strict=True
                )
            ),
            "import.csv",
            SPLITS,
            ["image is column 2", "without my-bucket/import/"],
            id="vertex-csv",
        ),
        pytest.param(
            "".join(
                f"{use},{VERTEX}/{key},{label}\n"
                for use, (key, label) in zip(
                    ("TRAIN", "VALIDATION", "TEST"), LABELS.items(), strict=True
                )
            ),
            "automl.csv",
            SPLITS,
            ["split is column 1"],
            id="automl-csv",
        ),
        pytest.param(
            write_rows(
                write_vertex(f"{VERTEX}/cats/1.jpg", "cat", "training"),
                write_vertex(f"{VERTEX}/cats/2.jpg", "cat", "validation"),
                write_vertex(f"{VERTEX}/dogs/3.jpg", "dog", "test"),
            ),
            "import.jsonl",
            SPLITS,
            ["'imageGcsUri'", "addresses of another store"],
            id="vertex-jsonl",
        ),
        pytest.param(
            "Filename;Class;Set\ncats/1.jpg;cat;TRAIN\ncats/2.jpg;cat;VALID\ndogs/3.jpg;dog;TEST\n",
            "m.csv",
            SPLITS,
            ["the split is the column 'Set'"],
            id="split-column-by-another-name",
        ),
        pytest.param(
            "image,label,split\ncats/1.jpg,cat,Training\ncats/2.jpg,cat,dev\ndogs/3.jpg,dog,Testing",
            "m.csv",
            SPLITS,
            [],
            id="words-for-splits",
        ),
        pytest.param(
            "image,label,set\ncats/1.jpg,cat,A\ncats/2.jpg,cat,B\ndogs/3.jpg,dog,A\n",
            "m.csv",
            dict.fromkeys(LABELS),
            [],
            id="set-that-is-no-split",
        ),
        pytest.param(
            "image,label,split\ncats/1.jpg,cat,NaN\ncats/2.jpg,cat,\ndogs/3.jpg,dog,UNASSIGNED\n",
            "m.csv",
            dict.fromkeys(LABELS),
            [],
            id="split-that-is-missing",
        ),
    ],
)
def test_a_table_gives_the_split_in_its_own_words(
    survey_table: Survey,
    table: str,
    name: str,
    expected: dict[str, str | None],
    said: list[str],
) -> None:
    listing = survey_table(table, name)
    assert labels_of(listing) == LABELS
    assert splits_of(listing) == expected
    notes = "\n".join(listing.notes)
    assert [part for part in said if part not in notes] == []


@pytest.mark.parametrize(
    ("table", "name", "expected"),
    [
        pytest.param(
            write_rows(
                {"image": "cats/1.jpg", "label": 0},
                {"image": "cats/2.jpg", "label": 0.0},
                {"image": "dogs/3.jpg", "label": "1"},
            ),
            "m.jsonl",
            NUMBERS,
            id="whole-number-floats",
        ),
        pytest.param(
            write_rows(
                {"image": "cats/1.jpg", "label": False},
                {"image": "cats/2.jpg", "label": False},
                {"image": "dogs/3.jpg", "label": True},
            ),
            "m.jsonl",
            {"cats/1.jpg": "false", "cats/2.jpg": "false", "dogs/3.jpg": "true"},
            id="booleans",
        ),
        pytest.param(
            write_rows(
                {"file_name": "cats/1.jpg", "label": 0, "caption": "a cat"},
                {"file_name": "cats/2.jpg", "label": 0, "caption": "a cat"},
                {"file_name": "dogs/3.jpg", "label": 1, "caption": "a dog"},
            ),
            "metadata.jsonl",
            NUMBERS,
            id="hugging-face-jsonl",
        ),
        pytest.param(
            "file_name,label\ncats/1.jpg,cat\ncats/2.jpg,cat\ndogs/3.jpg,dog\n",
            "metadata.csv",
            LABELS,
            id="hugging-face-csv",
        ),
        pytest.param(
            write_rows(
                *(
                    {
                        "image_url": f"{AZURE}/{key}",
                        "image_details": {"format": "jpg", "width": "400px"},
                        "label": label,
                    }
                    for key, label in LABELS.items()
                )
            ),
            "train_annotations.jsonl",
            LABELS,
            id="azure-jsonl",
        ),
        pytest.param(
            write_rows(
                *(
                    {"image_url": f"AmlDatastore://pets/{key}", "label": [label]}
                    for key, label in LABELS.items()
                )
            ),
            "v1.jsonl",
            LABELS,
            id="azure-v1-jsonl-with-lists-of-one",
        ),
        pytest.param(
            "".join(
                f"https://acct.blob.core.windows.net/c/{key}?sv=2022&sig=a%2Fb,{label}\n"
                for key, label in LABELS.items()
            ),
            "signed.csv",
            LABELS,
            id="signed-https-addresses",
        ),
        pytest.param(
            "5\t0\tcats/1.jpg\n1\t0\tcats/2.jpg\n9\t1\tdogs/3.jpg\n",
            "train.lst",
            NUMBERS,
            id="sagemaker-lst",
        ),
        pytest.param(
            "5\t0.000000\tcats/1.jpg\n1\t0.000000\tcats/2.jpg\n9\t1.000000\tdogs/3.jpg\n",
            "train.lst",
            NUMBERS,
            id="mxnet-im2rec-lst",
        ),
        pytest.param(
            write_rows(
                write_truth("s3://labelled/pets/cats/1.jpg", 0, "cat"),
                write_truth("s3://labelled/pets/cats/2.jpg", 0, "cat"),
                write_truth("s3://labelled/pets/dogs/3.jpg", 1, "dog"),
            ).replace("s3://labelled/pets/", "./"),
            "output.manifest",
            LABELS,
            id="ground-truth-manifest",
        ),
        pytest.param(
            write_rows(
                {"source-ref": "cats/1.jpg", "class": "0"},
                {"source-ref": "cats/2.jpg", "class": "0"},
                {
                    "source-ref": "dogs/3.jpg",
                    "class": "1",
                    "class-metadata": {
                        "class-name": "dog",
                        "type": "groundtruth/image-classification",
                    },
                },
            ),
            "augmented.manifest",
            NUMBERS,
            id="augmented-manifest-with-some-names",
        ),
        pytest.param(
            write_rows(
                *(
                    {"source-ref": key, "label-metadata": {"class-name": label}}
                    for key, label in LABELS.items()
                )
            ),
            "autopilot.manifest",
            LABELS,
            id="augmented-manifest-with-names-alone",
        ),
        pytest.param(
            "image,label\ncats/1.jpg,0\ncats/2.jpg,0.0\ndogs/3.jpg,1.0\n",
            "m.csv",
            NUMBERS,
            id="numbers-with-and-without-a-point",
        ),
        pytest.param(
            "image,label\ncats/1.jpg,1.0\ncats/2.jpg,1.0\ndogs/3.jpg,2.0\n",
            "m.csv",
            {"cats/1.jpg": "1.0", "cats/2.jpg": "1.0", "dogs/3.jpg": "2.0"},
            id="versions-as-labels",
        ),
        pytest.param(
            "image,label\ncats/1.jpg,cafe\u0301\ncats/2.jpg,caf\u00e9\ndogs/3.jpg,dog\n",
            "m.csv",
            {"cats/1.jpg": "caf\u00e9", "cats/2.jpg": "caf\u00e9", "dogs/3.jpg": "dog"},
            id="labels-in-two-unicode-forms",
        ),
        pytest.param(
            "# exported\n"
            + write_rows(*({"Image Path": key, "Class": label} for key, label in LABELS.items())),
            "m.jsonl",
            LABELS,
            id="jsonl-with-a-comment-and-other-keys",
        ),
        pytest.param(
            write_rows(*({"image": key, "label": label} for key, label in LABELS.items())).encode(
                "utf-16"
            ),
            "m.jsonl",
            LABELS,
            id="jsonl-in-utf-16",
        ),
        pytest.param(
            "Image\tLabel\ncats/1.jpg\tcat\ncats/2.jpg\tcat\ndogs/3.jpg\tdog\n",
            "m.TSV",
            LABELS,
            id="tsv",
        ),
    ],
)
def test_labels_come_as_tools_write_them(
    survey_table: Survey, table: str | bytes, name: str, expected: dict[str, str]
) -> None:
    assert labels_of(survey_table(table, name)) == expected


@pytest.mark.parametrize(
    ("images", "files", "said"),
    [
        pytest.param(["cats\\1.jpg", "dogs\\3.jpg"], None, "other separators", id="backslashes"),
        pytest.param([".\\cats\\1.jpg"], None, "other separators", id="dot-and-backslashes"),
        pytest.param(["./cats/1.jpg"], None, "", id="dot-slash"),
        pytest.param(["cats//1.jpg", "././cats/2.jpg"], None, "separators", id="double-slashes"),
        pytest.param(["cats/1", "dogs/3"], None, "with the extension", id="without-extension"),
        pytest.param(
            ["IMG.2024.01", "b"],
            ["IMG.2024.01.png", "b.jpg", "b.json", "b.txt"],
            "with the extension",
            id="without-extension-beside-other-files",
        ),
        pytest.param(
            ["my%20cat.jpg", "%C3%BC.jpg"],
            ["my cat.jpg", "\u00fc.jpg"],
            "without percent-encoding",
            id="percent-encoding",
        ),
        pytest.param(
            ["100%25.jpg", "50%.jpg"], ["100%25.jpg", "50%.jpg"], "", id="percent-in-names"
        ),
        pytest.param(
            ["caf\u00e9/1.jpg"], ["cafe\u0301/1.jpg"], "another Unicode form", id="nfc-against-nfd"
        ),
        pytest.param(
            ["cafe\u0301/1.jpg"], ["caf\u00e9/1.jpg"], "another Unicode form", id="nfd-against-nfc"
        ),
        pytest.param(["Cats/IMG_1.JPG"], ["cats/img_1.jpg"], "another case", id="another-case"),
        pytest.param(
            ["#1.jpg", "#2.jpg"], ["#1.jpg", "#2.jpg"], "", id="names-that-begin-with-hash"
        ),
        pytest.param(
            ["id1", "id2"],
            ["train/id1.jpg", "train/id2.jpg", "test/id9.jpg"],
            "all images were found below train/",
            id="kaggle-ids-in-a-folder",
        ),
        pytest.param(
            ["1.jpg", "3.jpg"],
            ["cats/1.jpg", "dogs/3.jpg"],
            "the only file of each name",
            id="bare-names-in-class-folders",
        ),
        pytest.param(
            ["data/pets/cats/1.jpg", "data/pets/dogs/3.jpg"],
            None,
            "without data/pets/",
            id="paths-from-the-project",
        ),
        pytest.param(
            ["gs://b/x/cats/1.jpg", "gs://b/x/cats/2.jpg"],
            None,
            "addresses of another store",
            id="gs-addresses-of-one-class-folder",
        ),
    ],
)
def test_a_name_finds_its_file(
    survey_table: Survey, images: list[str], files: list[str] | None, said: str
) -> None:
    rows = "".join(f"{image},x\n" for image in images)
    listing = survey_table("image,label\n" + rows, files=files or FILES)
    assert len(listing.places) == len(images)
    notes = "\n".join(listing.notes)
    assert said in notes
    assert bool(said) == bool(notes)


@pytest.mark.parametrize(
    "address",
    [
        pytest.param("file://{folder}/", id="file-address-inside"),
        pytest.param("file:{folder}/", id="file-address-with-one-slash"),
        pytest.param("file://localhost{folder}/", id="file-address-with-a-host"),
        pytest.param("{folder}/", id="absolute-path-inside"),
    ],
)
def test_an_address_inside_the_folder_is_a_path(
    survey_table: Survey, tmp_path: Path, address: str
) -> None:
    prefix = address.format(folder=tmp_path / "data")
    rows = "".join(f"{prefix}{key},{label}\n" for key, label in LABELS.items())
    listing = survey_table("image,label\n" + rows)
    assert labels_of(listing) == LABELS
    assert listing.notes == ()


def test_a_folder_with_a_blank_is_percent_encoded_in_its_address(survey_table: Survey) -> None:
    listing = survey_table("image,label\ncats/1.jpg,x\n")
    root = listing.root
    files = ["my cats/1.jpg"]
    listing = survey_table(f"image,label\n{root}/my%20cats/1.jpg,x\n", files=files)
    assert list(listing.places) == files


@pytest.mark.parametrize(
    "scheme",
    [
        pytest.param("s3", id="s3-address-inside"),
        pytest.param("s3a", id="s3a-address-inside"),
        pytest.param("S3", id="s3-address-in-upper-case"),
    ],
)
def test_an_address_inside_the_prefix_is_a_path(bucket: str, scheme: str) -> None:
    store = storage.connect(f"{bucket}/pets")
    address = f"{scheme}{store.uri.removeprefix('s3')}"
    rows = [write_truth(f"{address}/{key}", 0, label) for key, label in LABELS.items()]
    store.write("output.manifest", write_rows(*rows).encode())
    for key in FILES:
        store.write(key, key.encode())
    listing = survey(DatasetSettings(uri=f"{store.uri}/output.manifest"))
    assert labels_of(listing) == LABELS


def test_a_name_in_another_form_is_found_in_a_bucket(bucket: str) -> None:
    store = storage.connect(bucket)
    store.write("cafe\u0301/my cat.jpg", b"x")
    store.write("m.csv", "image,label\ncaf\u00e9\\my%20cat,x\n".encode())
    listing = survey(DatasetSettings(uri=f"{bucket}/m.csv"))
    assert list(listing.places) == ["cafe\u0301/my cat.jpg"]


@pytest.mark.parametrize(
    ("table", "settings", "expected"),
    [
        pytest.param(
            "id,breed\ncats/1,cat\ncats/2,cat\ndogs/3,dog\n",
            {"image_column": "id", "label_column": "breed"},
            LABELS,
            id="columns-that-the-settings-name",
        ),
        pytest.param(
            "ID;Dog Breed\ncats/1;cat\ncats/2;cat\ndogs/3;dog\n",
            {"image_column": "id", "label_column": "dog_breed"},
            LABELS,
            id="settings-in-another-case",
        ),
        pytest.param(
            "image,label,has_dog\ncats/1.jpg,x,0\ncats/2.jpg,x,0\ndogs/3.jpg,y,1\n",
            {"label_column": "has_dog"},
            NUMBERS,
            id="another-label-than-label",
        ),
        pytest.param(
            "cats/1,p1,cat\ncats/2,p2,cat\ndogs/3,p3,dog\n",
            {"image_column": "1", "label_column": "3"},
            LABELS,
            id="columns-by-number",
        ),
        pytest.param(
            "image,label\ncats/1.jpg,cat\ncats/2.jpg,nan\ndogs/3.jpg,\n",
            {"missing_label": "skip"},
            {"cats/1.jpg": "cat"},
            id="missing-labels-left-out",
        ),
        pytest.param(
            "image,label\ncats/1.jpg,cat\ncats/2.jpg,cat\ndogs/3.jpg,None\n",
            {"missing_label": "keep"},
            LABELS | {"dogs/3.jpg": "None"},
            id="none-kept-as-a-class",
        ),
        pytest.param(
            "image,cat,none\ncats/1.jpg,1,0\ncats/2.jpg,1,0\ndogs/3.jpg,0,1\n",
            {},
            LABELS | {"dogs/3.jpg": "none"},
            id="one-hot-column-called-none",
        ),
    ],
)
def test_the_settings_say_what_a_table_does_not(
    survey_table: Survey, table: str, settings: dict[str, str], expected: dict[str, str]
) -> None:
    assert labels_of(survey_table(table, **settings)) == expected


BARE = PLAIN.partition("\n")[2]
ROWS = "cats/1.jpg,{}\ncats/2.jpg,{}\ndogs/3.jpg,{}\n"


@pytest.mark.parametrize(
    ("table", "name", "expected"),
    [
        pytest.param(f"Pets of 2024,\n\n{PLAIN}", "m.csv", LABELS, id="title-above-the-heading"),
        pytest.param(
            f"Export;;\nDate;2024-01-01;\n{PLAIN.replace(',', ';')}",
            "m.csv",
            LABELS,
            id="lines-of-an-export-above-the-heading",
        ),
        pytest.param(f"{PLAIN}{PLAIN}", "m.csv", LABELS, id="heading-again-below"),
        pytest.param(f"{PLAIN}\ufeff{PLAIN}", "m.csv", LABELS, id="byte-order-mark-in-the-middle"),
        pytest.param(
            "image,label\n" + "".join(f"{at},{row}\n" for at, row in enumerate(BARE.split(), 1)),
            "m.csv",
            LABELS,
            id="row-numbers-without-a-heading",
        ),
        pytest.param(PLAIN.replace(",", " "), "m.csv", LABELS, id="blanks-between"),
        pytest.param(
            '"image" "label"\n'
            + "".join(f'"{at}" "{key}" "{LABELS[key]}"\n' for at, key in enumerate(FILES, 1)),
            "m.csv",
            LABELS,
            id="r-write-table",
        ),
        pytest.param(
            "cats/1.jpg 0\ncats/2.jpg 0\ndogs/3.jpg 1\n", "train.txt", NUMBERS, id="caffe-list"
        ),
        pytest.param(
            "0\t0\tcats/1.jpg\n1\t0\tcats/2.jpg\n2\t1\tdogs/3.jpg\n",
            "list.txt",
            NUMBERS,
            id="list-called-txt",
        ),
        pytest.param(
            "class id,filepaths,labels,data set\n0,cats/1.jpg,cat,train\n"
            "0,cats/2.jpg,cat,valid\n1,dogs/3.jpg,dog,test\n",
            "m.csv",
            LABELS,
            id="kaggle-filepaths-and-data-set",
        ),
        pytest.param(
            "id,choice,image\n1,cat,cats/1.jpg\n2,cat,cats/2.jpg\n3,dog,dogs/3.jpg\n",
            "m.csv",
            LABELS,
            id="label-studio-choice",
        ),
        *(
            pytest.param(
                f"{image},{label}\n{BARE}", "m.csv", LABELS, id=f"headings-{image}-{label}"
            )
            for image, label in {
                "fname": "cls",
                "img_file": "lbl",
                "filenames": "tag",
                "img_path": "target_label",
                "paths": "ground_truth",
                "image_file_name": "annotation",
            }.items()
        ),
        pytest.param(
            "image,cat,dog\ncats/1.jpg,1,\ncats/2.jpg,1,\ndogs/3.jpg,,1\n",
            "m.csv",
            LABELS,
            id="one-hot-of-1-and-nothing",
        ),
        pytest.param(
            "image,cat,dog\ncats/1.jpg,x,\ncats/2.jpg,x,\ndogs/3.jpg,,x\n",
            "m.csv",
            LABELS,
            id="one-hot-of-crosses",
        ),
        pytest.param(
            "image,cat,dog\ncats/1.jpg,Yes,No\ncats/2.jpg,Yes,No\ndogs/3.jpg,No,Yes\n",
            "m.csv",
            LABELS,
            id="one-hot-of-yes-and-no",
        ),
        pytest.param(
            "image,labels\n" + ROWS.format("['cat']", "['cat']", "['dog']"),
            "m.csv",
            LABELS,
            id="list-of-one-as-python-writes-it",
        ),
        pytest.param(
            "image,label\n" + ROWS.format("cat\u200b", "\u200bcat", "dog\ufeff"),
            "m.csv",
            LABELS,
            id="characters-without-a-width",
        ),
    ],
)
def test_a_table_as_tools_and_spreadsheets_export_it_is_read(
    survey_table: Survey, table: str, name: str, expected: dict[str, str]
) -> None:
    assert labels_of(survey_table(table, name)) == expected


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        pytest.param(
            "image,label,is_valid\ncats/1.jpg,cat,False\ncats/2.jpg,cat,True\n"
            "dogs/3.jpg,dog,False\n",
            {"cats/1.jpg": "train", "cats/2.jpg": "val", "dogs/3.jpg": "train"},
            id="fastai-is-valid",
        ),
        pytest.param(
            "image,label,is_train\ncats/1.jpg,cat,1\ncats/2.jpg,cat,0\ndogs/3.jpg,dog,1\n",
            {"cats/1.jpg": "train", "cats/2.jpg": "test", "dogs/3.jpg": "train"},
            id="flag-of-the-training-images",
        ),
        pytest.param(
            "image,label,split\ncats/1.jpg,cat,train_set\ncats/2.jpg,cat,Validation data\n"
            "dogs/3.jpg,dog,testset\n",
            SPLITS,
            id="names-of-folders-as-splits",
        ),
    ],
)
def test_a_split_is_read_in_other_words(
    survey_table: Survey, table: str, expected: dict[str, str]
) -> None:
    assert splits_of(survey_table(table)) == expected


@pytest.mark.parametrize(
    ("labels", "noted"),
    [
        pytest.param(("0.5", "0.5", "1.5"), "0.5, 1.5", id="fractions-as-labels"),
        pytest.param(('"0,5"', '"0,5"', '"1,5"'), "0,5, 1,5", id="decimal-commas-as-labels"),
    ],
)
def test_numbers_with_fractions_are_classes_and_that_is_noted(
    survey_table: Survey, labels: Sequence[str], noted: str
) -> None:
    listing = survey_table("image,label\n" + ROWS.format(*labels))
    assert f"m.csv: each number is a class of its own: {noted}" in listing.notes


def test_names_that_are_no_files_are_told_beside_files_that_are_there(
    survey_table: Survey,
) -> None:
    with pytest.raises(DatasetError) as caught:
        survey_table("image,label\ncats/1.png,cat\n")
    assert "Files there are cats/1.jpg, cats/2.jpg, dogs/3.jpg." in caught.value.cure


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        pytest.param("pets.json", "call the file .jsonl", id="file-json"),
        pytest.param("pets.xlsx", "as CSV in UTF-8", id="file-excel"),
        pytest.param("pets.parquet", "as CSV or JSON Lines", id="file-parquet"),
        pytest.param("pets.rar", "Unpack it", id="file-rar"),
    ],
)
def test_a_file_that_is_not_read_says_what_to_make_of_it(
    survey_table: Survey, name: str, cure: str
) -> None:
    with pytest.raises(DatasetError, match="is one object") as caught:
        survey_table("x", name)
    assert cure in caught.value.cure


@pytest.mark.parametrize(
    ("table", "name", "told"),
    [
        *(
            pytest.param(
                f"{PLAIN}cats/2.jpg,{word}\n",
                "m.csv",
                f"line 5 has the label {word!r}, a word for no label (cats/2.jpg)",
                id=f"label-{name}",
            )
            for name, word in {
                "excel-ref": "#REF!",
                "excel-value": "#VALUE!",
                "excel-div": "#DIV/0!",
                "excel-name": "#NAME?",
                "mysql": "\\N",
                "pivot-blank": "(blank)",
                "sql-null-in-brackets": "[NULL]",
                "dbeaver-null": "<null>",
                "ruby-nil": "nil",
                "javascript-undefined": "undefined",
                "question-mark": "?",
                "dash": "-",
                "dot": ".",
                "unlabeled": "Unlabeled",
                "to-be-done": "TBD",
            }.items()
        ),
        pytest.param(
            "image,label\n" + ROWS.format("cat", "cat|dog", "dog"),
            "m.csv",
            "line 3 has 'cat|dog'; expected one label, and not several with |",
            id="labels-with-bars",
        ),
        pytest.param(
            "image,label\n" + ROWS.format("cat", '"cat, dog"', "dog"),
            "m.csv",
            "line 3 has 'cat, dog'; expected one label, and not several with ,",
            id="labels-with-commas",
        ),
        pytest.param(
            "image,label\n" + ROWS.format("cat", "\"['cat', 'dog']\"", "dog"),
            "m.csv",
            'line 3 has ["cat", "dog"]; expected one label or name',
            id="list-of-two-as-python-writes-it",
        ),
        pytest.param(
            "image,label\n" + ROWS.format("cat", '"{""choices"": [""cat""]}"', "dog"),
            "m.csv",
            'line 3 has {"choices": ["cat"]}; expected text',
            id="label-studio-object",
        ),
        pytest.param(
            "image,label\n" + ROWS.format("cat", "x" * 300, "dog"),
            "m.csv",
            "line 3 has a label of 300 characters; expected the name of a class",
            id="description-as-a-label",
        ),
        pytest.param(
            '{"image": "cats/1.jpg", "label": "cat", "label": "dog"}\n',
            "m.jsonl",
            "line 1 has the name 'label' twice",
            id="json-name-twice",
        ),
        pytest.param(
            f"{PLAIN}cats/1.jpg,dog\n",
            "m.csv",
            "line 5 names cats/1.jpg again, after line 2: 'dog', after 'cat'",
            id="one-row-twice-with-two-labels",
        ),
        pytest.param(
            "image,label\n./cats/1.jpg,cat\ncats\\1.jpg,dog\n",
            "m.csv",
            "line 3 names cats/1.jpg again, after line 2",
            id="one-file-under-two-names-and-labels",
        ),
        pytest.param(
            "image,label,split\ncats/1.jpg,cat,train\ncats/1.jpg,cat,test\n",
            "m.csv",
            "line 3 names cats/1.jpg again, after line 2: 'cat' test, after 'cat' train",
            id="one-row-twice-with-two-splits",
        ),
        *(
            pytest.param(
                f"{PLAIN}cats/2.jpg,{word}\n",
                "m.csv",
                f"line 5 has the label {word!r}, a word for no label (cats/2.jpg)",
                id=f"label-{name}",
            )
            for name, word in {
                "nan": "nan",
                "none": "None",
                "null": "NULL",
                "na": "NA",
                "excel-na": "#N/A",
                "pandas-na": "<NA>",
            }.items()
        ),
        pytest.param(
            f"{PLAIN}cats/2.jpg,\n", "m.csv", "line 5 has no label (cats/2.jpg)", id="label-empty"
        ),
        pytest.param(
            '{"image": "cats/1.jpg", "label": NaN}\n',
            "m.jsonl",
            "line 1 has no label (cats/1.jpg)",
            id="json-nan",
        ),
        pytest.param(
            '{"image": "cats/1.jpg", "label": null}\n',
            "m.jsonl",
            "line 1 has no label (cats/1.jpg)",
            id="json-null",
        ),
        pytest.param(
            '{"image": "cats/1.jpg", "label": "None"}\n',
            "m.jsonl",
            "line 1 has the label 'None', a word for no label",
            id="json-none-as-text",
        ),
        pytest.param(
            '{"image": "cats/1.jpg", "label": ["cat", "dog"]}\n',
            "m.jsonl",
            'line 1 has ["cat", "dog"]; expected one label or name, not several',
            id="azure-several-labels",
        ),
        pytest.param(
            '{"image": "cats/1.jpg", "label": 0.5}\n',
            "m.jsonl",
            "line 1 has 0.5; expected text, a whole number",
            id="share-as-a-label",
        ),
        pytest.param(
            '{"image": "cats/1.jpg", "label": {"name": "cat"}}\n',
            "m.jsonl",
            'line 1 has {"name": "cat"}; expected text',
            id="object-as-a-label",
        ),
        pytest.param(
            write_rows({"imageGcsUri": "cats/1.jpg", "classificationAnnotations": []}).replace(
                "[]", '[{"displayName": "cat"}, {"displayName": "dog"}]'
            ),
            "m.jsonl",
            'line 1 has ["cat", "dog"]; expected one label',
            id="vertex-several-labels",
        ),
        pytest.param(
            "image,cat,dog\ncats/1.jpg,1,0\ncats/2.jpg,1,1\ndogs/3.jpg,0,1\n",
            "m.csv",
            "line 3 has several labels: cat, dog are 1 (cats/2.jpg)",
            id="one-hot-with-two",
        ),
        pytest.param(
            "image,cat,dog\ncats/1.jpg,1,0\ncats/2.jpg,0,0\ndogs/3.jpg,0,1\n",
            "m.csv",
            "line 3 has no label: no column is 1 (cats/2.jpg)",
            id="one-hot-with-none",
        ),
        pytest.param(
            "image,label\ncats/1,cat\n",
            "m.csv",
            "line 2 names cats/1, and 2 files fit: cats/1.jpg, cats/1.png",
            id="two-files-without-extension",
        ),
        pytest.param(
            "image,label\n9.jpg,cat\n",
            "m.csv",
            "files in several folders fit 9.jpg: old/9.jpg, toads/9.jpg",
            id="one-name-in-two-folders",
        ),
        pytest.param(
            "image,label\ncats/2.jpg,cat\n3.jpg,dog\n",
            "m.csv",
            "line 3 names 3.jpg, which is not a file there",
            id="missing-file-with-a-namesake",
        ),
        *(
            pytest.param(
                f"image,label\n{address},cat\n",
                "m.csv",
                f"line 2 names {address}; expected a path relative to the manifest's folder",
                id=name,
            )
            for name, address in {
                "s3-address-of-another-bucket": "s3://elsewhere/cats/1.jpg",
                "file-address-outside": "file:///etc/cats/1.jpg",
                "absolute-path-outside": "/home/me/cats/1.jpg",
                "windows-path": "C:\\Users\\me\\cats\\1.jpg",
                "network-path": "\\\\nas\\photos\\cats\\1.jpg",
                "path-out-of-the-folder": "../data/cats/1.jpg",
                "path-out-with-backslashes": "cats\\..\\..\\1.jpg",
                "path-out-percent-encoded": "%2e%2e/cats/1.jpg",
            }.items()
        ),
        pytest.param(
            "image,label,split\ncats/1.jpg,cat,eval\n",
            "m.csv",
            "line 2 has the split 'eval'; expected train, val, valid",
            id="split-that-is-unclear",
        ),
        pytest.param(
            "TRAIN,gs://b/cats/1.jpg,cat\nUNASSIGNED,gs://b/dogs/3.jpg,dog\n",
            "m.csv",
            "line 2 has no split although other rows have one (1 such row)",
            id="automl-half-assigned",
        ),
        pytest.param(
            "TRAIN,gs://b/cats/1.jpg,cat\nTRAIN,gs://b/dogs/3.jpg,dog,puppy\n",
            "m.csv",
            "line 2 has more cells than the header",
            id="automl-several-labels",
        ),
        pytest.param(
            'image,label\n"cats/1.jpg,cat\n',
            "m.csv",
            "line 2 is not valid CSV: unexpected end of data",
            id="quote-that-never-ends",
        ),
        pytest.param(
            '[\n{"image": "cats/1.jpg", "label": "cat"}\n]\n',
            "m.jsonl",
            "line 1 is not a JSON object",
            id="json-array",
        ),
    ],
)
def test_a_row_that_cannot_be_used_is_named(
    survey_table: Survey, table: str, name: str, told: str
) -> None:
    files = (*FILES, "cats/1.png", "old/9.jpg", "toads/9.jpg")
    with pytest.raises(DatasetError) as caught:
        survey_table(table, name, files=files)
    assert caught.value.exit_code == 3
    assert name in caught.value.message
    assert any(problem.startswith(told) for problem in caught.value.problems)
    has_words_for_missing = "no label" in told
    assert ("GRAFT_DATASET_MISSING_LABEL" in caught.value.cure) == has_words_for_missing


@pytest.mark.parametrize(
    ("table", "settings", "told", "cure"),
    [
        pytest.param(
            "filename,class,category\ncats/1.jpg,pet,cat\ncats/2.jpg,pet,dog\n",
            {},
            "several columns that may be the label, and they differ: class, category",
            "GRAFT_DATASET_LABEL_COLUMN",
            id="two-labels-that-differ",
        ),
        pytest.param(
            "id,breed\ncats/1.jpg,cat\n",
            {},
            "no column image and no column label; its header is: id, breed",
            "GRAFT_DATASET_IMAGE_COLUMN",
            id="headings-that-nobody-knows",
        ),
        pytest.param(
            "image,width\ncats/1.jpg,640\ncats/2.jpg,320\n",
            {},
            "no column label; its header is: image, width",
            "GRAFT_DATASET_LABEL_COLUMN",
            id="number-that-is-no-label",
        ),
        pytest.param(
            "image,is_train,is_test\ncats/1.jpg,1,0\ncats/2.jpg,0,1\n",
            {},
            "no column label",
            "GRAFT_DATASET_LABEL_COLUMN",
            id="flags-of-the-split",
        ),
        pytest.param(
            "image,blurry,night\ncats/1.jpg,0,0\ncats/2.jpg,0,0\ndogs/3.jpg,1,1\n",
            {},
            "no column label",
            "GRAFT_DATASET_LABEL_COLUMN",
            id="flags-that-are-not-one-hot",
        ),
        pytest.param(
            PLAIN,
            {"label_column": "breed"},
            "m.csv has no column breed; its header is: image, label",
            "Set GRAFT_DATASET_LABEL_COLUMN",
            id="setting-that-names-no-column",
        ),
        pytest.param(
            "image,label,Label\ncats/1.jpg,cat,dog\n",
            {},
            "m.csv has 2 columns for one thing: label, Label",
            "a name of its own",
            id="heading-twice",
        ),
        pytest.param(
            "cats/1.jpg,cat,x,y\n",
            {},
            "m.csv has no column image and no column label; its header is: cats/1.jpg, cat, x, y",
            "GRAFT_DATASET_IMAGE_COLUMN",
            id="no-heading-and-four-columns",
        ),
        pytest.param(
            PLAIN.encode("utf-16-le"),
            {},
            "m.csv, line 1: not UTF-8, but UTF-16 without a mark",
            "Save the table as UTF-8",
            id="utf-16-without-a-mark",
        ),
        pytest.param(
            PLAIN.replace("cats", "chats \u00e9l\u00e9gants").encode("cp1252"),
            {},
            "m.csv, line 2: not UTF-8",
            "Save the table as UTF-8",
            id="windows-code-page",
        ),
        *(
            pytest.param(
                content, {}, f"m.csv is {what}; expected a table", cure, id=f"really-{name}"
            )
            for name, content, what, cure in (
                (
                    "an-excel-workbook",
                    b"PK\x03\x04" + bytes(50),
                    "an Excel workbook or another ZIP archive",
                    SAVE,
                ),
                ("an-old-excel-workbook", b"\xd0\xcf\x11\xe0", "an old Excel workbook", SAVE),
                ("compressed", b"\x1f\x8b\x08" + bytes(50), "compressed by gzip", SAVE),
                ("parquet", b"PAR1" + bytes(50), "a Parquet file", SAVE),
                ("sqlite", b"SQLite format 3\0", "a SQLite database", SAVE),
                ("a-web-page", b"<!DOCTYPE html><p>Sign in", "a web page", "Look at what was"),
                ("a-git-lfs-pointer", LFS_POINTER, "a Git LFS pointer", "git lfs pull"),
                (
                    "the-error-of-a-store",
                    b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
                    "XML, such as the error of a store",
                    "Look at what was",
                ),
            )
        ),
        pytest.param(b"", {}, "its header is: nothing", "Each row needs", id="empty-file"),
        pytest.param("image,label\n", {}, "No image is", "Put each image", id="heading-alone"),
        pytest.param("\n# nothing\n", {}, "its header is: nothing", "Each row", id="only-comments"),
    ],
)
def test_a_table_that_cannot_be_read_says_what_to_do(
    survey_table: Survey, table: str | bytes, settings: dict[str, str], told: str, cure: str
) -> None:
    with pytest.raises(DatasetError) as caught:
        survey_table(table, **settings)
    assert caught.value.exit_code == 3
    assert told in caught.value.message
    assert cure in caught.value.cure


class Silence:
    """Telemetry that nobody watches."""

    def emit(self, event: Progressed) -> None:
        del event


def test_what_is_guessed_is_in_the_log_and_in_the_report(
    survey_table: Survey, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    listing = survey_table("filename;class\ncats/1;cat\ncats/2;cat\ndogs/3;dog\n")
    note = "m.csv: the cells are separated by semicolons"
    assert note in listing.notes
    assert note in caplog.messages

    for place, key in enumerate(FILES):
        Image.new("RGB", (32, 32), (80 * place, 0, 0)).save(tmp_path / "data" / key)
    dataset = DatasetSettings(uri=listing.uri)
    cache = CacheSettings(dir=tmp_path / "cache")
    data = fetch(survey(dataset), dataset, cache, Silence())  # type: ignore[arg-type]
    census = audit.inspect(data, 1.0, cache.dir, Silence(), for_training=False)  # type: ignore[arg-type]
    assert len(census.kept) == 3
    assert note in census.warnings


def test_a_guess_is_in_the_log_although_the_run_stops(
    survey_table: Survey, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(DatasetError):
        survey_table("filename;class\ncats/1;cat\ncats/7;cat\n")
    assert "m.csv: the label is the column 'class'" in caplog.messages


def test_every_case_is_on_the_page(request: pytest.FixtureRequest) -> None:
    page = (ROOT / "docs/reference/inputs/tables.md").read_text()
    cases = []
    for item in request.session.items:
        callspec = getattr(item, "callspec", None)
        if item.path == Path(__file__) and callspec:
            cases.append(callspec.id)
    assert [case for case in cases if f"| `{case}` |" not in page] == []
