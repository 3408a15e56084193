"""An environment is read once, and everything that is wrong with it is reported at once."""

import json
import os
import re
import sys
from contextlib import suppress
from pathlib import Path
from subprocess import PIPE, Popen

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from job import identity
from job.catalogue import BACKBONES
from job.errors import SettingsError
from job.settings import VARIABLES, Settings, load

REQUIRED = {"GRAFT_DATASET_URI": "file:///data", "GRAFT_OUTPUT_URI": "s3://models/team"}


def read(required: dict[str, str] = REQUIRED, /, **environment: str) -> Settings:
    """Read the required settings and some more, or all of them given as a mapping."""
    return load(required | environment)


def problems(required: dict[str, str] = REQUIRED, /, **environment: str) -> list[str]:
    """What is wrong with an environment."""
    with pytest.raises(SettingsError) as caught:
        read(required, **environment)
    assert caught.value.exit_code == 2
    assert caught.value.cure
    return list(caught.value.problems)


def test_the_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_SEED", "5")
    for name, value in REQUIRED.items():
        monkeypatch.setenv(name, value)
    assert load().seed == 5


def test_another_environment_is_read_alone_and_both_stay_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GRAFT_SEED", "5")
    monkeypatch.setenv("GRAFT_NO_SUCH", "in the process alone")
    before, given = dict(os.environ), dict(REQUIRED)
    assert load(given).seed == 0
    assert (dict(os.environ), given) == (before, REQUIRED)


# --- names ---


def test_two_addresses_are_all_that_is_required() -> None:
    settings = read()
    assert (settings.dataset.uri, settings.output.uri) == ("file:///data", "s3://models/team")
    assert (settings.name, settings.seed, settings.transfer.mode) == ("model", 0, "auto")
    assert settings.export.formats == ("saved_model", "keras")


def test_the_first_word_is_the_group_and_the_rest_is_the_field() -> None:
    settings = read(
        GRAFT_TRAINING_BATCH_SIZE="64",
        GRAFT_BACKBONE_WEIGHTS_SHA256="",
        GRAFT_TELEMETRY_PUSH_URL="",
    )
    assert settings.training.batch_size == 64


def test_what_is_required_is_named() -> None:
    assert problems({}) == [
        "GRAFT_DATASET_URI is required and not set.",
        "GRAFT_OUTPUT_URI is required and not set.",
    ]


def test_a_group_without_its_required_address_names_it() -> None:
    assert problems({"GRAFT_OUTPUT_URI": "s3://models"}, GRAFT_DATASET_BROKEN_SHARE="0.1") == [
        "GRAFT_DATASET_URI is required and not set."
    ]


@pytest.mark.parametrize(
    ("received", "meant"),
    [
        ("GRAFT_TRAINING_BATCHSIZE", "GRAFT_TRAINING_BATCH_SIZE"),
        ("GRAFT_TRAINIG_EPOCHS", "GRAFT_TRAINING_EPOCHS"),
        ("GRAFT_DATASET_URL", "GRAFT_DATASET_URI"),
        ("GRAFT_SEEDS", "GRAFT_SEED"),
        ("GRAFT_EPOCHS", "GRAFT_TRAINING_EPOCHS"),
        ("GRAFT_BATCH_SIZE", "GRAFT_TRAINING_BATCH_SIZE"),
        ("GRAFT_TRAINING", "GRAFT_TRAINING_XLA"),
    ],
)
def test_a_misspelt_name_is_refused_with_the_nearest_one(received: str, meant: str) -> None:
    (problem,) = problems(**{received: "1"})
    assert problem == f"{received} is unknown; the nearest setting is {meant}."


def test_an_unknown_name_beside_valid_ones_is_refused() -> None:
    assert problems(GRAFT_SEED="3", GRAFT_SEDE="4") == [
        "GRAFT_SEDE is unknown; the nearest setting is GRAFT_SEED."
    ]


def test_a_name_in_small_letters_is_not_ours() -> None:
    assert read(graft_seed="3").seed == 0


def test_names_of_other_programs_are_not_ours() -> None:
    read(GRAFTING="1", XGRAFT_SEED="2")


def test_what_kubernetes_injects_for_services_of_our_name_is_ignored() -> None:
    settings = read(
        GRAFT_SERVICE_HOST="10.0.0.1",
        GRAFT_SERVICE_PORT="80",
        GRAFT_SERVICE_PORT_METRICS="8000",
        GRAFT_PORT="tcp://10.0.0.1:80",
        GRAFT_PORT_80_TCP="tcp://10.0.0.1:80",
        GRAFT_PORT_80_TCP_PROTO="tcp",
        GRAFT_PORT_80_TCP_PORT="80",
        GRAFT_PORT_80_TCP_ADDR="10.0.0.1",
        GRAFT_FLOWERS_SERVICE_HOST="10.0.0.2",
        GRAFT_TELEMETRY_SERVICE_PORT_HTTP="80",
        GRAFT_TELEMETRY_PORT="tcp://10.0.0.3:8000",
        GRAFT_TELEMETRY_PORT_8000_TCP_ADDR="10.0.0.3",
    )
    assert settings.telemetry.port == 8000


# --- values ---


def test_an_empty_value_is_an_unset_one() -> None:
    empty = read(
        GRAFT_SEED="", GRAFT_BACKBONE_IMAGE_SIZE="", GRAFT_CACHE_LIMIT="", GRAFT_EXPORT_FORMATS=""
    )
    assert empty == read()


def test_formats_are_separated_by_commas() -> None:
    assert read(GRAFT_EXPORT_FORMATS="saved_model, onnx,litert,").export.formats == (
        "saved_model",
        "onnx",
        "litert",
    )


def test_a_tilde_in_the_cache_folder_is_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read().cache.dir == Path("~/.cache/graft").expanduser()
    monkeypatch.setenv("HOME", "/home/someone")
    assert read(GRAFT_CACHE_DIR="~/images").cache.dir == Path("/home/someone/images")


@pytest.mark.parametrize("value", ["1000000", "1e6"])
def test_a_float_may_be_written_as_helm_writes_it(value: str) -> None:
    assert read(GRAFT_CHECKPOINT_INTERVAL_SECONDS=value).checkpoint.interval_seconds == 1e6


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("GRAFT_TRAINING_EPOCHS", "0", "greater than or equal to 1"),
        ("GRAFT_TRAINING_EPOCHS", "many", "valid integer"),
        ("GRAFT_TRAINING_LEARNING_RATE", "nan", "finite"),
        ("GRAFT_TRAINING_LEARNING_RATE", "inf", "finite"),
        ("GRAFT_TRAINING_XLA", "perhaps", "valid boolean"),
        ("GRAFT_GATE_MIN_SCORE", "1.5", "less than or equal to 1"),
        ("GRAFT_GATE_METRIC", "f1", "'accuracy', 'balanced_accuracy' or 'macro_f1'"),
        ("GRAFT_TRANSFER_MODE", "some", "'auto', 'none', 'part' or 'all'"),
        (
            "GRAFT_BACKBONE_NAME",
            "EfficientNetV2B99",
            "no such backbone; the nearest is EfficientNetV2B",
        ),
        ("GRAFT_BACKBONE_CANDIDATES", "VGG16,VGG17", "no such backbone; the nearest is VGG1"),
        ("GRAFT_BACKBONE_CANDIDATES", "auto", "no such backbone"),
        ("GRAFT_BACKBONE_CANDIDATES", ",", "at least one backbone"),
        ("GRAFT_BACKBONE_MOST_PARAMETERS", "0", "greater than 0"),
        ("GRAFT_BACKBONE_WEIGHTS", "imagnet", "expected imagenet, none, the URI"),
        ("GRAFT_BACKBONE_WEIGHTS", "release:flowers", "release:<uri>"),
        ("GRAFT_BACKBONE_WEIGHTS_SHA256", "abc", "64 hex digits"),
        ("GRAFT_BACKBONE_MIRROR", "file://weights", "s3://bucket/prefix or file:///folder"),
        ("GRAFT_DATASET_URI", "gs://data/flowers", "Write s3://data/flowers, and set"),
        ("GRAFT_OUTPUT_URI", "s3:///models", "s3://bucket/prefix or file:///folder"),
        ("GRAFT_NAME", "My Model", "small letters, digits"),
        ("GRAFT_EXPORT_FORMATS", "saved_model,tflite", "'onnx' or 'litert'"),
        ("GRAFT_EXPORT_FORMATS", ",", "at least 1 item"),
        ("GRAFT_TELEMETRY_PORT", "70000", "less than or equal to 65535"),
        ("GRAFT_CACHE_LIMIT", "10Gi", "valid integer"),
        ("GRAFT_CACHE_DIR", "~nobody-of-that-name/cache", "a user without a home folder"),
    ],
)
def test_an_invalid_value_is_refused_with_what_was_expected(
    name: str, value: str, said: str
) -> None:
    (problem,) = problems(**{name: value})
    assert problem.startswith(f"{name}=")
    assert said in problem


def test_all_problems_are_reported_at_once() -> None:
    found = problems(
        {"GRAFT_OUTPUT_URI": "s3a://models"},
        GRAFT_SEDE="3",
        GRAFT_TRAINING_EPOCHS="0",
        GRAFT_HEAD_DROPOUT="1",
        GRAFT_BACKBONE_NAME="VGG17",
    )
    named = [re.match(r"GRAFT_\w+", problem)[0] for problem in found]  # type: ignore[index]  # all do match
    assert sorted(named) == [
        "GRAFT_BACKBONE_NAME",
        "GRAFT_DATASET_URI",
        "GRAFT_HEAD_DROPOUT",
        "GRAFT_OUTPUT_URI",
        "GRAFT_SEDE",
        "GRAFT_TRAINING_EPOCHS",
    ]


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        (
            {"GRAFT_BACKBONE_NAME": "Xception", "GRAFT_BACKBONE_IMAGE_SIZE": "32"},
            "too small for Xception: use 71",
        ),
        ({"GRAFT_TRANSFER_MODE": "none", "GRAFT_BACKBONE_WEIGHTS": "none"}, "random: use `all`"),
        ({"GRAFT_EXPORT_FORMATS": "keras"}, "lacks saved_model: add it"),
        (
            {
                "GRAFT_BACKBONE_NAME": "auto",
                "GRAFT_BACKBONE_CANDIDATES": "VGG16,Xception",
                "GRAFT_BACKBONE_IMAGE_SIZE": "64",
            },
            "too small for Xception: use 71",
        ),
        (
            {"GRAFT_BACKBONE_NAME": "auto", "GRAFT_BACKBONE_MOST_PARAMETERS": "9"},
            "leaves no candidate: the smallest is MobileNetV3Large with 2996352",
        ),
        (
            {"GRAFT_BACKBONE_NAME": "auto", "GRAFT_BACKBONE_WEIGHTS": "release:s3://models/a"},
            "does not go with GRAFT_BACKBONE_NAME=auto",
        ),
        (
            {"GRAFT_BACKBONE_NAME": "auto", "GRAFT_BACKBONE_WEIGHTS_SHA256": "0" * 64},
            "is the hash of one file",
        ),
        (
            {"GRAFT_BACKBONE_WEIGHTS": "none", "GRAFT_BACKBONE_WEIGHTS_SHA256": "0" * 64},
            "takes no GRAFT_BACKBONE_W",
        ),
        (
            {"GRAFT_TRAINING_BATCH_SIZE": "7", "GRAFT_DEVICES_LOGICAL_CPUS": "2"},
            "make it a multiple",
        ),
    ],
)
def test_contradictions_are_refused_with_the_cure(environment: dict[str, str], said: str) -> None:
    (problem,) = problems(**environment)
    assert said in problem


def test_contradictions_and_unknown_names_are_reported_together() -> None:
    assert (
        len(problems(GRAFT_SEDE="3", GRAFT_EXPORT_FORMATS="keras", GRAFT_BACKBONE_IMAGE_SIZE="16"))
        == 3
    )


@given(st.dictionaries(st.sampled_from(list(VARIABLES)), st.text(st.characters(codec="ascii"))))
def test_any_environment_is_read_or_refused(values: dict[str, str]) -> None:
    with suppress(SettingsError):
        load(REQUIRED | values)


@pytest.mark.parametrize(
    "address",
    ["ftp://host/t0ken", "https:///t0ken", "http://host:t0ken/", "https://host/t0ken\n", "t0ken"],
)
def test_an_address_that_may_hold_a_secret_is_refused_without_being_repeated(address: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read(GRAFT_TELEMETRY_WEBHOOK_URL=address)
    (problem,) = refused.value.problems
    assert problem.startswith("GRAFT_TELEMETRY_WEBHOOK_URL=…: expected http://… or https://…")
    assert "t0ken" not in str(refused.value)


def test_secrets_are_not_printed_with_the_settings() -> None:
    settings = read(
        GRAFT_TELEMETRY_WEBHOOK_URL="https://host/t0ken", GRAFT_TELEMETRY_WEBHOOK_SECRET="t0ken"
    )
    assert "t0ken" not in f"{settings!r} {settings.values()}"
    assert settings.telemetry.webhook_secret.get_secret_value() == "t0ken"


def test_settings_do_not_change() -> None:
    settings = read()
    with pytest.raises(ValidationError):
        settings.seed = 3  # type: ignore[misc]  # mypy knows that it fails
    with pytest.raises(ValidationError):
        settings.training.epochs = 3  # type: ignore[misc]  # the same


# --- what enters the identity ---

RUNNING = {
    "GRAFT_DATASET_URI": "s3://elsewhere/data",
    "GRAFT_DATASET_ANONYMOUS": "true",
    "GRAFT_DATASET_REQUESTER_PAYS": "true",
    "GRAFT_OUTPUT_URI": "s3://elsewhere",
    "GRAFT_OUTPUT_SERVING": "true",
    "GRAFT_TRIGGER_MIN_NEW_IMAGES": "3",
    "GRAFT_TRIGGER_MIN_NEW_SHARE": "0.5",
    "GRAFT_TRIGGER_DRIFT_P": "0.01",
    "GRAFT_TRIGGER_COOLDOWN_HOURS": "2",
    "GRAFT_OUTPUT_KEEP": "3",
    "GRAFT_BACKBONE_MIRROR": "s3://mirror",
    "GRAFT_GATE_MIN_SCORE": "0.9",
    "GRAFT_GATE_TOLERANCE": "0.1",
    "GRAFT_GATE_EVIDENCE": "interval",
    "GRAFT_CACHE_DIR": "/cache",
    "GRAFT_CACHE_LIMIT": "1000",
    "GRAFT_RESULT_PATH": "/result.json",
    "GRAFT_TELEMETRY_PORT": "0",
    "GRAFT_TELEMETRY_HOST": "127.0.0.1",
    "GRAFT_TELEMETRY_PUSH_URL": "http://push:9091",
    "GRAFT_TELEMETRY_WEBHOOK_URL": "https://events.example/hook",
    "GRAFT_TELEMETRY_WEBHOOK_SECRET": "shared",
    "GRAFT_CHECKPOINT_INTERVAL_SECONDS": "1",
    "GRAFT_DEVICES_GPUS": "1",
    "GRAFT_DEVICES_LOGICAL_CPUS": "2",
    "GRAFT_DEVICES_THREADS": "3",
    "GRAFT_DEVICES_JOIN_SECONDS": "60",
    "GRAFT_PLAN_PRICE_PER_HOUR": "1.5",
}
SHAPING = {
    "GRAFT_NAME": "cats",
    "GRAFT_SEED": "1",
    "GRAFT_AGAIN": "please",
    "GRAFT_DATASET_BROKEN_SHARE": "0.5",
    "GRAFT_BACKBONE_NAME": "VGG16",
    "GRAFT_BACKBONE_IMAGE_SIZE": "64",
    "GRAFT_BACKBONE_CANDIDATES": "VGG16,VGG19",
    "GRAFT_BACKBONE_MOST_PARAMETERS": "9000000",
    "GRAFT_BACKBONE_MOST_MILLISECONDS": "2.5",
    "GRAFT_BACKBONE_IMAGE_FIT": "crop",
    "GRAFT_HEAD_UNITS": "8",
    "GRAFT_TRANSFER_MODE": "all",
    "GRAFT_TRANSFER_BUDGET": "2",
    "GRAFT_TRAINING_EPOCHS": "3",
    "GRAFT_TRAINING_BATCH_SIZE": "16",
    "GRAFT_GATE_METRIC": "macro_f1",
    "GRAFT_EXPORT_FORMATS": "saved_model,onnx",
}


def test_where_and_how_a_run_works_does_not_shape_the_model() -> None:
    assert read(**RUNNING).shaping_values() == read().shaping_values()


@pytest.mark.parametrize(("name", "value"), SHAPING.items())
def test_what_decides_the_model_shapes_it(name: str, value: str) -> None:
    assert read(**{name: value}).shaping_values() != read(**{name: ""}).shaping_values()


def test_every_setting_has_an_effect_and_a_sentence() -> None:
    shaping = read().shaping_values().keys()
    for name, variable in VARIABLES.items():
        assert variable.field.description, name
        assert (name in RUNNING) is (name not in shaping), name


def test_a_release_records_the_address_of_its_data_and_no_other() -> None:
    settings = read(**RUNNING)
    assert settings.recorded_values().keys() - settings.shaping_values().keys() == {
        "GRAFT_DATASET_URI"
    }
    json.dumps(settings.recorded_values())


def test_every_value_can_be_printed_and_read_back() -> None:
    values = read(**RUNNING, **SHAPING).values()
    assert list(values) == list(VARIABLES)
    written = {}
    for name, value in values.items():
        if VARIABLES[name].is_secret:
            continue  # it is not printed
        text = ",".join(value) if isinstance(value, list) else str(value)
        written[name] = "" if value is None else text
    secrets = {name: RUNNING[name] for name in VARIABLES if VARIABLES[name].is_secret}
    assert load(written | secrets).values() == values


def test_the_size_is_that_of_the_backbone_unless_given() -> None:
    assert read(GRAFT_BACKBONE_NAME="VGG16").image_size == BACKBONES["VGG16"].default_size
    assert read(GRAFT_BACKBONE_NAME="VGG16", GRAFT_BACKBONE_IMAGE_SIZE="240").image_size == 240


def test_auto_stands_for_the_candidates_within_the_limit_of_parameters() -> None:
    auto = {"GRAFT_BACKBONE_NAME": "auto", "GRAFT_BACKBONE_CANDIDATES": "VGG16, Xception,VGG16"}
    settings = read(**auto)
    assert settings.backbone.names == ("VGG16", "Xception")
    assert settings.image_size == BACKBONES["Xception"].default_size
    limited = read(**auto, GRAFT_BACKBONE_MOST_PARAMETERS="15000000")
    assert limited.backbone.names == ("VGG16",)
    assert read(GRAFT_BACKBONE_MOST_PARAMETERS="1").backbone.names == ("EfficientNetV2B0",)


def test_a_chosen_backbone_has_its_name_and_its_size() -> None:
    backbone = read(GRAFT_BACKBONE_NAME="auto").backbone
    chosen = backbone.resolve("Xception")
    assert (chosen.name, chosen.image_size) == ("Xception", BACKBONES["Xception"].default_size)
    assert (backbone.name, backbone.image_size) == ("auto", None)
    small = read(GRAFT_BACKBONE_NAME="auto", GRAFT_BACKBONE_IMAGE_SIZE="96").backbone
    assert small.resolve("ConvNeXtTiny").image_size == 96


def test_a_digest_of_settings_does_not_depend_on_their_order() -> None:
    shaping = read().shaping_values()
    assert identity.digest(shaping) == identity.digest(dict(reversed(shaping.items())))


# --- cost ---

HEAVY = {
    "tensorflow",
    "keras",
    "boto3",
    "botocore",
    "kubernetes",
    "scipy",
    "numpy",
    "sklearn",
    "jinja2",
    "PIL",
}


@pytest.mark.parametrize(
    ("verb", "environment", "code"),
    [
        ("run", {"GRAFT_SEDE": "1"}, 2),
        ("check", {}, 2),
        ("plan", {}, 2),
        ("settings", REQUIRED, 0),
        ("--help", {}, 0),
    ],
)
def test_what_needs_no_tensorflow_does_not_wait_for_it(
    verb: str, environment: dict[str, str], code: int
) -> None:
    script = f"""
import sys
from job.__main__ import main
try:
    code = main([{verb!r}])
except SystemExit as end:
    code = end.code
print("LOADED", *sorted({{name.split(".")[0] for name in sys.modules}}))
sys.exit(code)
"""
    process = Popen(
        [sys.executable, "-c", script], env=environment, stdout=PIPE, stderr=PIPE, text=True
    )
    out, err = process.communicate()
    assert process.returncode == code, err
    assert not HEAVY & set(out.splitlines()[-1].split()[1:])
