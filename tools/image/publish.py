"""Build images and chart, and push them (`make publish`) or pack them in one file (`make bundle`).

    python -m tools.image.publish --registry registry.example.com/team --key cosign.key
    python -m tools.image.publish --bundle build/graft.tar --variants cpu
    python -m tools.image.publish --load build/graft.tar --registry registry.example.com/team

What is pushed is first written to `build/oci`, an OCI layout, and listed in `build/published.json`.
Credentials are those of `docker login`, `podman login` or `oras login`.
"""

import argparse
import json
import subprocess
import tarfile
import time
from collections.abc import Iterable
from pathlib import Path

from tools.image import programs
from tools.image.build import VARIANTS
from tools.image.composing import CHART_NAME, NAME, Composition, Published, Request, compose
from tools.image.oci import Descriptor
from tools.paths import ROOT

LAYOUT = ROOT / "build" / "oci"
RECORD = ROOT / "build" / "published.json"


def main() -> None:
    """Compose, then push or pack what the command line asks for."""
    arguments = _parse_arguments()
    registry = arguments.registry.removeprefix("oci://").rstrip("/")
    if arguments.load:
        bundle = Path(arguments.load)
        push(bundle, list_bundle(bundle, registry), plain_http=arguments.plain_http)
        return
    variants = tuple(arguments.variants.split())
    if unknown := [name for name in variants if name not in VARIANTS]:
        raise SystemExit(f"VARIANT={' '.join(unknown)}: expected some of {', '.join(VARIANTS)}.")
    if not arguments.registry and not arguments.bundle:
        raise SystemExit("Say where to publish: make publish REGISTRY=host:port/path")
    request = Request(
        variants=variants,
        registry=registry,
        tag=arguments.tag,
        base=arguments.base,
        weights=arguments.weights,
        source=arguments.source,
        key=arguments.key,
        rebuild=arguments.rebuild,
    )
    composition = compose(request, LAYOUT)
    if arguments.bundle:
        pack_layout(LAYOUT, Path(arguments.bundle))
        print(f"{arguments.bundle}: {Path(arguments.bundle).stat().st_size:,} bytes")
    else:
        push(LAYOUT, composition.names, plain_http=arguments.plain_http)
    RECORD.write_text(json.dumps(describe(composition), indent=2) + "\n")
    print(RECORD.read_text(), end="")


def push(layout: Path, names: Iterable[Published], *, plain_http: bool = False) -> None:
    """Copy every name of a layout, a folder or one file, with its referrers.

    They become tags where a registry lacks the referrers API.
    """
    options = ["--no-tty", "--recursive", "--from-oci-layout"]
    options += ["--to-plain-http"] * plain_http
    for published in names:
        start = time.monotonic()
        source = f"{layout}:{published.name}"
        target = f"{published.repository}:{published.tag}"
        done = subprocess.run(
            [programs.oras(), "cp", *options, source, target],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{target} could not be pushed:\n{done.stdout}{done.stderr}")
        print(f"{target}: pushed in {time.monotonic() - start:.1f} s")


def describe(composition: Composition) -> list[dict[str, str | int]]:
    """What each name leads to: its digest, and the bytes that a pull takes."""
    described: list[dict[str, str | int]] = []
    for published in composition.names:
        manifest = composition.layout.find(published.name)
        layers = composition.layout.read_json(manifest)["layers"]
        described.append(
            {
                "name": f"{published.repository}:{published.tag}",
                "digest": manifest.digest,
                "bytes": sum(layer["size"] for layer in layers),
            }
        )
    return described


def pack_layout(folder: Path, target: Path) -> None:
    """Pack a layout as one .tar, a function of its content: in order, of nobody, without dates."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    with tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                entry = tarfile.TarInfo(str(path.relative_to(folder)))
                entry.size, entry.mode = path.stat().st_size, 0o644
                with path.open("rb") as content:
                    archive.addfile(entry, content)
    part.rename(target)


def list_bundle(bundle: Path, registry: str) -> tuple[Published, ...]:
    """The names in a bundle, each with the repository that it has in that registry."""
    with tarfile.open(bundle) as archive:
        index = archive.extractfile("index.json")
        assert index is not None, "every layout has an index"
        entries = [Descriptor.parse(node) for node in json.load(index)["manifests"]]
    request = Request(variants=(), registry=registry)
    charts = {entry.digest for entry in entries if entry.name.startswith("chart-")}
    signatures = {f"{digest.replace(':', '-')}.sig" for digest in charts}
    names = []
    for entry in entries:
        of_chart = entry.digest in charts or entry.name in signatures
        repository = request.repository(CHART_NAME if of_chart else NAME)
        if entry.name:
            names.append(Published(entry.name, repository, entry.name.removeprefix("chart-")))
    return tuple(names)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--registry", default="", help="where to, as host:port/path")
    parser.add_argument("--bundle", default="", help="write one file instead of pushing")
    parser.add_argument("--load", default="", help="push what such a file holds, build nothing")
    parser.add_argument("--rebuild", action="store_true", help="take no layer from the cache")
    parser.add_argument("--variants", default=" ".join(VARIANTS), help="which images, by spaces")
    parser.add_argument("--key", default="", help="cosign's key, a PEM file or a KMS address")
    parser.add_argument("--tag", default="", help="of the images; default the version of Graft")
    parser.add_argument("--base", default="", help="base image, best by digest, or `debian`")
    parser.add_argument("--weights", default="", help="folder in the checkout, baked in")
    parser.add_argument("--source", default="", help="address of the source code")
    parser.add_argument("--plain-http", action="store_true", help="the registry speaks HTTP")
    return parser.parse_args()


if __name__ == "__main__":
    main()
