"""Folders as public data sets, operating systems and people lay them out."""

import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from job import settings
from job.dataset import survey
from job.errors import DatasetError, SettingsError
from job.settings import DatasetSettings

# Images by "split class".
Counts = dict[str, int]


def plant(folder: Path, names: Iterable[str]) -> str:
    """Write a file of each name, with its name as content. `cat/*3` is three images in `cat`."""
    for name in names:
        parent, star, count = name.partition("*")
        files = [f"{parent}{number}.jpg" for number in range(int(count))] if star else [name]
        for file in files:
            path = folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file)
    return folder.as_uri()


def count_images(uri: str, **fields: Any) -> Counts:
    listing = survey(DatasetSettings(uri=uri, **fields))
    counts: Counter[str] = Counter()
    for place in listing.places.values():
        counts[f"{place.split or '-'} {place.label}"] += 1
    return dict(counts)


UNDERSTOOD: dict[str, tuple[list[str], Counts]] = {
    "one-folder-per-class": (["cat/*3", "dog/*2"], {"- cat": 3, "- dog": 2}),
    "train-val-test": (
        ["train/cat/*3", "train/dog/*3", "val/cat/*1", "val/dog/*1", "test/cat/*1", "test/dog/*1"],
        {"train cat": 3, "train dog": 3, "val cat": 1, "val dog": 1, "test cat": 1, "test dog": 1},
    ),
    "training-and-testing": (
        ["Training/glioma/*3", "Training/normal/*2", "Testing/glioma/*1", "Testing/normal/*1"],
        {"train glioma": 3, "train normal": 2, "test glioma": 1, "test normal": 1},
    ),
    "seg-train-and-seg-test": (
        ["seg_train/sea/*2", "seg_train/street/*2", "seg_test/sea/*1", "seg_test/street/*1"],
        {"train sea": 2, "train street": 2, "test sea": 1, "test street": 1},
    ),
    "seg-train-twice-with-seg-pred": (
        [
            "seg_train/seg_train/sea/*2",
            "seg_train/seg_train/street/*2",
            "seg_test/seg_test/sea/*1",
            "seg_test/seg_test/street/*1",
            "seg_pred/seg_pred/*4",
        ],
        {"train sea": 2, "train street": 2, "test sea": 1, "test street": 1},
    ),
    "train-beside-eval": (
        ["train/a/*2", "train/b/*2", "eval/a/*1", "eval/b/*1"],
        {"train a": 2, "train b": 2, "test a": 1, "test b": 1},
    ),
    "eval-beside-test-is-val": (
        ["train/a/*2", "train/b/*2", "eval/a/*1", "test/b/*1"],
        {"train a": 2, "train b": 2, "val a": 1, "test b": 1},
    ),
    "training-evaluation-validation-of-food11": (
        ["training/Bread/*2", "training/Soup/*2", "validation/Bread/*1", "evaluation/Soup/*1"],
        {"train Bread": 2, "train Soup": 2, "val Bread": 1, "test Soup": 1},
    ),
    "imagenette-train-and-val-wrapped": (
        ["imagenette2/train/n01440764/*2", "imagenette2/train/n02102040/*2",
         "imagenette2/val/n01440764/*1", "imagenette2/val/n02102040/*1"],
        {"train n01440764": 2, "train n02102040": 2, "val n01440764": 1, "val n02102040": 1},
    ),
    "training-set-with-single-prediction": (
        ["dataset/training_set/cats/*2", "dataset/training_set/dogs/*2", "dataset/test_set/cats/*1",
         "dataset/test_set/dogs/*1", "dataset/single_prediction/cat_or_dog_1.jpg"],
        {"train cats": 2, "train dogs": 2, "test cats": 1, "test dogs": 1},
    ),
    "alphabet-train-and-alphabet-test-twice": (
        ["asl_alphabet_train/asl_alphabet_train/A/*2", "asl_alphabet_train/asl_alphabet_train/B/*2",
         "asl_alphabet_test/asl_alphabet_test/A_test.jpg"],
        {"train A": 2, "train B": 2},
    ),
    "unlabelled-test-of-a-contest": (
        ["train/cat/*2", "train/dog/*2", "test/*5"],
        {"train cat": 2, "train dog": 2},
    ),
    "unlabelled-test-one-folder-deeper": (
        ["train/cat/*2", "train/dog/*2", "test/test/*5"],
        {"train cat": 2, "train dog": 2},
    ),
    "digits-as-classes-in-parts": (
        ["train/0/*2", "train/1/*2", "test/0/*1"],
        {"train 0": 2, "train 1": 2, "test 0": 1},
    ),
    "train2017-and-val2017": (
        ["train2017/a/*2", "train2017/b/*2", "val2017/a/*1", "val2017/b/*1"],
        {"train a": 2, "train b": 2, "val a": 1, "val b": 1},
    ),
    "TrainingSet-and-ValidationSet": (
        ["TrainingSet/a/*2", "TrainingSet/b/*2", "ValidationSet/a/*1", "ValidationSet/b/*1"],
        {"train a": 2, "train b": 2, "val a": 1, "val b": 1},
    ),
    "train-images-and-test-images": (
        ["train images/a/*2", "train images/b/*2", "test images/a/*1", "test images/b/*1"],
        {"train a": 2, "train b": 2, "test a": 1, "test b": 1},
    ),
    "trainset-and-testset": (
        ["trainset/a/*2", "trainset/b/*2", "testset/a/*1", "testset/b/*1"],
        {"train a": 2, "train b": 2, "test a": 1, "test b": 1},
    ),
    "numbered-parts-of-a-split": (
        ["1-train/a/*2", "1-train/b/*2", "2-test/a/*1", "2-test/b/*1"],
        {"train a": 2, "train b": 2, "test a": 1, "test b": 1},
    ),
    "images-in-each-part": (
        ["train/images/a/*2", "train/images/b/*2", "test/images/a/*1", "test/images/b/*1"],
        {"train a": 2, "train b": 2, "test a": 1, "test b": 1},
    ),
    "one-wrapping-folder": (["flowers/rose/*2", "flowers/tulip/*2"], {"- rose": 2, "- tulip": 2}),
    "wrapping-folders-at-any-depth": (
        ["a/b/c/d/e/rose/*2", "a/b/c/d/e/tulip/*2"],
        {"- rose": 2, "- tulip": 2},
    ),
    "wrapped-with-readme-and-licence": (
        ["data-main/README.md", "data-main/LICENSE", "data-main/data/rose/*2",
         "data-main/data/tulip/*2"],
        {"- rose": 2, "- tulip": 2},
    ),
    "repository-with-docs-and-notebooks": (
        ["data/rose/*2", "data/tulip/*2", "docs/figure.png", "notebooks/plot.png", "src/a.py"],
        {"- rose": 2, "- tulip": 2},
    ),
    "images-around-the-classes": (["images/cat/*2", "images/dog/*2"], {"- cat": 2, "- dog": 2}),
    "images-beside-annotations-without-suffix": (
        ["Images/n02085620-Chihuahua/*2", "Images/n02085782-Japanese/*2",
         "Annotation/n02085620-Chihuahua/n02085620_7", "Annotation/n02085782-Japanese/n02085782_2"],
        {"- n02085620-Chihuahua": 2, "- n02085782-Japanese": 2},
    ),
    "images-beside-masks-with-classes": (
        ["images/cat/*2", "images/dog/*2", "masks/cat/*2", "masks/dog/*2"],
        {"- cat": 2, "- dog": 2},
    ),
    "images-and-masks-in-each-class": (
        ["COVID/images/*3", "COVID/masks/*3", "Normal/images/*2", "Normal/masks/*2"],
        {"- COVID": 3, "- Normal": 2},
    ),
    "masks-beside-images-by-file-name": (
        ["benign/b (1).png", "benign/b (1)_mask.png", "benign/b (1)_mask_1.png",
         "normal/n (1).png", "normal/n (1)_mask.png"],
        {"- benign": 1, "- normal": 1},
    ),
    "a-class-called-mask": (["mask/*2", "no_mask/*2"], {"- mask": 2, "- no_mask": 2}),
    "classes-called-like-trains": (
        ["bullet_train/*2", "steam_train/*2", "test_tube/*1", "car/*1"],
        {"- bullet_train": 2, "- steam_train": 2, "- test_tube": 1, "- car": 1},
    ),
    "a-class-called-test-beside-control": (
        ["test/*2", "control/*2"],
        {"- test": 2, "- control": 2},
    ),
    "images-below-class-folders": (
        ["cat/2019/may/*2", "cat/*1", "dog/*2"],
        {"- cat": 3, "- dog": 2},
    ),
    "tiny-imagenet-images-in-classes": (
        ["train/n01443537/images/*2", "train/n01629819/images/*2", "test/images/*3"],
        {"train n01443537": 2, "train n01629819": 2},
    ),
    "split-in-each-class": (
        ["apple/train/*3", "apple/test/*1", "pear/train/*2", "pear/test/*1"],
        {"train apple": 3, "test apple": 1, "train pear": 2, "test pear": 1},
    ),
    "numbered-classes": (["class1/*2", "class2/*2"], {"- class1": 2, "- class2": 2}),
    "digits-as-classes": (["0/*2", "1/*2", "2/*2"], {"- 0": 2, "- 1": 2, "- 2": 2}),
    "a-class-in-a-folder-of-its-own-name": (
        ["cat/cat/*2", "dog/dog/*2"],
        {"- cat": 2, "- dog": 2},
    ),
    "lost-and-found": (["cat/*2", "dog/*2", "lost+found/#1234"], {"- cat": 2, "- dog": 2}),
    "environment-of-python": (
        ["cat/*2", "dog/*2", "venv/lib/python3/site-packages/matplotlib/images/home.png"],
        {"- cat": 2, "- dog": 2},
    ),
    "packages-of-node": (
        ["cat/*2", "dog/*2", "node_modules/leaflet/images/marker.png"],
        {"- cat": 2, "- dog": 2},
    ),
    "recycle-bin": (
        ["cat/*2", "dog/*2", "$RECYCLE.BIN/S-1-5-21/$RABC.jpg"],
        {"- cat": 2, "- dog": 2},
    ),
    "system-volume-information": (
        ["cat/*2", "dog/*2", "System Volume Information/WPSettings.dat"],
        {"- cat": 2, "- dog": 2},
    ),
    "synology-thumbnails": (
        ["@eaDir/a@SynoEAStream", "cat/@eaDir/0.jpg/SYNOPHOTO_THUMB_M.jpg", "cat/*2", "dog/*2",
         "#recycle/old.jpg", "#snapshot/cat/0.jpg"],
        {"- cat": 2, "- dog": 2},
    ),
    "qnap-thumbnails": (
        ["cat/.@__thumb/s1000.jpg", "@Recycle/a.jpg", "cat/*2", "dog/*2"],
        {"- cat": 2, "- dog": 2},
    ),
    "macosx-shadows": (
        ["__MACOSX/cat/._0.jpg", "cat/._0.jpg", "cat/.DS_Store", "cat/*2", "dog/*2", "dog/Icon\r"],
        {"- cat": 2, "- dog": 2},
    ),
    "windows-thumbs-and-desktop-ini": (
        ["cat/Thumbs.db", "cat/desktop.ini", "cat/*2", "dog/*2", "FOUND.000/FILE0000.CHK"],
        {"- cat": 2, "- dog": 2},
    ),
    "system-folder-beside-a-wrapper": (
        ["photos/cat/*2", "photos/dog/*2", "lost+found/x.jpg", "$RECYCLE.BIN/y.jpg"],
        {"- cat": 2, "- dog": 2},
    ),
    "tiny-imagenet-as-it-unpacks": (
        ["tiny/train/n1/images/*2", "tiny/train/n2/images/*2", "tiny/val/images/*2",
         "tiny/test/images/*2"],
        {"train n1": 2, "train n2": 2},
    ),
    "split-beside-ground-truth-in-two-words": (
        ["train/good/*2", "test/good/*1", "test/broken/*1", "ground_truth/broken/0_mask.png"],
        {"train good": 2, "test good": 1, "test broken": 1},
    ),
    "thumbnails-in-each-class": (
        ["data/cat/*2", "data/cat/thumbnails/*2", "data/dog/*2", "data/dog/thumbs/*2"],
        {"- cat": 2, "- dog": 2},
    ),
    "masks-in-each-class": (
        ["data/cat/*2", "data/cat/masks/*2", "data/dog/*2", "data/dog/ground_truth/*2"],
        {"- cat": 2, "- dog": 2},
    ),
    "downloads-of-windows": (
        ["cat/*2", "dog/*2", "cat/0.jpg:Zone.Identifier", "dog/1.jpg:Zone.Identifier"],
        {"- cat": 2, "- dog": 2},
    ),
    "previews-of-a-catalogue": (
        ["cat/*2", "dog/*2", "My Catalog Previews.lrdata/1.jpg", "Photos.photoslibrary/1.jpg"],
        {"- cat": 2, "- dog": 2},
    ),
    "sidecars-of-photographs": (
        ["cat/*2", "cat/0.xmp", "cat/1.AAE", "dog/*2", "dog/0.lnk", "model.h5"],
        {"- cat": 2, "- dog": 2},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", UNDERSTOOD)
def test_a_known_layout_gives_its_classes(case: str, tmp_path: Path) -> None:
    names, expected = UNDERSTOOD[case]
    assert count_images(plant(tmp_path, names)) == expected


REFUSED: dict[str, tuple[list[str], str, int, Counts]] = {
    "fold1-to-fold3": (
        [f"fold{fold}/{label}/*2" for fold in (1, 2, 3) for label in ("cat", "dog")],
        "fold1; fold2; fold3 hold the same folders: cat; dog",
        2,
        {"- cat": 6, "- dog": 6},
    ),
    "fold1-to-fold3-without-classes": (
        ["fold1/*2", "fold2/*2", "fold3/*2"],
        "count parts of a whole: fold1; fold2; fold3",
        1,
        {"- fold1": 2, "- fold2": 2, "- fold3": 2},
    ),
    "images-in-numbered-parts": (
        ["images_001/images/*2", "images_002/images/*2"],
        "name no class: images_001; images_002",
        1,
        {"- images_001": 2, "- images_002": 2},
    ),
    "parts-of-an-archive": (
        ["HAM10000_images_part_1/*2", "HAM10000_images_part_2/*2"],
        "count parts of a whole",
        1,
        {"- HAM10000_images_part_1": 2, "- HAM10000_images_part_2": 2},
    ),
    "color-grayscale-segmented": (
        [f"plantvillage/{kind}/{label}/*2" for kind in ("color", "grayscale", "segmented")
         for label in ("Apple___scab", "Apple___healthy", "Tomato___healthy")],
        "color; grayscale; segmented hold the same folders",
        3,
        {"- Apple___scab": 6, "- Apple___healthy": 6, "- Tomato___healthy": 6},
    ),
    "splits-in-another-language": (
        ["Entrenamiento/gato/*2", "Entrenamiento/perro/*2", "Prueba/gato/*1", "Prueba/perro/*1"],
        "Entrenamiento; Prueba hold the same folders: gato; perro",
        2,
        {"- gato": 3, "- perro": 3},
    ),
    "domains-around-classes": (
        [f"{domain}/{label}/*1" for domain in ("amazon", "dslr", "webcam")
         for label in ("bike", "mug", "ruler")],
        "hold the same folders: bike; mug; ruler",
        2,
        {"- bike": 3, "- mug": 3, "- ruler": 3},
    ),
    "years-in-each-class": (
        ["cat/2019/*1", "cat/2020/*1", "dog/2019/*1", "dog/2020/*1"],
        "cat; dog hold the same folders: 2019; 2020",
        1,
        {"- cat": 2, "- dog": 2},
    ),
    "a-data-set-inside-itself": (
        ["cell_images/Parasitized/*2", "cell_images/Uninfected/*2",
         "cell_images/cell_images/Parasitized/*2", "cell_images/cell_images/Uninfected/*2"],
        "the folder Parasitized occurs beside cell_images and in it",
        3,
        {"- Parasitized": 2, "- Uninfected": 2},
    ),
    "a-data-set-folder-among-classes": (
        ["cat/*2", "dog/*2", "dataset/bird/*2", "dataset/fish/*2"],
        "dataset holds several folders, and others are beside it: cat; dog",
        1,
        {"- cat": 2, "- dog": 2, "- dataset": 4},
    ),
    "labelled-beside-unlabelled-images": (
        ["labeled/cat/*2", "labeled/dog/*2", "unlabeled/*4"],
        "labeled holds several folders, and others are beside it: unlabeled",
        2,
        {"- cat": 2, "- dog": 2},
    ),
    "annotated-images-beside-new-ones": (
        ["Annotated_Images/cat/*2", "Annotated_Images/dog/*2", "2024-05-01/*4"],
        "Annotated_Images holds several folders, and others are beside it: 2024-05-01",
        2,
        {"- cat": 2, "- dog": 2},
    ),
    "a-test-folder-among-classes": (
        ["cat/*2", "dog/*2", "test/cat/*1", "test/dog/*1"],
        "the folder cat occurs beside test and in it",
        1,
        {"- cat": 2, "- dog": 2, "- test": 2},
    ),
    "images-beside-masks": (
        ["images/*3", "masks/*3"],
        "all images are in folders that name no class: images",
        1,
        {"- images": 3, "- masks": 3},
    ),
    "images-beside-labels": (
        ["train/images/*3", "train/labels/0.txt", "valid/images/*2", "valid/labels/0.txt"],
        "all images are in folders that name no class: images",
        2,
        {"train images": 3, "val images": 2},
    ),
    "a-split-times-two-domains": (
        ["trainA/*2", "trainB/*2", "testA/*1", "testB/*1"],
        "their names are a split and something else: testA; testB; trainA; trainB",
        1,
        {"- trainA": 2, "- trainB": 2, "- testA": 1, "- testB": 1},
    ),
    "a-split-beside-a-class": (
        ["train/cat/*2", "test/cat/*1", "dog/*2"],
        r"they are a split \(test, train\) beside others: dog",
        2,
        {"train cat": 2, "test cat": 1},
    ),
    "several-tests-beside-one-train": (
        ["fruits/Training/Apple/*2", "fruits/Training/Kiwi/*2", "fruits/Test/Apple/*1",
         "fruits/Test/Kiwi/*1", "fruits/test-multiple_fruits/*2"],
        "beside others: test-multiple_fruits",
        3,
        {"train Apple": 2, "train Kiwi": 2, "test Apple": 1, "test Kiwi": 1},
    ),
    "other-classes-in-test": (
        ["train/cat/*2", "train/dog/*2", "test/0/*1", "test/1/*1"],
        "test has none of the classes of train, but: 0; 1",
        2,
        {"train cat": 2, "train dog": 2, "test 0": 1, "test 1": 1},
    ),
    "another-digit-in-test": (
        ["train/0/*2", "train/1/*2", "test/2/*1"],
        "test has none of the classes of train, but: 2",
        2,
        {"train 0": 2, "train 1": 2, "test 2": 1},
    ),
    "a-split-inside-each-part": (
        ["train/train/a/*1", "train/val/a/*1", "test/train/a/*1", "test/val/a/*1"],
        "hold|a split",
        3,
        {"train a": 2, "val a": 2},
    ),
    "split-of-each-site": (
        [f"{site}/{part}/{label}/*1" for site in ("north", "south") for part in ("train", "test")
         for label in ("ok", "bad")],
        "is a part of a split with folders in it",
        3,
        {"train ok": 2, "train bad": 2, "test ok": 2, "test bad": 2},
    ),
    "versions-of-a-data-set": (
        ["dataset-master/images/*2", "dataset2-master/images/EOS/*2"],
        "count parts of a whole: dataset-master; dataset2-master",
        3,
        {"- EOS": 2},
    ),
    "images-beside-segmentations": (
        ["CUB/images/a/*2", "CUB/images/b/*2", "segmentations/a/*2", "segmentations/b/*2"],
        "CUB; segmentations hold the same folders: a; b",
        3,
        {"- a": 2, "- b": 2},
    ),
    "domains-around-images-around-classes": (
        ["amazon/images/bike/*2", "amazon/images/mug/*2", "webcam/images/bike/*2",
         "webcam/images/mug/*2"],
        "amazon; webcam hold the same folders: bike; mug",
        3,
        {"- bike": 4, "- mug": 4},
    ),
    "a-data-set-twice-at-other-depths": (
        ["casting/casting/train/ok/*2", "casting/casting/train/bad/*2", "casting_512/ok/*2",
         "casting_512/bad/*2"],
        "casting; casting_512 hold the same folders: bad; ok",
        4,
        {"train ok": 2, "train bad": 2},
    ),
    "kinds-of-scans-around-classes": (
        ["Img/GoodImg/Bmp/Sample001/*2", "Img/GoodImg/Bmp/Sample002/*2",
         "Img/BadImg/Bmp/Sample001/*2", "Img/BadImg/Bmp/Sample002/*2"],
        "BadImg; GoodImg hold the same folders: Bmp; Sample001; Sample002",
        4,
        {"- Sample001": 4, "- Sample002": 4},
    ),
    "a-foreign-split-with-one-shared-class": (
        ["Lernen/ja/*2", "Lernen/nein/*2", "Pruefen/ja/*1"],
        "Lernen; Pruefen hold the same folders: ja",
        2,
        {"- ja": 3, "- nein": 2},
    ),
    "collections-around-classes": (
        ["colon_image_sets/colon_aca/*2", "colon_image_sets/colon_n/*2",
         "lung_image_sets/lung_aca/*2", "lung_image_sets/lung_n/*2"],
        "those of collections: colon_image_sets; lung_image_sets",
        2,
        {"- colon_aca": 2, "- colon_n": 2, "- lung_aca": 2, "- lung_n": 2},
    ),
    "initials-around-classes": (
        ["data_256/a/airfield/*2", "data_256/a/alley/*2", "data_256/b/bakery/*2"],
        "are the initials of those in them: a; b",
        3,
        {"- airfield": 2, "- alley": 2, "- bakery": 2},
    ),
    "cross-validation-in-pairs": (
        [f"{part}{fold}/{label}/*1" for part in ("train", "test") for fold in (1, 2)
         for label in "ab"],
        "they are several splits: test1; test2; train1; train2",
        2,
        {"train a": 2, "train b": 2, "test a": 2, "test b": 2},
    ),
    "parts-by-case": (
        ["Train/a/*2", "train/b/*2", "Test/a/*1"],
        "Train and train differ only in case",
        2,
        {"train a": 2, "train b": 2, "test a": 1},
    ),
    "copies-by-number": (
        ["cat/*2", "dog/*2", "cat (1)/*2"],
        r"cat \(1\) is called like a copy of cat",
        1,
        {"- cat": 2, "- dog": 2, "- cat (1)": 2},
    ),
    "copies-of-explorer-and-finder": (
        ["cat/*2", "dog/*2", "cat - Copy/*2", "dog copy 2/*2"],
        "cat - Copy is called like a copy of cat",
        1,
        {"- cat": 2, "- dog": 2, "- cat - Copy": 2, "- dog copy 2": 2},
    ),
    "copies-in-german": (
        ["cat/*2", "dog/*2", "Kopie von dog/*2"],
        "Kopie von dog is called like a copy of dog",
        1,
        {"- cat": 2, "- dog": 2, "- Kopie von dog": 2},
    ),
    "folders-of-a-camera": (
        ["DCIM/100CANON/*2", "DCIM/101CANON/*2", "MISC/*1"],
        "DCIM holds several folders, and others are beside it: MISC",
        2,
        {"- 100CANON": 2, "- 101CANON": 2},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_an_unclear_layout_is_refused_and_can_be_said_by_hand(case: str, tmp_path: Path) -> None:
    names, reason, depth, expected = REFUSED[case]
    uri = plant(tmp_path, names)
    with pytest.raises(DatasetError, match=reason) as caught:
        survey(DatasetSettings(uri=uri))
    assert caught.value.exit_code == 3
    assert any(" file" in problem for problem in caught.value.problems)
    assert "GRAFT_DATASET_CLASS_DEPTH" in caught.value.cure
    assert count_images(uri, class_depth=depth) == expected


DECOMPOSED, COMPOSED = (unicodedata.normalize(form, "Käfer") for form in ("NFD", "NFC"))


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        pytest.param(["Cat/*1", "cat/*1", "dog/*1"], "'Cat' and 'cat'", id="classes-by-case"),
        pytest.param(
            ["train/Cat/*1", "train/dog/*1", "test/cat/*1", "test/dog/*1"],
            "'Cat' and 'cat'",
            id="classes-by-case-in-two-parts",
        ),
        pytest.param(["cat /*1", "cat/*1"], "'cat' and 'cat '", id="classes-by-trailing-blank"),
        pytest.param(
            ["hot  dog/*1", "hot dog/*1"], "'hot  dog' and 'hot dog'", id="classes-by-two-blanks"
        ),
        pytest.param(
            ["hot\xa0dog/*1", "hot dog/*1"],
            r"'hot dog' and 'hot\xa0dog'",
            id="classes-by-blank-that-does-not-break",
        ),
        pytest.param(
            [f"{DECOMPOSED}/*1", f"{COMPOSED}/*1"],
            r"'Ka\u0308fer' and 'K\xe4fer'",
            id="classes-by-unicode-form",
        ),
        pytest.param(
            ["straße/*1", "STRASSE/*1"], r"'STRASSE' and 'stra\xdfe'", id="classes-by-sharp-s"
        ),
        pytest.param(["cat./*1", "cat/*1"], "'cat' and 'cat.'", id="classes-by-trailing-dot"),
        pytest.param(
            ["hot_dog/*1", "hot dog/*1"], "'hot dog' and 'hot_dog'", id="classes-by-underscore"
        ),
        pytest.param(
            ["t-shirt/*1", "t\u2013shirt/*1"],
            r"'t-shirt' and 't\u2013shirt'",
            id="classes-by-dash",
        ),
        pytest.param(
            ["devil's claw/*1", "devil\u2019s claw/*1"],
            r""""devil's claw" and 'devil\u2019s claw'""",
            id="classes-by-apostrophe",
        ),
        pytest.param(
            ["cat\u200b/*1", "cat/*1"], r"'cat' and 'cat\u200b'", id="classes-by-zero-width"
        ),
        pytest.param(
            ["\u200fcat/*1", "cat/*1"], r"'cat' and '\u200fcat'", id="classes-by-direction-mark"
        ),
        pytest.param(
            ["co\xadop/*1", "coop/*1"], r"'coop' and 'co\xadop'", id="classes-by-soft-hyphen"
        ),
    ],
)
def test_classes_that_look_alike_are_named_and_stop_the_run(
    names: list[str], problem: str, tmp_path: Path
) -> None:
    uri = plant(tmp_path, [*names, "other/*1"] if "train/Cat/*1" not in names else names)
    with pytest.raises(DatasetError, match="differ only in case, blanks, dashes") as caught:
        survey(DatasetSettings(uri=uri))
    assert caught.value.exit_code == 3
    assert caught.value.problems == (problem,)


def test_what_was_guessed_is_in_the_log_and_in_the_listing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = ["data/Training/a/*2", "data/Training/b/*2", "data/Testing/a/*1", "data/Testing/b/*1"]
    listing = survey(DatasetSettings(uri=plant(tmp_path, names)))
    assert listing.notes == (
        "stepped into the folder data",
        "read the folders of a split: Testing as test, Training as train",
    )
    assert "Training as train" in caplog.text


def load_uris(data: str, output: str, **more: str) -> settings.Settings:
    return settings.load({"GRAFT_DATASET_URI": data, "GRAFT_OUTPUT_URI": output, **more})


@pytest.mark.parametrize(
    ("data", "output"),
    [
        pytest.param("s3://b/flowers", "s3://b/flowers/models", id="output-inside-data-s3"),
        pytest.param("s3://b/flowers/", "s3://b/flowers", id="output-is-data-s3"),
        pytest.param("s3://b", "s3://b/models", id="output-inside-whole-bucket"),
        pytest.param("file:///d/flowers", "file:///d/flowers/out", id="output-inside-data-file"),
        pytest.param("file:///d/f", "file:///d/x/../f/out", id="output-inside-data-by-dots"),
        pytest.param("file:///d/f%C3%A4", "file:///d/fä/out", id="output-inside-data-by-percent"),
        pytest.param("file:///d/f", "file:///d//f", id="output-is-data-by-slashes"),
        pytest.param("s3://b/m/model/releases", "s3://b/m", id="data-inside-releases-s3"),
        pytest.param("file:///m/model/releases/x", "file:///m", id="data-inside-releases-file"),
    ],
)
def test_releases_and_images_in_one_another_are_refused(data: str, output: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_uris(data, output)
    assert caught.value.exit_code == 2
    assert "is inside the" in str(caught.value)


def test_a_link_to_the_data_set_is_the_data_set(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    with pytest.raises(SettingsError, match="inside the data set"):
        load_uris((tmp_path / "data").as_uri(), (tmp_path / "link" / "out").as_uri())


@pytest.mark.parametrize(
    ("data", "output"),
    [
        pytest.param("s3://b/flowers", "s3://b/flowers-models", id="output-beside-data"),
        pytest.param("s3://b/flowers", "s3://b", id="data-beside-the-models-of-a-bucket"),
        pytest.param("s3://b/flowers.zip", "s3://b", id="archive-beside-the-models"),
        pytest.param("s3://b/flowers/all.csv", "s3://b/flowers/models", id="table-beside-models"),
    ],
)
def test_releases_beside_images_are_fine(data: str, output: str) -> None:
    assert load_uris(data, output).dataset.uri == data


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("GRAFT_DATASET_CLASS_DEPTH", "0", id="class-depth-zero"),
        pytest.param("GRAFT_DATASET_CLASS_DEPTH", "two", id="class-depth-in-words"),
        pytest.param("GRAFT_DATASET_ARCHIVE_ENCODING", "latin-99", id="encoding-unknown"),
        pytest.param("GRAFT_DATASET_ARCHIVE_ENCODING", "base64", id="encoding-of-bytes"),
    ],
)
def test_a_wrong_setting_of_the_data_set_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name) as caught:
        load_uris("s3://b/data", "s3://b/models", **{name: value})
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("names", "noted"),
    [
        (["animals/cat/*2", "vehicles/car/*2"], "animals with cat, vehicles with car"),
        (["train/animals/cat/*2", "train/vehicles/car/*2"], "animals with cat, vehicles with car"),
        (["cat/2024/*2", "cat/2025/*2", "dog/*2"], "cat with 2024, 2025"),
    ],
)
def test_classes_that_hold_all_images_in_folders_are_noted_as_a_guess(
    names: list[str], noted: str, tmp_path: Path
) -> None:
    listing = survey(DatasetSettings(uri=plant(tmp_path, names)))
    (note,) = listing.notes
    assert f"took the upper folders as the classes, and not the folders in them: {noted}" in note
    assert "GRAFT_DATASET_CLASS_DEPTH" in note


@pytest.mark.parametrize(
    ("names", "tables"),
    [
        (["train_images/*2", "test_images/*1", "train.csv"], "train.csv"),
        (["Train/0/*1", "Train/1/*1", "Meta/*1", "Meta.csv", "Train.csv"], "Meta.csv, Train.csv"),
        (["images/*2", "labels.lst", ".hidden/x.csv"], "labels.lst"),
    ],
)
def test_a_layout_that_is_refused_names_the_tables_beside_it(
    names: list[str], tables: str, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError) as caught:
        survey(DatasetSettings(uri=plant(tmp_path, names)))
    assert caught.value.cure.endswith(f"give it as GRAFT_DATASET_URI: found {tables}.")


def test_a_folder_that_names_nothing_is_noted_as_a_class(tmp_path: Path) -> None:
    names = ["cat/*2", "dog/*2", "New folder/*2", "images/*2"]
    listing = survey(DatasetSettings(uri=plant(tmp_path, names)))
    assert listing.notes == ("took folders for classes: New folder, images",)


@pytest.mark.parametrize(
    "names",
    [
        ["cat/*2", "dog/*2"],
        ["cat/images/*2", "dog/images/*2"],
        ["cat/cat/*2", "dog/*2"],
        ["cat/*2", "cat/old/*1", "dog/*2"],
    ],
)
def test_folders_of_pictures_in_a_class_are_no_guess(names: list[str], tmp_path: Path) -> None:
    assert survey(DatasetSettings(uri=plant(tmp_path, names))).notes == ()
