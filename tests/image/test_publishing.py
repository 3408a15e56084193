"""What is published, without an engine or a registry: layouts, charts, records and signatures."""

import base64
import importlib
import io
import json
import re
import sys
import tarfile
from pathlib import Path

import pytest
import yaml
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from job.errors import SettingsError, explain_missing
from tools.image import chart_artifact, composing, provenance, publish, signature
from tools.image.export import date_config
from tools.image.oci import CONFIG, Artifact, Descriptor, Layout

DIGEST = "sha256:" + "ab" * 32
IMAGE = chart_artifact.Image("registry.example.com/team/graft", f"0.1.0@{DIGEST}")


def add_image(layout: Layout, content: bytes = b"a layer") -> Descriptor:
    layer = layout.add_blob(content, "application/vnd.oci.image.layer.v1.tar")
    config = layout.add_json({"os": "linux"}, CONFIG)
    return layout.add_manifest(Artifact(config=config, layers=(layer,)))


def read_files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return write_key(tmp_path / "key.pem", NoEncryption())


def write_key(file: Path, encryption: KeySerializationEncryption) -> Path:
    made = ec.generate_private_key(ec.SECP256R1())
    file.write_bytes(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    return file


def test_equal_content_makes_equal_layouts_in_whatever_order_it_came(tmp_path: Path) -> None:
    first, second = Layout(tmp_path / "first"), Layout(tmp_path / "second")
    one, two = add_image(first, b"one"), add_image(first, b"two")
    first.tag("one", one)
    first.tag("two", two)
    for name, content in (("two", b"two"), ("one", b"one")):
        second.tag(name, add_image(second, content))
    assert read_files(first.folder) == read_files(second.folder)


def test_a_name_moves_and_what_nothing_leads_to_is_dropped(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    old, new = add_image(layout, b"old"), add_image(layout, b"new")
    layout.tag("latest", old)
    layout.tag("latest", new)
    attached = provenance.attach_file(layout, new, b"{}", provenance.SBOM)
    layout.drop_unused_blobs()
    assert layout.find("latest").digest == new.digest
    assert not layout.path(old).exists()
    assert layout.read_json(attached)["subject"] == new.as_dict()
    assert layout.read(attached)


def test_what_is_attached_has_the_type_by_which_it_is_found(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    image = add_image(layout)
    layout.tag("0.1.0", image)
    attached = provenance.attach_file(layout, layout.find("0.1.0"), b"{}", provenance.SBOM)
    manifest = layout.read_json(attached)
    assert manifest["artifactType"] == "application/vnd.cyclonedx+json"
    assert manifest["subject"] == image.as_dict(), "the image's name is not part of it"
    assert attached.digest in [entry.digest for entry in layout.entries()]


def test_the_date_of_an_image_is_the_one_that_was_given() -> None:
    config = {
        "created": "2026-01-01T00:00:00.5Z",
        "history": [
            {"created": "2026-01-01T00:00:00.5Z", "created_by": "COPY", "comment": "FROM 5a43de51"}
        ],
        "config": {"Labels": {"io.buildah.version": "1.28.2", "mine": "stays"}},
    }
    dated = date_config(config, 1_000_000_000)
    assert dated["created"] == "2001-09-09T01:46:40Z"
    assert dated["history"] == [{"created": "2001-09-09T01:46:40Z", "created_by": "COPY"}]
    assert dated["config"]["Labels"] == {
        "mine": "stays",
        "org.opencontainers.image.created": "2001-09-09T01:46:40Z",
    }


def test_the_published_chart_runs_the_published_image_unless_told_otherwise(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    manifest = layout.read_json(chart_artifact.add_chart(layout, IMAGE, 0))
    (layer,) = manifest["layers"]
    packed = layout.read(Descriptor.parse(layer))
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        values = archive.extractfile("graft/values.yaml")
        defaults = archive.extractfile("graft/templates/_defaults.tpl")
        assert values is not None
        assert defaults is not None
        given = yaml.safe_load(values.read())
        inner = re.sub(r"{{.*?}}", "", defaults.read().decode())
    assert given["image"]["repository"] == "registry.example.com/team/graft"
    assert given["image"]["tag"] == f"0.1.0@{DIGEST}"
    assert yaml.safe_load(inner) == given, "null means the default, which is the published image"
    assert layout.read_json(Descriptor.parse(manifest["config"]))["name"] == "graft"


def test_a_chart_that_no_longer_names_its_image_as_expected_is_refused() -> None:
    files = chart_artifact.read_chart_files()
    files["values.yaml"] = files["values.yaml"].replace(b"repository: graft", b"repository: other")
    with pytest.raises(SystemExit, match=r"values\.yaml: expected the default image once"):
        chart_artifact.point_at_image(files, IMAGE)


def test_a_chart_is_a_function_of_its_files_and_the_date(tmp_path: Path) -> None:
    files = chart_artifact.read_chart_files()
    assert ".helmignore" not in files
    assert not [path for path in files if path.startswith("ci/")]
    turned = dict(reversed(files.items()))
    assert chart_artifact.pack_files(files, 5) == chart_artifact.pack_files(turned, 5)
    assert chart_artifact.pack_files(files, 5) != chart_artifact.pack_files(files, 6)


def test_provenance_names_what_the_image_was_made_of() -> None:
    source = provenance.Source(
        revision="c0ffee-dirty",
        base_name="python:3.11-slim-bookworm",
        base_digest=DIGEST,
        files=("requirements/launcher.txt",),
    )
    predicate = provenance.describe_build({"variant": "launcher"}, source)
    built = predicate["buildDefinition"]
    commit, base, lock = built["resolvedDependencies"]
    assert built["internalParameters"] == {"uncommitted": True}
    assert commit["digest"] == {"gitCommit": "c0ffee"}
    assert base["digest"] == {"sha256": "ab" * 32}
    assert base["uri"] == "oci://python:3.11-slim-bookworm"
    assert len(lock["digest"]["sha256"]) == 64


def test_a_signature_is_of_the_digest_and_of_nothing_else(tmp_path: Path, key: Path) -> None:
    layout = Layout(tmp_path / "layout")
    image = add_image(layout)
    signer = signature.load_signer(str(key))
    tag = signature.sign_manifest(layout, image, "registry.example.com/graft", signer)
    assert tag == f"sha256-{image.digest[7:]}.sig"
    (layer,) = layout.read_json(layout.find(tag))["layers"]
    payload = layout.read(Descriptor.parse(layer))
    signed = base64.b64decode(layer["annotations"][signature.SIGNATURE])
    assert json.loads(payload)["critical"]["image"]["docker-manifest-digest"] == image.digest
    public = read_public_key(key)
    public.verify(signed, payload, ec.ECDSA(SHA256()))
    other = signature.make_payload("registry.example.com/graft", DIGEST)
    with pytest.raises(InvalidSignature):
        public.verify(signed, other, ec.ECDSA(SHA256()))


def test_an_attestation_signs_the_type_together_with_the_statement(key: Path) -> None:
    image = Descriptor("application/vnd.oci.image.manifest.v1+json", DIGEST, 7)
    statement = provenance.make_statement("graft", image, provenance.SLSA, {"a": 1})
    signer = signature.load_signer(str(key))
    envelope = json.loads(signature.make_envelope(statement, signer))
    signed = base64.b64decode(envelope["signatures"][0]["sig"])
    encoded = b"DSSEv1 28 application/vnd.in-toto+json %d " % len(statement) + statement
    read_public_key(key).verify(signed, encoded, ec.ECDSA(SHA256()))
    assert base64.b64decode(envelope["payload"]) == statement
    assert json.loads(statement)["subject"][0]["digest"] == {"sha256": "ab" * 32}


def read_public_key(key: Path) -> ec.EllipticCurvePublicKey:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    private = load_pem_private_key(key.read_bytes(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    return private.public_key()


def test_an_encrypted_key_opens_with_the_password_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_key(tmp_path / "key.pem", BestAvailableEncryption(b"right"))
    monkeypatch.setenv("COSIGN_PASSWORD", "right")
    assert signature.load_signer(str(file))(b"content")
    for password in ("wrong", ""):
        monkeypatch.setenv("COSIGN_PASSWORD", password)
        with pytest.raises(SystemExit, match="private key in PEM that opens with COSIGN_PASSWORD"):
            signature.load_signer(str(file))


def test_an_installation_without_tensorflow_says_which_image_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(ModuleNotFoundError) as missing:
        importlib.import_module("tensorflow")
    explained = explain_missing(missing.value)
    assert isinstance(explained, SettingsError)
    assert "without `-launcher` in its tag" in explained.cure
    other = ValueError("something else")
    assert explain_missing(other) is other


def test_a_bundle_is_a_function_of_the_layout(tmp_path: Path) -> None:
    packed = []
    for name in ("one", "two"):
        layout = Layout(tmp_path / name)
        layout.tag("0.1.0", add_image(layout))
        publish.pack_layout(layout.folder, tmp_path / f"{name}.tar")
        packed.append((tmp_path / f"{name}.tar").read_bytes())
    assert packed[0] == packed[1]
    with tarfile.open(tmp_path / "one.tar") as archive:
        assert {"oci-layout", "index.json"} < set(archive.getnames())


def test_what_a_bundle_holds_finds_its_place_in_another_registry(tmp_path: Path, key: Path) -> None:
    layout, signer = Layout(tmp_path / "layout"), signature.load_signer(str(key))
    image, chart = add_image(layout), chart_artifact.add_chart(layout, IMAGE, 0)
    layout.tag("0.1.0", image)
    layout.tag("chart-0.1.0", chart)
    provenance.attach_file(layout, image, b"{}", provenance.SBOM)
    signatures = [signature.sign_manifest(layout, one, "x", signer) for one in (image, chart)]
    publish.pack_layout(layout.folder, tmp_path / "graft.tar")
    names = publish.list_bundle(tmp_path / "graft.tar", "there:5000/team")
    places = {(place.repository, place.tag) for place in names}
    images, charts = "there:5000/team/graft", "there:5000/team/charts/graft"
    assert places == {
        (images, "0.1.0"),
        (images, signatures[0]),
        (charts, "0.1.0"),
        (charts, signatures[1]),
    }


@pytest.mark.parametrize("given", ["yesterday", "-5", "1.5"])
def test_a_date_that_is_not_a_number_of_seconds_is_refused(given: str) -> None:
    with pytest.raises(SystemExit, match=f"SOURCE_DATE_EPOCH='{given}': expected seconds"):
        composing.read_epoch({"SOURCE_DATE_EPOCH": given})


@pytest.mark.parametrize(
    ("name", "bare"),
    [
        ("python:3.11-slim-bookworm", "python"),
        ("registry.example.com:5000/team/python:3.11", "registry.example.com:5000/team/python"),
        ("registry.example.com:5000/python", "registry.example.com:5000/python"),
    ],
)
def test_a_base_by_digest_has_no_tag_beside_it(name: str, bare: str) -> None:
    assert composing._strip_tag(name) == bare
