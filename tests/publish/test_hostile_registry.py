"""Files of a registry that somebody else wrote: each ends in a sentence with its exit code."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from job import publish
from job.__main__ import main
from job.errors import JobError, ReleaseError
from job.publish.champion import read_champion
from job.publish.inventory import find_commonest_class, list_learnt_images
from job.release import MANIFEST, POINTER, Manifest, open_release, parse_pointer
from job.storage import connect

RUN = "0123456789abcdef"
DEEP = b'{"a":' * 1_000 + b"1" + b"}" * 1_000


def make_fields() -> dict[str, Any]:
    return {
        "name": "n",
        "run_id": RUN,
        "settings": {},
        "data": {"classes": ["a", "b"], "images": {"train": 2}},
        "versions": {},
        "plan": {"mode": "none"},
        "scores": {"accuracy": 0.5},
        "exact": True,
        "previous": None,
        "promotion": {},
    }


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """A registry with one release, which is the champion."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "labels.json").write_text('["a", "b"]')
    store = connect((tmp_path / "registry").as_uri())
    publish.promote_manually(publish.release(folder, make_fields(), store).uri)
    return tmp_path / "registry"


def point_at_nothing_deep(pointer: dict[str, Any]) -> bytes:
    return DEEP


def lead_out_of_the_registry(pointer: dict[str, Any]) -> bytes:
    changes = {"run_id": "../../elsewhere", "release": "releases/../../elsewhere"}
    return json.dumps(pointer | changes).encode()


def name_a_list(pointer: dict[str, Any]) -> bytes:
    return json.dumps(pointer | {"run_id": ["x"], "release": "releases/['x']"}).encode()


def give_a_number_for_the_hash(pointer: dict[str, Any]) -> bytes:
    return json.dumps(pointer | {"manifest_sha256": 7}).encode()


def be_a_list(pointer: dict[str, Any]) -> bytes:
    return b"[]"


def name_the_release_twice(pointer: dict[str, Any]) -> bytes:
    return json.dumps(pointer).encode()[:-1] + b', "release": "releases/another"}'


def have_a_text_before_it(pointer: dict[str, Any]) -> bytes:
    return json.dumps(pointer | {"previous": "20260101-000000-abc"}).encode()


def have_a_list_before_it(pointer: dict[str, Any]) -> bytes:
    return json.dumps(pointer | {"previous": ["x"]}).encode()


def have_half_a_name_before_it(pointer: dict[str, Any]) -> bytes:
    return json.dumps(pointer | {"previous": {"run_id": "x"}}).encode()


def lead_out_of_the_registry_before_it(pointer: dict[str, Any]) -> bytes:
    before = {"run_id": "../../elsewhere", "manifest_sha256": "0" * 64}
    return json.dumps(pointer | {"previous": before}).encode()


@pytest.mark.parametrize(
    "edit",
    [
        point_at_nothing_deep,
        lead_out_of_the_registry,
        name_a_list,
        give_a_number_for_the_hash,
        be_a_list,
        name_the_release_twice,
        have_a_text_before_it,
        have_a_list_before_it,
        have_half_a_name_before_it,
        lead_out_of_the_registry_before_it,
    ],
)
def test_a_hostile_pointer_is_a_sentence_for_people_and_damage_for_a_run(
    edit: Callable[[dict[str, Any]], bytes], registry: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = registry / POINTER
    path.write_bytes(edit(json.loads(path.read_bytes())))
    with pytest.raises(ReleaseError, match=r"promoted.json of .* is not valid"):
        open_release(registry.as_uri())
    for words in (["verify"], ["rollback"], ["prune", "--keep", "1"]):
        assert main([*words, registry.as_uri()]) == 1
        said = capfd.readouterr().err
        assert "is not valid" in said
        assert "Traceback" not in said
    champion = read_champion(connect(registry.as_uri()))
    assert champion is not None
    assert champion.damage


def test_a_run_after_a_damaged_pointer_names_no_champion_before_it(registry: Path) -> None:
    (registry / POINTER).write_bytes(b"[]")
    release = registry / "releases" / RUN
    publish.promote_manually(release.as_uri())
    assert json.loads((registry / POINTER).read_bytes())["previous"] is None


def test_a_pointer_of_an_earlier_version_after_a_damaged_one_is_valid(
    registry: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pointer = json.loads((registry / POINTER).read_bytes())
    pointer["previous"] = {"run_id": None, "manifest_sha256": None}
    (registry / POINTER).write_text(json.dumps(pointer))
    open_release(registry.as_uri())
    assert main(["rollback", registry.as_uri()]) == 2
    assert "has no champion before" in capfd.readouterr().err


def test_a_pointer_that_is_far_too_large_is_not_read_to_its_end(registry: Path) -> None:
    with (registry / POINTER).open("wb") as file:
        file.truncate((64 << 20) + 1)
    with pytest.raises(ReleaseError, match="more than 67,108,864 bytes"):
        open_release(registry.as_uri())
    champion = read_champion(connect(registry.as_uri()))
    assert champion is not None
    assert "more than" in champion.damage


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"run_id": ".."}, "is not the name of a folder"),
        ({"run_id": "a/b"}, "is not the name of a folder"),
        ({"data": {"classes": [["a"]]}}, "data.classes is not a list of names"),
        ({"data": {"classes": ["a", "a"]}}, "data.classes names a class twice"),
        ({"data": {"classes": ["a"], "images": {"train": "x"}}}, "data.images"),
        ({"data": {"classes": ["a"], "images": []}}, "data.images"),
        ({"scores": {"accuracy": "high"}}, "scores holds"),
        ({"scores": {"accuracy": True}}, "scores holds"),
        ({"backbone": "VGG16"}, "backbone is of another type"),
        ({"weights": []}, "weights is of another type"),
        ({"export_seconds": {"keras": None}}, "export_seconds holds"),
        ({"files": {"a": {"bytes": -1, "sha256": "0" * 64}}}, "lacks bytes or sha256"),
        ({"files": {"a": {"bytes": 1, "sha256": "x"}}}, "lacks bytes or sha256"),
        ({"files": {"../a": {"bytes": 1, "sha256": "0" * 64}}}, "not a file of any release"),
        ({"files": {"a\0b": {"bytes": 1, "sha256": "0" * 64}}}, "not a file of any release"),
    ],
)
def test_a_manifest_with_something_else_in_a_field_is_not_valid(
    changes: dict[str, Any], problem: str
) -> None:
    fields = {"schema": 1, "files": {}, **make_fields(), **changes}
    with pytest.raises(ReleaseError) as caught:
        Manifest.parse(json.dumps(fields).encode(), "here")
    assert problem in str(caught.value)


@pytest.mark.parametrize("raw", [DEEP, b"NaN", b"[]", b'{"schema": 1, "schema": 1}', b"9" * 9_999])
def test_what_is_no_manifest_is_not_valid(raw: bytes) -> None:
    with pytest.raises(ReleaseError, match="is not valid"):
        Manifest.parse(raw, "here")


@pytest.mark.parametrize("raw", [DEEP, b"NaN", b"[1]", b'{"images": [{"sha256": []}]}'])
def test_what_is_no_inventory_is_a_release_error(raw: bytes) -> None:
    for read in (list_learnt_images, lambda raw: find_commonest_class(raw, ("a",))):
        with pytest.raises(ReleaseError):
            read(raw)


def test_an_inventory_of_lists_is_a_release_error() -> None:
    row = {"sha256": ["x"], "label": {}, "split": "train"}
    with pytest.raises(ReleaseError, match="something else than text"):
        list_learnt_images(json.dumps({"images": [row]}).encode())


def test_a_file_of_another_size_is_not_downloaded(registry: Path, tmp_path: Path) -> None:
    from job.release import download_verified

    store, manifest = open_release(registry.as_uri())
    with (registry / "releases" / RUN / "labels.json").open("wb") as file:
        file.truncate(1 << 16)
    with pytest.raises(ReleaseError, match="and its manifest promises 10"):
        download_verified(store, manifest, "labels.json", tmp_path / "cache")


def test_verbs_on_a_hostile_manifest_end_with_their_code(
    registry: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = registry / "releases" / RUN / MANIFEST
    path.write_bytes(DEEP)
    pointer = json.loads((registry / POINTER).read_bytes())
    pointer["manifest_sha256"] = hashlib.sha256(DEEP).hexdigest()
    (registry / POINTER).write_text(json.dumps(pointer))
    image = str(registry / "x.png")
    for words in (["verify"], ["show"], ["promote"]):
        assert main([*words, (registry / "releases" / RUN).as_uri()]) == 1
    assert main(["predict", registry.as_uri(), image]) == 1
    # No release is left, as where nothing was ever released.
    assert main(["releases", registry.as_uri()]) == 2
    assert "Traceback" not in capfd.readouterr().err


def test_parse_pointer_raises_nothing_but_its_error() -> None:
    for raw in (b"", b"null", b'"x"', b"{}", DEEP, b'{"schema": []}'):
        with pytest.raises(JobError):
            parse_pointer(raw, "here")
