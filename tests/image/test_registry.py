"""The launcher image and its chart in a real registry: verified by cosign, and pulled again."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from job.errors import SettingsError
from tests.image.conftest import HARDENED
from tests.image.registries import OFFLINE, get_manifest, make_keys, serve_registry
from tools.image import programs, publish
from tools.image.composing import CHART_NAME, Composition, Request, compose
from tools.image.engine import Engine
from tools.image.provenance import CYCLONEDX, SBOM, SLSA, STATEMENT

pytestmark = pytest.mark.image

EPOCH = "1000000000"


@dataclass(frozen=True)
class Pushed:
    """What lies in the registry, and what signed it."""

    address: str
    composition: Composition
    keys: Path

    @property
    def digest(self) -> str:
        return self.composition.layout.find(self.composition.names[0].name).digest

    @property
    def image(self) -> str:
        return f"{self.address}/team/graft@{self.digest}"


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pushed]:
    folder = tmp_path_factory.mktemp("published")
    make_keys(folder / "keys")
    with serve_registry() as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", EPOCH)
        patch.setenv("COSIGN_PASSWORD", "secret")
        request = Request(
            variants=("launcher",),
            registry=f"{address}/team",
            base="debian",
            key=str(folder / "keys" / "cosign.key"),
        )
        composition = compose(request, folder / "layout")
        publish.push(folder / "layout", composition.names, plain_http=True)
        yield Pushed(address, composition, folder / "keys")


def verify(pushed: Pushed, key: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(programs.cosign()), *arguments, f"--key={key}", *OFFLINE, pushed.image]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_cosign_accepts_the_signature_of_our_key_and_of_no_other(
    pushed: Pushed, tmp_path: Path
) -> None:
    done = verify(pushed, pushed.keys / "cosign.pub", "verify")
    assert done.returncode == 0, done.stderr
    (claim,) = json.loads(done.stdout)
    assert claim["critical"]["image"]["docker-manifest-digest"] == pushed.digest
    make_keys(tmp_path / "other")
    assert verify(pushed, tmp_path / "other" / "cosign.pub", "verify").returncode


def test_the_chart_is_signed_too(pushed: Pushed) -> None:
    chart = f"{pushed.address}/team/{CHART_NAME}:0.1.0"
    key = f"--key={pushed.keys / 'cosign.pub'}"
    command = [str(programs.cosign()), "verify", key, *OFFLINE, chart]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("kind", [SLSA, CYCLONEDX])
def test_cosign_accepts_the_signed_records(pushed: Pushed, kind: str) -> None:
    key = pushed.keys / "cosign.pub"
    done = verify(pushed, key, "verify-attestation", f"--type={kind}")
    assert done.returncode == 0, done.stderr


def test_the_registry_lists_provenance_and_bill_of_materials_for_the_image(pushed: Pushed) -> None:
    command = [str(programs.oras()), "discover", "--plain-http", "--format=json", pushed.image]
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    referrers = found.get("referrers", found.get("manifests"))
    assert {node["artifactType"] for node in referrers} == {SBOM, STATEMENT}


def test_two_builds_of_one_tree_and_date_have_the_same_digests(
    pushed: Pushed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", EPOCH)
    registry = f"{pushed.address}/team"
    request = Request(variants=("launcher",), registry=registry, base="debian", rebuild=True)
    again = compose(request, tmp_path / "again")
    first = {entry.digest for entry in pushed.composition.layout.entries()}
    assert {entry.digest for entry in again.layout.entries()} < first, "but for the signatures"


def test_the_launcher_image_answers_its_verbs_without_tensorflow(
    pushed: Pushed, engine: Engine
) -> None:
    engine.ask("pull", "--quiet", "--tls-verify=false", pushed.image)
    for verb in (["--version"], ["submit", "--help"], ["settings", "--describe"]):
        assert engine.ask("run", "--rm", *HARDENED, pushed.image, *verb)
    python = [*HARDENED, "--entrypoint=python3", pushed.image]
    code = "import importlib.util as u; print(u.find_spec('tensorflow'), u.find_spec('keras'))"
    assert engine.ask("run", "--rm", *python, "-c", code) == "None None"
    done = engine.run("run", "--rm", *HARDENED, pushed.image, "check", check=False)
    assert done.returncode == SettingsError.exit_code
    engine.run("rmi", pushed.image, stdout=subprocess.DEVNULL)


def test_a_bundle_brings_all_of_it_to_another_registry(pushed: Pushed, tmp_path: Path) -> None:
    bundle = tmp_path / "graft.tar"
    publish.pack_layout(pushed.composition.layout.folder, bundle)
    with serve_registry() as other:
        names = publish.list_bundle(bundle, f"{other}/team")
        publish.push(bundle, names, plain_http=True)
        moved = Pushed(other, pushed.composition, pushed.keys)
        assert get_manifest(other, "team/graft", "0.1.0-launcher")["layers"]
        assert get_manifest(other, f"team/{CHART_NAME}", "0.1.0")["layers"]
        assert verify(moved, pushed.keys / "cosign.pub", "verify").returncode == 0
