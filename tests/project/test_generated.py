"""The generated files say what they should: the schema of the settings, and the locks."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator, Draft202012Validator

from job.settings import VARIABLES, load
from tools.paths import ROOT

SCHEMA = json.loads((ROOT / "docs" / "settings.schema.json").read_text())
LEAST = {"dataset": {"uri": "s3://data/flowers"}, "output": {"uri": "s3://models"}}
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))

either_draft = pytest.mark.parametrize("draft", [Draft7Validator, Draft202012Validator])


@either_draft
def test_the_schema_is_valid_and_holds_no_reference(draft: Any) -> None:
    draft.check_schema(SCHEMA)
    assert "$ref" not in json.dumps(SCHEMA)


@either_draft
def test_the_schema_accepts_every_default(draft: Any) -> None:
    addresses = {
        "GRAFT_DATASET_URI": LEAST["dataset"]["uri"],
        "GRAFT_OUTPUT_URI": LEAST["output"]["uri"],
    }
    draft(SCHEMA).validate(load(addresses).model_dump(mode="json"))


def test_a_description_of_several_lines_is_joined() -> None:
    uri = SCHEMA["properties"]["dataset"]["properties"]["uri"]
    assert "`.csv`, `.tsv`, `.lst`, `.jsonl` or `.manifest` file." in uri["description"]
    assert r"\n" not in json.dumps(SCHEMA)


@either_draft
@pytest.mark.parametrize(
    "values",
    [
        {"training": {"learning_rate": "0.001"}},
        {"training": {"learning_rate": "1e-3"}},
        {"cache": {"limit": 1e6}},
        {"training": {"batch_size": "64", "xla": "true"}},
        {"export": {"formats": "saved_model,onnx"}},
        {"export": {"formats": ["saved_model", "onnx"]}},
        {"backbone": {"image_size": None}},
    ],
)
def test_the_schema_accepts_what_helm_makes_of_a_value(draft: Any, values: dict[str, Any]) -> None:
    draft(SCHEMA).validate(LEAST | values)


@either_draft
@pytest.mark.parametrize(
    "values",
    [
        {"trainning": {}},
        {"training": {"epoch": 3}},
        {"training": {"epochs": 0}},
        {"training": {"epochs": "three"}},
        {"export": {"formats": "saved_model,pickle"}},
        {"head": {"pooling": "mean"}},
        {"dataset": {}},
    ],
)
def test_the_schema_refuses_what_the_job_would_refuse(draft: Any, values: dict[str, Any]) -> None:
    assert not draft(SCHEMA).is_valid(LEAST | values)


def test_the_reference_names_every_variable_once_and_says_what_it_is() -> None:
    rows = re.findall(
        r"^\| `(GRAFT_\w+)` \|.*\| (.+) \|$",
        (ROOT / "docs" / "settings.md").read_text(),
        re.MULTILINE,
    )
    assert sorted(name for name, _ in rows) == sorted(VARIABLES)
    assert all(sentence.endswith(".") for _, sentence in rows)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_a_lock_pins_everything_by_hash_and_names_no_registry(lock: Path) -> None:
    text = lock.read_text()
    requirements = re.split(r"\n(?=[a-z0-9])", text)[1:]
    assert len(requirements) > 30
    assert all(
        re.match(r"[\w.\[\],-]+==\S+ \\\n +--hash=sha256:[0-9a-f]{64}", entry)
        for entry in requirements
    )
    assert not re.search(r"://|--index|--find-links|--extra-index", text)


def test_what_is_shipped_is_what_is_tested() -> None:
    pins = {
        path.stem: set(re.findall(r"^([\w.-]+==\S+)", path.read_text(), re.MULTILINE))
        for path in LOCKS
    }
    assert pins["cpu"] <= pins["dev"]
    only_on_gpus = {pin for pin in pins["gpu"] - pins["cpu"] if not pin.startswith("nvidia-")}
    assert [pin.split("==")[0] for pin in only_on_gpus] == ["tensorflow"]
