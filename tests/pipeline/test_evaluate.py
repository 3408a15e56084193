"""`graft evaluate`: a release judged on other images than those of its run."""

import json
import shutil
from pathlib import Path

import pytest

from tests.pipeline.conftest import COLOURS, Released, draw, graft, measured_graft

pytestmark = pytest.mark.runs


def test_a_release_is_judged_on_every_image_of_another_data_set(
    released: Released, tmp_path: Path
) -> None:
    # Two of its three classes, and of one of them two images: too few to learn from.
    other = draw(tmp_path / "other", classes=2, seed=99)
    for path in sorted((other / "green").iterdir())[2:]:
        path.unlink()
    folder = tmp_path / "deep" / "report"

    ended = measured_graft(
        "evaluate",
        released.model.as_uri(),
        other.as_uri(),
        "--output",
        str(folder),
        GRAFT_CACHE_DIR=str(tmp_path / "cache"),
    )

    assert ended.code == 0, ended.err
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.json"]
    report = json.loads((folder / "report.json").read_text())
    assert report["evaluated"] == released.folder.as_uri()
    assert report["source"] == other.as_uri()
    assert report["test"]["images"] == 14
    assert [row["test"] for row in report["images"]] == [12, 2, 0]
    assert report["plan"] == {}
    assert (report["history"], report["exports"], report["promotion"]) == ([], [], None)
    test = report["test"]
    low, high = test["accuracy_low"], test["accuracy_high"]
    assert f"{test['accuracy']:.4f}  (95 %: {low:.4f} to {high:.4f})" in ended.out
    assert "14 of 2 classes" in ended.out
    assert str(folder / "report.html") in ended.out
    # What `predict` says of each image is what was judged.
    images = [str(path) for path in sorted(other.rglob("*.png"))]
    said = measured_graft("predict", released.model.as_uri(), *images, "--json", "--top", "1")
    right = 0
    for row in map(json.loads, said.out.splitlines()):
        right += Path(row["image"]).parent.name in row["top"]
    assert test["accuracy"] == pytest.approx(right / 14)


def test_images_that_a_release_has_learnt_from_are_no_honest_judges(
    released: Released, pictures: Path, tmp_path: Path
) -> None:
    settings = {"GRAFT_CACHE_DIR": released.settings["GRAFT_CACHE_DIR"]}
    folder = tmp_path / "report"

    ended = graft(
        "evaluate", released.folder.as_uri(), pictures.as_uri(), "--output", str(folder), **settings
    )

    assert ended.code == 0, ended.err
    report = json.loads((folder / "report.json").read_text())
    counts = released.manifest["data"]["images"]
    scores = released.manifest["scores"]
    warning = report["warnings"][0]
    assert f"has learnt from {counts['train'] + counts['val']} of these 36 images" in warning
    # Its own test images are left, and the accuracy of the run with them.
    assert f"On the other {counts['test']} its accuracy is {scores['accuracy']:.4f}" in warning
    assert warning in ended.told
    assert report["test"]["images"] == 36
    assert report["test"]["baseline"] == pytest.approx(1 / 3)


def test_classes_that_a_release_does_not_know_are_named_with_those_that_it_knows(
    released: Released, pictures: Path, tmp_path: Path
) -> None:
    renamed = tmp_path / "renamed"
    shutil.copytree(pictures, renamed)
    (renamed / "red").rename(renamed / "Red")
    (renamed / "blue").rename(renamed / "azure")
    settings = {"GRAFT_CACHE_DIR": str(tmp_path / "cache")}
    folder = tmp_path / "report"
    archive = shutil.make_archive(str(tmp_path / "renamed"), "zip", renamed)

    for address in (renamed.as_uri(), Path(archive).as_uri()):
        ended = graft(
            "evaluate", released.model.as_uri(), address, "--output", str(folder), **settings
        )
        assert ended.code == 3
        assert "2 classes that the release does not know" in ended.told
        for name in ("Red", "azure", *COLOURS):
            assert repr(name) in ended.told
    assert list(folder.iterdir()) == []


def test_what_cannot_be_evaluated_ends_with_the_exit_code_of_its_cause(
    released: Released, pictures: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    output = ("--output", str(tmp_path / "report"))
    model, data = released.model.as_uri(), pictures.as_uri()

    assert graft("evaluate", tmp_path.as_uri(), data, *output).code == 2
    assert graft("evaluate", model, "pictures", *output).code == 3
    assert graft("evaluate", model, data, "--output", str(tmp_path / "file")).code == 2
    assert graft("evaluate", model, (tmp_path / "missing").as_uri(), *output).code == 3
