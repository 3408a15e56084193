"""The chart as an OCI artefact that Helm pulls, with the published image as its default."""

import gzip
import io
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.image.oci import Artifact, Descriptor, Layout
from tools.paths import CHART

CONFIG = "application/vnd.cncf.helm.config.v1+json"
CONTENT = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
# How each file of the chart names the default image. `_defaults.tpl` is generated from values.yaml.
DEFAULTS = {
    "values.yaml": ("  repository: graft\n", '  tag: ""\n'),
    "templates/_defaults.tpl": ("  repository: graft\n", "  tag: ''\n"),
}


@dataclass(frozen=True, slots=True)
class Image:
    """What the published chart runs by default. A `tag` may end in `@sha256:…`, which decides."""

    repository: str
    tag: str


def add_chart(layout: Layout, image: Image, epoch: int) -> Descriptor:
    """Write the chart's manifest. Its files are dated `epoch` seconds after 1970."""
    # Late, since a bundle is loaded where there may be nothing but Python.
    import yaml

    files = read_chart_files()
    about = yaml.safe_load(files["Chart.yaml"])
    files = point_at_image(files, image)
    archive = pack_files({f"{about['name']}/{path}": files[path] for path in files}, epoch)
    return layout.add_manifest(
        Artifact(
            config=layout.add_json(about, CONFIG),
            layers=(layout.add_blob(archive, CONTENT),),
            annotations=_describe_chart(about),
        )
    )


def read_chart_files(folder: Path = CHART) -> dict[str, bytes]:
    """The files that `helm package` would take, by their path below the chart."""
    patterns = (folder / ".helmignore").read_text().split()
    if patterns != ["/ci/", ".*"]:
        raise SystemExit(
            f"{folder}/.helmignore holds {patterns}: teach read_chart_files about that."
        )
    files = {}
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        hidden = any(part.startswith(".") for part in parts)
        if path.is_file() and not hidden and parts[0] != "ci":
            files["/".join(parts)] = path.read_bytes()
    return files


def point_at_image(files: dict[str, bytes], image: Image) -> dict[str, bytes]:
    """The files with another default image.

    Raises:
        SystemExit: a file does not name the default image as expected.
    """
    pointed = dict(files)
    for path, (repository, tag) in DEFAULTS.items():
        text = files[path].decode()
        block = f"{repository}{tag}" if path.endswith(".tpl") else repository
        if text.count(block) != 1 or text.count(tag) != 1:
            raise SystemExit(f"{path}: expected the default image once, as {repository}{tag}")
        text = text.replace(repository, f"  repository: {image.repository}\n")
        pointed[path] = text.replace(tag, f'  tag: "{image.tag}"\n').encode()
    return pointed


def pack_files(files: dict[str, bytes], epoch: int) -> bytes:
    """A .tar.gz that is a function of the files and the date: in order, and owned by nobody."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=0, filename="") as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for path, content in sorted(files.items()):
            entry = tarfile.TarInfo(path)
            entry.size, entry.mtime, entry.mode = len(content), epoch, 0o644
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def _describe_chart(about: dict[str, Any]) -> dict[str, str]:
    """The annotations that `helm push` would give, but for the time of the push."""
    keys = {"title": "name", "version": "version", "description": "description"}
    return {f"org.opencontainers.image.{key}": about[keys[key]] for key in keys}
