"""`weights` finds, fetches and verifies files; it never falls back to random ones."""

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from job import weights
from job.catalogue import BACKBONES, Backbone
from job.errors import JobError, ReleaseError, TemporaryError, WeightsError
from job.settings import BackboneSettings
from job.weights import Weights

CONTENT = b"not really weights: locate reads no tensor"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
# A backbone whose published file happens to be our few bytes.
ENTRY = replace(BACKBONES["VGG16"], file="vgg.h5", origin=None, file_hash=MD5)


class Place:
    """A cache, a Keras home and a mirror in one folder, and `locate` between them."""

    def __init__(self, folder: Path) -> None:
        self.home, self.mirror, self.cache = (
            folder / name for name in ("keras", "mirror", "cache")
        )
        (self.home / "models").mkdir(parents=True)
        self.mirror.mkdir()

    def locate(self, entry: Backbone = ENTRY, **backbone: Any) -> Weights:
        return weights.locate(
            BackboneSettings(name=entry.name, **backbone), entry, self.cache, self.home
        )


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_none_is_the_only_way_to_random_weights(place: Place) -> None:
    located = place.locate(weights="none")
    assert (located.kind, located.path, located.sha256) == ("none", None, "")
    with pytest.raises(WeightsError):
        place.locate()


def test_keras_home_serves_imagenet_in_place(place: Place) -> None:
    baked = place.home / "models" / "vgg.h5"
    baked.write_bytes(CONTENT)
    located = place.locate()
    assert (located.kind, located.path, located.sha256, located.published) == (
        "keras",
        baked,
        SHA256,
        True,
    )
    assert not place.cache.exists()


def test_a_mirror_serves_what_keras_home_lacks(place: Place) -> None:
    (place.mirror / "vgg.h5").write_bytes(CONTENT)
    located = place.locate(mirror=place.mirror.as_uri())
    assert located.path is not None
    assert located.path.read_bytes() == CONTENT
    assert located.path.is_relative_to(place.cache / "weights")
    assert located.origin == "vgg.h5 (ImageNet-1k)"


def test_a_mirror_without_the_file_is_an_error_and_the_internet_is_not_asked(
    place: Place,
) -> None:
    entry = replace(ENTRY, origin="http://127.0.0.1:9/never-asked.h5")
    with pytest.raises(WeightsError, match=r"There are no weights at .*vgg.h5"):
        place.locate(entry, mirror=place.mirror.as_uri())


def test_an_unchanged_file_is_not_fetched_again_and_a_changed_one_is(place: Place) -> None:
    given = place.mirror / "mine.weights.h5"
    given.write_bytes(CONTENT)
    first = place.locate(weights=given.as_uri())
    assert first.path is not None
    written = first.path.stat().st_mtime_ns
    assert place.locate(weights=given.as_uri()).path == first.path
    assert first.path.stat().st_mtime_ns == written
    given.write_bytes(CONTENT + b"!")
    changed = place.locate(weights=given.as_uri())
    assert changed.sha256 != first.sha256


@pytest.mark.parametrize("file_hash", [MD5, SHA256])
def test_both_kinds_of_published_hash_are_checked(place: Place, file_hash: str) -> None:
    entry = replace(ENTRY, file_hash=file_hash)
    (place.home / "models" / "vgg.h5").write_bytes(CONTENT)
    assert place.locate(entry).published
    (place.home / "models" / "vgg.h5").write_bytes(CONTENT[:-1])
    with pytest.raises(
        WeightsError, match=f"damaged or another file. Received hash .*expected {file_hash}"
    ):
        place.locate(entry)
    assert (place.home / "models" / "vgg.h5").exists(), (
        "Keras deletes such a file; it is not ours to delete"
    )


def test_a_hash_beside_the_uri_is_checked(place: Place) -> None:
    given = place.mirror / "mine.weights.h5"
    given.write_bytes(CONTENT)
    assert place.locate(weights=given.as_uri(), weights_sha256=SHA256).published
    with pytest.raises(WeightsError, match="expected 0000"):
        place.locate(weights=given.as_uri(), weights_sha256="0" * 64)


def test_a_file_without_a_hash_is_noted_and_required_to_stay(place: Place) -> None:
    given = place.mirror / "mine.weights.h5"
    given.write_bytes(CONTENT)
    located = place.locate(weights=given.as_uri())
    assert not located.published
    weights.require_same(located, SHA256)
    with pytest.raises(WeightsError, match=f"have changed. Received SHA-256 {SHA256}"):
        weights.require_same(located, "0" * 64)


def test_a_missing_file_is_a_weights_error(place: Place) -> None:
    with pytest.raises(WeightsError, match="There are no weights at") as caught:
        place.locate(weights=(place.mirror / "gone.h5").as_uri())
    assert caught.value.exit_code == 4
    with pytest.raises(WeightsError, match="There are no weights at"):
        place.locate(weights=(place.mirror / "no" / "folder.h5").as_uri())


@pytest.mark.parametrize("suffix", [".pth", ".pt"])
def test_a_torch_file_is_refused_before_it_is_fetched(place: Place, suffix: str) -> None:
    given = place.mirror / f"mine{suffix}"
    given.write_bytes(CONTENT)
    with pytest.raises(WeightsError, match=rf"mine\{suffix} are a PyTorch file") as caught:
        place.locate(weights=given.as_uri())
    assert caught.value.exit_code == 4
    assert "Convert the file to `.weights.h5`" in caught.value.cure
    assert not place.cache.exists()


@pytest.mark.parametrize("name", ["EfficientNetLite0", "EfficientNetLite1", "EfficientNetLite2"])
def test_weights_that_cannot_be_downloaded_say_how_to_get_them(place: Place, name: str) -> None:
    with pytest.raises(WeightsError, match="cannot be downloaded") as caught:
        place.locate(BACKBONES[name])
    assert f"GRAFT_BACKBONE_NAME={name} make photographs" in caught.value.cure
    assert str(place.home / "models") in caught.value.cure


def test_a_torch_file_of_an_earlier_version_does_not_count_as_imagenet(place: Place) -> None:
    (place.home / "models" / "efficientnet_lite0.pth").write_bytes(CONTENT)
    with pytest.raises(
        WeightsError, match=r"needs its ImageNet weights efficientnet_lite0\.weights\.h5"
    ):
        place.locate(BACKBONES["EfficientNetLite0"])


class Server(BaseHTTPRequestHandler):
    """Where Keras's files are downloaded from, on loopback."""

    def do_GET(self) -> None:
        answer = {"/vgg.h5": 200, "/short.h5": 200, "/busy.h5": 503}.get(self.path, 404)
        self.send_response(answer)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[: -1 if self.path == "/short.h5" else None])

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_keras_own_address_is_the_last_resort_and_is_kept(place: Place, origin: str) -> None:
    entry = replace(ENTRY, origin=f"{origin}/vgg.h5")
    first = place.locate(entry)
    assert (first.sha256, first.origin) == (SHA256, "vgg.h5 (ImageNet-1k)")
    assert place.locate(entry).path == first.path


@pytest.mark.parametrize(
    ("name", "kind"),
    [("gone.h5", WeightsError), ("busy.h5", TemporaryError), ("short.h5", TemporaryError)],
)
def test_a_failed_download_leaves_nothing_behind(
    place: Place, origin: str, name: str, kind: type[JobError]
) -> None:
    with pytest.raises(kind, match="download") as caught:
        place.locate(replace(ENTRY, origin=f"{origin}/{name}"))
    assert "GRAFT_BACKBONE_MIRROR" in caught.value.cure
    assert [path for path in place.cache.rglob("*") if path.is_file()] == []


def test_no_way_to_the_internet_is_a_weights_error_with_its_cure(place: Place) -> None:
    with pytest.raises(WeightsError, match="cannot be downloaded") as caught:
        place.locate(replace(ENTRY, origin="http://127.0.0.1:9/vgg.h5"))
    assert "GRAFT_BACKBONE_MIRROR" in caught.value.cure


def write_release(registry: Path, **changes: Any) -> Path:
    """A release's folder below its registry, with the pointer that names it."""
    folder = registry / "releases" / "r1"
    folder.mkdir(parents=True)
    (folder / "model.keras").write_bytes(CONTENT)
    fields = {
        "schema": 1,
        "name": "pets",
        "run_id": "r1",
        "files": {"model.keras": {"bytes": len(CONTENT), "sha256": SHA256}},
        "settings": {},
        "data": {"classes": ["dog", "ape"]},
        "versions": {},
        "plan": {},
        "scores": {},
        "exact": True,
        "previous": None,
        "promotion": {},
    }
    manifest = json.dumps({**fields, **changes}).encode()
    (folder / "manifest.json").write_bytes(manifest)
    write_pointer(registry, manifest_sha256=hashlib.sha256(manifest).hexdigest())
    return folder


def write_pointer(registry: Path, **changes: Any) -> None:
    pointer = {"schema": 1, "run_id": "r1", "release": "releases/r1", **changes}
    (registry / "promoted.json").write_text(json.dumps(pointer))


def refuse(place: Place, folder: Path) -> WeightsError:
    """The error with which a release is refused as weights."""
    with pytest.raises(WeightsError, match="cannot be used") as caught:
        place.locate(weights=f"release:{folder.as_uri()}")
    assert caught.value.exit_code == 4
    assert isinstance(caught.value.__cause__, ReleaseError)
    return caught.value


def test_a_release_its_registry_and_its_pointer_all_lead_to_the_same_file(
    place: Place, tmp_path: Path
) -> None:
    registry = tmp_path / "out" / "pets"
    folder = write_release(registry)
    uris = [
        folder.as_uri(),
        registry.as_uri(),
        f"{registry.as_uri()}/",
        f"{registry.as_uri()}/promoted.json",
    ]
    located = [place.locate(weights=f"release:{uri}") for uri in uris]
    assert {(one.kind, one.path, one.sha256, one.classes, one.origin) for one in located} == {
        ("release", located[0].path, SHA256, ("dog", "ape"), f"release:{folder.as_uri()}")
    }
    assert located[0].path
    assert located[0].path.read_bytes() == CONTENT
    assert located[0].published


def test_a_damaged_release_is_refused(place: Place, tmp_path: Path) -> None:
    folder = write_release(tmp_path / "pets")
    (folder / "model.keras").write_bytes(CONTENT[::-1])
    received = hashlib.sha256(CONTENT[::-1]).hexdigest()
    message = refuse(place, folder).message
    assert f"model.keras has sha256 {received}, and its manifest promises {SHA256}" in message
    (folder / "model.keras").unlink()
    assert "model.keras is missing" in refuse(place, folder).message


def test_a_damaged_copy_of_a_release_in_the_cache_is_downloaded_again(
    place: Place, tmp_path: Path
) -> None:
    uri = f"release:{write_release(tmp_path / 'pets').as_uri()}"
    path = place.locate(weights=uri).path
    assert path
    path.write_bytes(b"damaged")
    assert place.locate(weights=uri).path == path
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"files": 7}, "files is of another type"),
        ({"data": {}}, "data.classes is not a list of names"),
        ({"files": {"model.keras": {}}}, "files['model.keras'] lacks bytes or sha256"),
        ({"exact": None}, "exact is of another type"),
    ],
)
def test_a_manifest_of_another_form_is_refused(
    place: Place, tmp_path: Path, changes: dict[str, Any], problem: str
) -> None:
    folder = write_release(tmp_path / "pets", **changes)
    assert refuse(place, folder).problems == (problem,)


def test_a_manifest_of_a_future_schema_is_refused(place: Place, tmp_path: Path) -> None:
    folder = write_release(tmp_path / "pets", schema=2)
    for uri in (folder, tmp_path / "pets"):
        assert refuse(place, uri).problems == ("schema is 2, expected 1",)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"release": "releases/r2"}, "release is 'releases/r2', expected 'releases/r1'"),
        ({"schema": 2}, "schema is 2, expected 1"),
        ({"manifest_sha256": None}, "manifest_sha256 is None, expected 64 hexadecimal digits"),
    ],
)
def test_a_pointer_of_another_form_is_refused(
    place: Place, tmp_path: Path, changes: dict[str, Any], problem: str
) -> None:
    registry = tmp_path / "pets"
    manifest = (write_release(registry) / "manifest.json").read_bytes()
    intact = {"manifest_sha256": hashlib.sha256(manifest).hexdigest()}
    write_pointer(registry, **intact)
    assert place.locate(weights=f"release:{registry.as_uri()}").sha256 == SHA256
    write_pointer(registry, **{**intact, **changes})
    assert problem in refuse(place, registry).message


def test_a_manifest_that_the_pointer_does_not_mean_is_refused(place: Place, tmp_path: Path) -> None:
    folder = write_release(tmp_path / "pets")
    (folder / "manifest.json").write_bytes((folder / "manifest.json").read_bytes() + b"\n")
    assert "has another manifest.json" in refuse(place, tmp_path / "pets").message


def test_a_release_without_the_keras_format_says_what_it_lacks(
    place: Place, tmp_path: Path
) -> None:
    folder = write_release(tmp_path / "pets", files={})
    with pytest.raises(WeightsError, match=r"has no model.keras") as caught:
        place.locate(weights=f"release:{folder.as_uri()}")
    assert "GRAFT_EXPORT_FORMATS" in caught.value.cure


def test_no_release_at_all_is_a_weights_error(place: Place, tmp_path: Path) -> None:
    (tmp_path / "pets").mkdir()
    error = refuse(place, tmp_path / "pets")
    assert "neither a release" in error.message
    assert "A first run has to start from `imagenet`." in error.cure


def test_kept_classes_keep_their_order_and_new_ones_are_appended(
    place: Place, tmp_path: Path
) -> None:
    located = place.locate(weights=f"release:{write_release(tmp_path / 'pets').as_uri()}")
    assert weights.order_classes(("ape", "bee", "dog"), located) == ("dog", "ape", "bee")
    assert weights.order_classes(("ape", "cat"), located) == ("ape", "cat")
    assert weights.order_classes(("ape", "cat"), place.locate(weights="none")) == ("ape", "cat")


def test_every_candidate_whose_weights_are_missing_is_named(place: Place) -> None:
    names = ("EfficientNetLite0", "EfficientNetLite1", "EfficientNetLite2")
    settings = BackboneSettings(name="auto", candidates=names)
    with pytest.raises(WeightsError) as caught:
        weights.locate_candidates(settings, place.cache, place.home)
    assert "3 of 3 candidates" in caught.value.message
    assert [problem.partition(":")[0] for problem in caught.value.problems] == list(names)
    assert "GRAFT_BACKBONE_CANDIDATES" in caught.value.cure
