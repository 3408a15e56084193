"""`check` and `plan`: what can be known before a GPU is spent."""

import io
import json
import re
from pathlib import Path

import pytest
from PIL import Image

from tests.pipeline.conftest import Lake, draw, graft, measured_graft

pytestmark = pytest.mark.runs

LECTURE = {
    "GRAFT_BACKBONE_NAME": "VGG16",
    "GRAFT_BACKBONE_IMAGE_SIZE": "240",
    "GRAFT_BACKBONE_WEIGHTS": "none",
    "GRAFT_HEAD_POOLING": "flatten",
    "GRAFT_HEAD_UNITS": "64",
    "GRAFT_HEAD_DROPOUT": "0.25",
    "GRAFT_TRANSFER_MODE": "all",
    "GRAFT_TRANSFER_PROBE": "false",
}


def findings(out: str) -> dict[str, tuple[str, str]]:
    """By subject: the verdict and what was told."""
    rows = re.findall(r"^(ok|FAILED) +(\w+) +(.*(?:\n +.*)*)", out, re.MULTILINE)
    return {subject: (verdict, told) for verdict, subject, told in rows}


def test_check_looks_at_everything_and_leaves_nothing(
    lake: Lake, tiny: dict[str, str], tmp_path: Path
) -> None:
    settings = (
        tiny
        | lake.environment
        | {
            "GRAFT_DATASET_URI": f"{lake.uri}/data",
            "GRAFT_OUTPUT_URI": (tmp_path / "out").as_uri(),
        }
    )
    ended = measured_graft("check", **settings)

    found = findings(ended.out)
    assert ended.code == 0, ended.out + ended.err
    assert list(found) == ["settings", "output", "devices", "dataset", "weights"]
    assert {verdict for verdict, _ in found.values()} == {"ok"}
    assert "MobileNet at 32 px" in found["settings"][1]
    assert "CPU" in found["devices"][1]
    assert "36 images in 3 classes" in found["dataset"][1]
    assert "mobile.weights.h5" in found["weights"][1]
    assert not any(path.is_file() for path in (tmp_path / "out").rglob("*"))


def test_what_libjpeg_says_of_a_damaged_image_is_a_record_and_no_part_of_the_answer(
    tiny: dict[str, str], tmp_path: Path
) -> None:
    for path in draw(tmp_path / "data").rglob("*.png"):
        with io.BytesIO() as encoded:
            Image.open(path).save(encoded, "JPEG")
            start, end = encoded.getvalue()[:-2], encoded.getvalue()[-2:]
        path.with_suffix(".jpg").write_bytes(start + b"\x11" * 9 + end)
        path.unlink()
    here = {
        "GRAFT_DATASET_URI": (tmp_path / "data").as_uri(),
        "GRAFT_OUTPUT_URI": (tmp_path / "out").as_uri(),
    }
    ended = graft("check", **tiny | here)

    native = [
        record for record in map(json.loads, ended.err.splitlines()) if record["logger"] == "native"
    ]
    assert ended.code == 0, ended.out
    assert any("extraneous bytes" in record["message"] for record in native)
    assert "extraneous bytes" not in ended.out


def test_check_tells_every_failure_and_exits_with_the_first(
    tiny: dict[str, str], tmp_path: Path
) -> None:
    settings = tiny | {
        "GRAFT_OUTPUT_URI": "file:///proc/no/such/place",
        "GRAFT_DATASET_URI": (tmp_path / "missing").as_uri(),
        "GRAFT_BACKBONE_WEIGHTS": (tmp_path / "missing.weights.h5").as_uri(),
        "GRAFT_DEVICES_GPUS": "4",
        "CUDA_VISIBLE_DEVICES": "",
    }
    ended = measured_graft("check", **settings)

    found = findings(ended.out)
    assert ended.code == 2
    assert [subject for subject, (verdict, _) in found.items() if verdict == "FAILED"] == [
        "output",
        "devices",
        "dataset",
        "weights",
    ]
    assert "GRAFT_DEVICES_GPUS=4" in found["devices"][1]
    assert "missing.weights.h5" in found["weights"][1]


def test_check_finds_images_that_do_not_decode(tiny: dict[str, str], tmp_path: Path) -> None:
    for label in ("cats", "dogs"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(3):
            (tmp_path / "data" / label / f"{number}.jpg").write_bytes(f"{label} {number}".encode())
    settings = {
        "GRAFT_OUTPUT_URI": tmp_path.as_uri(),
        "GRAFT_DATASET_URI": (tmp_path / "data").as_uri(),
    }
    ended = graft("check", **tiny | settings)

    assert ended.code == 3
    verdict, told = findings(ended.out)["dataset"]
    assert verdict == "FAILED"
    assert "6 of 6 sampled images" in told
    assert "cats/0.jpg" in told


def test_plan_shows_the_layers_the_measurement_the_race_and_the_time(
    tiny: dict[str, str], tmp_path: Path
) -> None:
    settings = {
        "GRAFT_TRANSFER_MODE": "auto",
        "GRAFT_OUTPUT_URI": (tmp_path / "out").as_uri(),
        "GRAFT_PLAN_PRICE_PER_HOUR": "3600",
    }
    ended = measured_graft("plan", "--layers", **tiny | settings)

    assert ended.code == 0, ended.err
    first = ended.out.splitlines()[:7]
    assert [line.split(":")[0] for line in first] == [
        "Images", "Classes", "Retrain", "Time here", "To fetch", "Memory", "Cost",
    ]  # fmt: skip
    assert first[1].split(":")[1].strip() == "blue 12, green 12, red 12"
    assert re.search(r"race .* 1\.5 times", first[2])
    assert re.search(r"\d+ s start, \d+ s training, \d+ s evaluation, \d+ s export", first[3])
    assert re.search(r"36 files of the data set \(\d+\.\d kB\) and the weights file:", first[4])
    assert re.search(r"about [\d.,]+ [MG]B at the peak", first[5])
    # At 3,600 an hour a second costs 1.
    seconds, cost = (
        float(re.findall(r"about ([\d.,]+)", first[n])[0].replace(",", "")) for n in (3, 6)
    )
    assert abs(cost - seconds) <= 0.5
    layers = ended.out.index("conv_pw_13_relu")
    assert layers > ended.out.index("Race:")
    for layer in ("conv1", "logits"):
        assert layer in ended.out
    assert re.search(r"Images: +\d+ train, \d+ val, \d+ test", ended.out)
    kind = r"^Kind: +(like|unlike) ImageNet: all stages together score [+-]\d\.\d{3}"
    assert re.search(kind, ended.out, re.MULTILINE)
    amount = r"^Amount: +(little|much): twice the images would bring about [+-]\d\.\d{3}"
    assert re.search(amount, ended.out, re.MULTILINE)
    for stage in ("16 px", "1 px", "all stages"):
        assert re.search(rf"^ +{stage} +\d\.\d{{3}}", ended.out, re.MULTILINE)
    assert re.search(r"^Race: .*the budget is 1\.5$", ended.out, re.MULTILINE)
    for candidate in ("none", "none, all stages", "part, 1 stage", "all"):
        assert re.search(rf"^ +{candidate} +work \d+\.\d\d$", ended.out, re.MULTILINE)
    assert re.search(r"^ +\d trained by steps up to epoch \d+$", ended.out, re.MULTILINE)
    assert re.search(r"Time here: about [\d,]+ s", ended.out)
    assert not (tmp_path / "out").exists()


def test_the_recipe_of_the_lecture_has_its_parameters_and_all_are_trainable(
    tiny: dict[str, str], tmp_path: Path
) -> None:
    draw(tmp_path / "data", per_class=4)
    (tmp_path / "data" / "grey").mkdir()
    for number in range(4):
        Image.new("RGB", (32, 32), (90 + number,) * 3).save(
            tmp_path / "data" / "grey" / f"{number}.png"
        )
    settings = {
        "GRAFT_DATASET_URI": (tmp_path / "data").as_uri(),
        "GRAFT_OUTPUT_URI": tmp_path.as_uri(),
        # Steps of this size are timed.
        "GRAFT_TRAINING_BATCH_SIZE": "1",
    }
    ended = graft("plan", **tiny | LECTURE | settings)

    assert ended.code == 0, ended.err
    assert "block1_conv1" not in ended.out
    assert "Trainable: 16,320,644 of 16,320,644 parameters" in ended.out
    assert re.search(
        r"^Retrain: +all .*GRAFT_TRANSFER_MODE=all asks for it", ended.out, re.MULTILINE
    )
