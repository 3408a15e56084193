import pytest

from job.dataset.layout import Place, read
from job.errors import DatasetError


def places(*names: str) -> dict[str, tuple[str, str | None]]:
    return {name: (place.label, place.split) for name, place in read(names).places.items()}


def test_the_first_folder_is_the_class_however_deep_the_image_is() -> None:
    assert places("cat/1.jpg", "dog/2019/may/2.jpg") == {
        "cat/1.jpg": ("cat", None),
        "dog/2019/may/2.jpg": ("dog", None),
    }


@pytest.mark.parametrize(
    ("folder", "split"),
    [
        ("train", "train"),
        ("val", "val"),
        ("valid", "val"),
        ("Validation", "val"),
        ("dev", "val"),
        ("TEST", "test"),
    ],
)
def test_folders_named_like_a_split_are_one(folder: str, split: str) -> None:
    assert places("train/cat/0.jpg", f"{folder}/cat/deep/1.jpg")[f"{folder}/cat/deep/1.jpg"] == (
        "cat",
        split,
    )


def test_two_names_of_the_same_split_are_one_split() -> None:
    found = places("train/cat/1.jpg", "val/cat/2.jpg", "valid/cat/3.jpg")
    assert [split for _, split in found.values()] == ["train", "val", "val"]


def test_train_alone_is_a_split_whose_other_parts_are_missing() -> None:
    assert set(places("train/cat/1.jpg", "train/dog/2.jpg").values()) == {
        ("cat", "train"),
        ("dog", "train"),
    }


def test_a_class_may_be_called_train_or_test_among_others() -> None:
    assert {label for label, _ in places("train/1.jpg", "plane/2.jpg", "car/3.jpg").values()} == {
        "train",
        "plane",
        "car",
    }
    assert {label for label, _ in places("test/1.jpg", "control/2.jpg").values()} == {
        "test",
        "control",
    }


def test_a_split_beside_other_folders_is_refused_rather_than_learnt() -> None:
    with pytest.raises(DatasetError, match=r"split \(test, train\) beside others: plane"):
        read(["train/cat/1.jpg", "test/cat/2.jpg", "plane/3.jpg"])


def test_a_split_beside_folders_without_images_is_a_split() -> None:
    assert set(places("train/cat/1.jpg", "test/cat/2.jpg", "annotations/1.xml").values()) == {
        ("cat", "train"),
        ("cat", "test"),
    }


def test_a_split_without_train_is_refused() -> None:
    with pytest.raises(DatasetError, match="images in test, val but none in train"):
        read(["val/cat/1.jpg", "test/cat/2.jpg"])


@pytest.mark.parametrize(
    "name",
    [
        "root.jpg",
        ".DS_Store",
        "cat/.DS_Store",
        "cat/Thumbs.db",
        "cat/.ipynb_checkpoints/1-checkpoint.jpg",
        ".ipynb_checkpoints/1.jpg",
        "__MACOSX/cat/._1.jpg",
        "cat/desktop.ini",
        "cat/notes.txt",
        "cat/labels.JSON",
        "README.md",
        "../evil/1.jpg",
        "cat/../../evil.jpg",
    ],
)
def test_what_is_hidden_or_clearly_not_an_image_is_ignored_and_named(name: str) -> None:
    found = read(["cat/1.jpg", name])
    assert (list(found.places), found.ignored) == (["cat/1.jpg"], (name,))


@pytest.mark.parametrize(
    "name",
    ["cat/1.tiff", "cat/1.HEIC", "cat/1.jpg.orig", "cat/noextension", "cat/a..b", "cat//x.png"],
)
def test_what_may_be_an_image_is_left_to_the_decoder(name: str) -> None:
    assert places(name) == {name: ("cat", None)}


def test_a_leading_slash_is_not_a_class() -> None:
    assert places("/cat/1.jpg", "//dog/2.jpg") == {
        "/cat/1.jpg": ("cat", None),
        "//dog/2.jpg": ("dog", None),
    }


def test_a_file_and_a_folder_of_one_name_are_two_things() -> None:
    assert set(places("cat/a", "cat/a/b", "dog/1", "dog")) == {"cat/a", "cat/a/b", "dog/1"}


@pytest.mark.parametrize("label", ["a\nb", "a\0b", "a\x7fb", "a\udc80b"])
def test_a_class_whose_name_cannot_be_printed_is_refused(label: str) -> None:
    with pytest.raises(DatasetError) as caught:
        read([f"{label}/1.jpg", "dog/1.jpg"])
    assert caught.value.exit_code == 3
    assert caught.value.problems == (ascii(label),)


def test_without_any_class_the_error_shows_what_was_found_and_what_was_expected() -> None:
    with pytest.raises(
        DatasetError, match=r"Found: 0\.jpg; 1\.jpg; 2\.jpg; 3\.jpg; 4\.jpg; and 2 more"
    ) as caught:
        read([f"{number}.jpg" for number in range(7)])
    assert "<class>/<image>" in caught.value.cure


def test_images_directly_in_the_parts_of_a_split_have_no_class() -> None:
    with pytest.raises(DatasetError, match="No image is in a class folder"):
        read(["train/1.jpg", "val/2.jpg"])
    assert read(["train/cat/1.jpg", "train/2.jpg"]).ignored == ("train/2.jpg",)


def test_one_folder_around_an_archive_is_stepped_into() -> None:
    names = ("flowers/rose/1.jpg", "flowers/daisy/2.jpg", "flowers/LICENSE", "flowers/stray.jpg")
    assert set(places(*names).values()) == {("rose", None), ("daisy", None)}
    assert places("flowers/train/rose/1.jpg") == {"flowers/train/rose/1.jpg": ("rose", "train")}


def test_a_split_around_an_archive_is_not_a_wrapper() -> None:
    assert places("train/rose/1.jpg") == {"train/rose/1.jpg": ("rose", "train")}
    assert places("rose/1.jpg") == {"rose/1.jpg": ("rose", None)}


def test_an_image_has_no_split_and_no_group_unless_given() -> None:
    assert read(["cat/1.jpg"]).places["cat/1.jpg"] == Place("cat", None, None)
