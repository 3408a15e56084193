"""All that is published of a checkout, in one OCI layout: images, chart, records, signatures."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tools.image import build, debian, export, provenance, signature
from tools.image.chart_artifact import Image, add_chart
from tools.image.engine import Engine, ours
from tools.image.oci import Descriptor, Layout
from tools.image.provenance import CYCLONEDX, SLSA, Source
from tools.paths import ROOT

# What everything is named without a registry.
NAME = "graft"
# The chart has a repository of its own, whose last part is its name, as Helm wants it.
CHART_NAME = f"charts/{NAME}"
VERSION = "org.opencontainers.image.version"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to compose. `registry` is host:port/path or empty, `key` what signs or empty.

    `rebuild` takes no layer from the engine's cache.
    """

    variants: tuple[str, ...]
    registry: str = ""
    tag: str = ""
    base: str = ""
    weights: str = ""
    source: str = ""
    key: str = ""
    rebuild: bool = False

    def repository(self, name: str = NAME) -> str:
        return f"{self.registry.rstrip('/')}/{name}" if self.registry else name

    def image_tag(self, variant: str) -> str:
        suffix = "" if variant == "gpu" else f"-{variant}"
        return f"{self.tag or build.read_version()}{suffix}"


@dataclass(frozen=True, slots=True)
class Base:
    """The base of the images: what the build is given, and what it is called elsewhere."""

    argument: str
    name: str
    digest: str


@dataclass(frozen=True, slots=True)
class Published:
    """One name in the layout, and where it belongs: a repository and a tag."""

    name: str
    repository: str
    tag: str


@dataclass(frozen=True, slots=True)
class Composition:
    """The layout, and its names in the order in which they are pushed."""

    layout: Layout
    names: tuple[Published, ...]


def compose(request: Request, folder: Path) -> Composition:
    """Build and export all of it into a new layout in that folder."""
    shutil.rmtree(folder, ignore_errors=True)
    composer = _Composer(request, Layout(folder))
    default = Image(request.repository(), "")
    for variant in request.variants:
        manifest = composer.add_image(variant)
        if variant != "launcher" and not default.tag:
            default = replace(default, tag=f"{request.image_tag(variant)}@{manifest.digest}")
    composer.add_chart(default)
    return Composition(composer.layout, tuple(composer.names))


class _Composer:
    """Adds images and the chart to a layout, signed if there is a key."""

    def __init__(self, request: Request, layout: Layout) -> None:
        self.request, self.layout = request, layout
        self.names: list[Published] = []
        self._signer = signature.load_signer(request.key) if request.key else None
        self._epoch = read_epoch(os.environ)
        self._revision = build.describe_revision()
        self._engine = find_exporter(request.base)
        self._base = resolve_base(self._engine, request.base)

    def add_image(self, variant: str) -> Descriptor:
        """Build an image, and add it with its provenance and bill of materials."""
        request, tag = self.request, self.request.image_tag(variant)
        options = build.ImageOptions(
            f"graft.local/published:{tag}",
            variant,
            base=self._base.argument,
            weights="" if variant == "launcher" else request.weights,
            source=request.source,
            base_name=self._base.name,
            base_digest=self._base.digest if self._base.name else "",
            revision=self._revision,
            rebuild=request.rebuild,
        )
        inventory = provenance.read_inventory(build.build(self._engine, options))
        image = export.export_image(self._engine, options.name, self.layout, self._epoch)
        self._add_name(image, Published(tag, request.repository(), tag))
        provenance.attach_file(self.layout, image, inventory, provenance.SBOM)
        built = provenance.describe_build(
            self._list_parameters(variant), self._find_source(variant)
        )
        name = request.repository()
        statement = provenance.make_statement(name, image, SLSA, built)
        provenance.attach_file(self.layout, image, statement, provenance.STATEMENT)
        if self._signer:
            listed = provenance.make_statement(name, image, CYCLONEDX, json.loads(inventory))
            statements = [(SLSA, statement), (CYCLONEDX, listed)]
            attested = signature.attest_statements(self.layout, image, statements, self._signer)
            self.names.append(Published(attested, name, attested))
        return image

    def add_chart(self, image: Image) -> None:
        """Add the chart, which runs that image by default."""
        manifest = add_chart(self.layout, image, self._epoch)
        version = str(self.layout.read_json(manifest)["annotations"][VERSION])
        place = Published(f"chart-{version}", self.request.repository(CHART_NAME), version)
        self._add_name(manifest, place)

    def _add_name(self, manifest: Descriptor, place: Published) -> None:
        self.layout.tag(place.name, manifest)
        self.names.append(place)
        if self._signer:
            tag = signature.sign_manifest(self.layout, manifest, place.repository, self._signer)
            self.names.append(Published(tag, place.repository, tag))

    def _list_parameters(self, variant: str) -> dict[str, str]:
        """What a person asked for: the same again gives the same image."""
        request = self.request
        return {
            "variant": variant,
            "base": request.base,
            "weights": request.weights,
            "tag": request.tag,
            "sourceDateEpoch": str(self._epoch),
        }

    def _find_source(self, variant: str) -> Source:
        return Source(
            revision=self._revision,
            address=self.request.source,
            base_name=self._base.name,
            base_digest=self._base.digest,
            files=("Dockerfile", "pyproject.toml", f"requirements/{variant}.txt"),
        )


def find_exporter(base: str) -> Engine:
    """The engine that builds and exports; on Debian packages it is our own podman.

    Raises:
        SystemExit: neither podman nor buildah is there.
    """
    if base == "debian":
        return ours()
    for program in export.EXPORTERS:
        if shutil.which(program):
            return Engine(program)
    raise SystemExit(f"Publishing takes {' or '.join(export.EXPORTERS)}. Install one of them.")


def resolve_base(engine: Engine, base: str) -> Base:
    """The base by its digest, so that a tag that moves changes nothing between two builds."""
    if base == "debian":
        name = debian.ensure(engine)
        return Base(name, "", engine.digest(name))
    base = base or _read_default_base()
    name, _, digest = base.partition("@")
    if not digest:
        if not engine.has(base):
            engine.run("pull", "--quiet", base, stdout=subprocess.DEVNULL)
        digest = engine.digest(base)
    return Base(f"{_strip_tag(name)}@{digest}", name, digest)


def read_epoch(environment: Mapping[str, str]) -> int:
    """SOURCE_DATE_EPOCH in seconds after 1970, or else the date of the commit.

    Raises:
        SystemExit: it is not a number, or there is neither.
    """
    given = environment.get("SOURCE_DATE_EPOCH", "")
    if not given:
        command = ["git", "log", "-1", "--format=%ct"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        given = done.stdout.strip()
    if not given.isdecimal():
        raise SystemExit(
            f"SOURCE_DATE_EPOCH={given!r}: expected seconds since 1970. Set it where there is no "
            "Git repository with a commit."
        )
    return int(given)


def _read_default_base() -> str:
    """The base that the Dockerfile takes when none is given."""
    (line,) = re.findall(r"^ARG BASE=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    return str(line)


def _strip_tag(name: str) -> str:
    """The name without its tag: the last colon, unless it belongs to a port."""
    head, slash, last = name.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"
