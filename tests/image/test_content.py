"""What is in the image, what is not, and what it says of itself."""

import json
import os
import re
import socket
import stat
import subprocess
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest

from tests.image.conftest import HARDENED, VARIANT
from tools.image.build import ImageOptions, build, image_for_tests
from tools.image.debian import ensure
from tools.image.engine import Engine
from tools.paths import ROOT

pytestmark = pytest.mark.image

Entries = dict[str, os.stat_result]
COMPILERS = r"(.*-)?(gcc|g\+\+|cc|c\+\+|cpp|ld|as)(-[\d.]+)?|make|clang|nvcc|cicc"


@pytest.fixture(scope="session")
def configuration(engine: Engine, image: str) -> dict[str, Any]:
    return json.loads(engine.ask("inspect", "--type=image", image))[0]


def paths(entries: Entries, pattern: str) -> list[str]:
    return [path for path in entries if re.search(pattern, path)]


def test_no_installer_and_no_compiler_is_left(entries: Entries) -> None:
    files = {path: entry for path, entry in entries.items() if not stat.S_ISDIR(entry.st_mode)}
    assert paths(files, r"/(pip|pip-[^/]+|ensurepip)/|/pip[\d.]*$|\.whl$") == []
    assert paths(files, rf"/({COMPILERS})$|/libclang\.so") == []


def test_what_xla_translates_with_at_run_time_stays_in_the_image_with_gpu_libraries_alone(
    entries: Entries,
) -> None:
    needed = (
        r"/bin/ptxas$",
        r"/libdevice\.10\.bc$",
        r"/libnvJitLink\.so",
        r"/libnvrtc\.so",
        r"/libcudnn\.so",
    )
    assert {bool(paths(entries, pattern)) for pattern in needed} == {VARIANT == "gpu"}


def test_no_header_and_no_static_library_is_left(entries: Entries) -> None:
    assert paths(entries, r"\.(h|hpp|a)$|^/usr/(local/)?include/|/tensorflow/include(/|$)") == []


def test_no_source_of_packages_is_left(entries: Entries) -> None:
    assert (
        paths(
            entries,
            r"^/etc/apt/sources\.list|^/var/lib/apt/lists/.|pip\.conf$|/\.netrc$|^/run/secrets",
        )
        == []
    )


def test_no_program_changes_its_user(entries: Entries) -> None:
    assert [
        path
        for path, entry in entries.items()
        if stat.S_ISREG(entry.st_mode) and entry.st_mode & 0o6000
    ] == []


def test_nothing_but_tmp_is_writable_for_everybody_and_the_cache_is_for_group_0(
    entries: Entries,
) -> None:
    kinds = (
        stat.S_IFDIR,
        stat.S_IFREG,
    )  # links have no rights of their own, and /dev is the container's
    real = {path: entry for path, entry in entries.items() if stat.S_IFMT(entry.st_mode) in kinds}
    assert [path for path, entry in real.items() if entry.st_mode & 0o002] == ["/tmp"]
    assert (stat.S_IMODE(real["/cache"].st_mode), real["/cache"].st_gid) == (0o775, 0)


def test_every_module_has_byte_code_that_holds_whatever_the_dates_are(
    engine: Engine, image: str
) -> None:
    probe = Path(__file__).with_name("bytecode.py")
    options = ["--rm", f"--volume={probe}:/bytecode.py:ro", "--entrypoint=python"]
    assert (
        engine.ask("run", *options, image, "/bytecode.py", "/opt/graft/lib", "/usr/lib/python3.11")
        == ""
    )


def test_the_entry_point_is_the_process_itself(configuration: dict[str, Any]) -> None:
    assert configuration["Config"]["Entrypoint"] == ["graft"]


def test_the_user_is_a_number_in_group_0(configuration: dict[str, Any]) -> None:
    assert configuration["User"] == "65532:0"


def test_the_image_asks_for_no_gpu_but_says_what_it_needs_of_one(
    configuration: dict[str, Any],
) -> None:
    variables = dict(entry.split("=", 1) for entry in configuration["Config"]["Env"])
    assert variables["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility"
    assert "NVIDIA_VISIBLE_DEVICES" not in variables


def test_the_labels_say_what_it_is_and_what_it_was_made_from(configuration: dict[str, Any]) -> None:
    labels = configuration["Labels"]
    told = {name.removeprefix("org.opencontainers.image."): value for name, value in labels.items()}
    assert (told["title"], told["licenses"], told["version"]) == ("Graft", "Apache-2.0", "0.1.0")
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?", told["revision"])


def test_neither_history_nor_configuration_names_an_address_or_this_machine(
    engine: Engine, image: str
) -> None:
    told = engine.ask("history", "--no-trunc", "--format=json", image) + engine.ask(
        "inspect", "--type=image", image
    )
    told = re.sub(
        r'"(UpperDir|WorkDir|LowerDir|MergedDir)": "[^"]*"', "", told
    )  # where podman keeps it, not what it is
    assert not re.search(r"https?://", told)
    assert [
        word for word in (str(ROOT), str(Path.home()), socket.gethostname()) if word in told
    ] == []


def test_the_bill_of_materials_lists_what_is_installed(root: Path, image: str) -> None:
    bill = json.loads((ROOT / "build" / f"graft-{VARIANT}.cdx.json").read_text())
    (site,) = root.glob("opt/graft/lib/python3.*/site-packages")
    installed = {(entry.name.lower(), entry.version) for entry in distributions(path=[str(site)])}
    listed = {(component["name"].lower(), component["version"]) for component in bill["components"]}
    own = bill["metadata"]["component"]
    assert bill["bomFormat"] == "CycloneDX"
    assert listed | {(own["name"], own["version"])} == installed


def test_the_clients_of_s3_and_of_what_gives_credentials_are_complete(
    engine: Engine, image: str
) -> None:
    code = """
import boto3
session = boto3.Session("key", "secret", region_name="eu-west-1")
for name in ("s3", "sts", "sso", "sso-oidc", "signin"):
    assert session.client(name).meta.service_model.operation_names, name
print("complete")
"""
    options = ["--rm", *HARDENED, "--entrypoint=python3"]
    assert engine.ask("run", *options, image, "-c", code) == "complete"


def test_the_registrys_address_and_credentials_leave_no_trace(
    engine: Engine, context: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same Dockerfile with a lock of one package, so that pip is quick; all is searched."""
    lock = context / "requirements/cpu.txt"
    lock.write_text(
        "".join(re.findall(r"^setuptools==.+\n(?: .+\n)+", lock.read_text(), re.MULTILINE))
    )
    monkeypatch.setenv("PIP_TRUSTED_HOST", "canary-in-the-registry.invalid")
    tag, archive = "graft.local/canary:test", tmp_path / "canary.tar"
    try:
        build(engine, ImageOptions(tag, "cpu", base=ensure(engine)), context)
        engine.run("save", "--quiet", "--format=docker-archive", f"--output={archive}", tag)
    finally:
        engine.run("rmi", "--force", tag, check=False, stdout=subprocess.DEVNULL)
    content = archive.read_bytes()
    assert b"setuptools-" in content
    assert b"canary-in-the-registry" not in content
    assert str(ROOT).encode() not in content
    assert str(context).encode() not in content


def test_layers_of_older_builds_are_deleted_and_the_next_build_makes_none(
    engine: Engine, image: str
) -> None:
    def list_images(*options: str) -> set[str]:
        return set(engine.ask("images", "--quiet", *options).split())

    assert list_images("--filter=dangling=true") == set()
    before = list_images("--all")
    assert image_for_tests(engine, VARIANT) == image
    assert list_images("--all") == before
