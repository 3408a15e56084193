"""A run id: the same for a replaced pod, another for anything that could change the model."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from job import identity

SHAPING = {"GRAFT_SEED": 0, "GRAFT_EXPORT_FORMATS": ["saved_model", "keras"]}
JSON = st.recursive(
    st.none() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def test_a_run_id_is_short_and_fit_for_a_path() -> None:
    assert re.fullmatch(r"[0-9a-f]{16}", identity.make_run_id(SHAPING, "d" * 64))


def test_the_same_settings_data_and_code_are_the_same_run() -> None:
    assert identity.make_run_id(SHAPING, "data") == identity.make_run_id(
        dict(reversed(SHAPING.items())), "data"
    )


@pytest.mark.parametrize(
    ("shaping", "data"),
    [
        (SHAPING | {"GRAFT_SEED": 1}, "data"),
        (SHAPING | {"GRAFT_NAME": "m"}, "data"),
        (SHAPING, "other"),
    ],
)
def test_another_setting_or_other_data_are_another_run(shaping: dict[str, Any], data: str) -> None:
    assert identity.make_run_id(shaping, data) != identity.make_run_id(SHAPING, "data")


@settings(max_examples=40)
@given(st.lists(JSON, max_size=3), st.lists(JSON, max_size=3))
def test_only_equal_values_have_equal_digests(one: list[Any], other: list[Any]) -> None:
    assert (identity.digest(one) == identity.digest(other)) is (one == other)
    assert identity.digest([*one, *other]) != identity.digest([one, other])


def code_of(package: Path) -> str:
    script = "from job import identity; print(identity.digest_code())"
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=package.parent,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def test_another_code_is_another_run_and_byte_code_is_not(tmp_path: Path) -> None:
    source = Path(identity.__file__).parent
    package = tmp_path / "job"
    package.mkdir()
    for name in ("__init__.py", "identity.py", "catalogue.json"):
        if (source / name).exists():
            shutil.copy(source / name, package)
    first = code_of(package)

    (package / "__pycache__").mkdir(exist_ok=True)
    (package / "__pycache__" / "other.cpython-311.pyc").write_bytes(
        b"what Python writes beside the sources"
    )
    assert code_of(package) == first

    (package / "identity.py").write_text((package / "identity.py").read_text() + "# changed\n")
    second = code_of(package)
    assert second != first

    (package / "other.py").write_text("")
    assert code_of(package) not in (first, second)
