"""The published chart, pulled by Helm from a real registry."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.image.registries import serve_registry
from tools import helm
from tools.image.chart_artifact import Image, add_chart, read_chart_files
from tools.image.composing import CHART_NAME, Published
from tools.image.oci import Layout
from tools.image.publish import push
from tools.paths import CHART

pytestmark = pytest.mark.chart

TAG = "0.1.0@sha256:" + "ab" * 32


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The address of the chart, and the repository of its image."""
    with serve_registry() as address:
        layout = Layout(tmp_path_factory.mktemp("layout"))
        image = f"{address}/team/graft"
        layout.tag("chart", add_chart(layout, Image(image, TAG), 1_000_000_000))
        place = Published("chart", f"{address}/team/{CHART_NAME}", "0.1.0")
        push(layout.folder, [place], plain_http=True)
        yield f"oci://{address}/team/{CHART_NAME}", image


def run_helm(major: int, *arguments: str | Path) -> str:
    command = [helm.binary(major), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("major", helm.MAJORS)
def test_the_chart_is_pulled_as_it_was_packed(
    major: int, pushed: tuple[str, str], tmp_path: Path
) -> None:
    address, _ = pushed
    options = ["--plain-http", "--version", "0.1.0", "--untar"]
    run_helm(major, "pull", address, *options, "--untardir", tmp_path)
    pulled = {str(p.relative_to(tmp_path / "graft")) for p in tmp_path.rglob("*") if p.is_file()}
    assert pulled == set(read_chart_files())


@pytest.mark.parametrize("major", helm.MAJORS)
def test_the_pulled_chart_runs_the_published_image_by_its_digest(
    major: int, pushed: tuple[str, str]
) -> None:
    address, image = pushed
    addresses = "settings.dataset.uri=s3://data,settings.output.uri=s3://models"
    rendered = run_helm(major, "template", "flowers", address, "--plain-http", "--set", addresses)
    jobs = [node for node in yaml.safe_load_all(rendered) if node["kind"] == "Job"]
    (container,) = jobs[0]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"{image}:{TAG}"


def test_another_tag_and_another_registry_take_the_place_of_the_published_ones(
    pushed: tuple[str, str],
) -> None:
    address, _ = pushed
    values = "settings.dataset.uri=s3://data,settings.output.uri=s3://models"
    values += ",image.tag=mine,global.imageRegistry=mirror.example.com"
    rendered = run_helm(3, "template", "flowers", address, "--plain-http", "--set", values)
    assert re.search(r'image: "mirror\.example\.com/team/graft:mine"', rendered)


def test_helm_would_pack_the_same_files(tmp_path: Path) -> None:
    run_helm(3, "package", CHART, "--destination", tmp_path)
    (package,) = tmp_path.glob("*.tgz")
    listed = subprocess.run(
        ["tar", "--list", "--file", package], check=True, capture_output=True, text=True
    ).stdout.split()
    assert {path.removeprefix("graft/") for path in listed} == set(read_chart_files())
