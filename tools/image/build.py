"""Build the container image, for `make image` and `make image-archive`, with plain Python.

    python3 -m tools.image.build --variant cpu    # with this machine's docker, podman or buildah
    python3 -m tools.image.build --base debian    # on Debian packages: needs no image registry
    python3 -m tools.image.build --archive        # the CPU image for the tests, as an archive

The tests call `image_for_tests` and `cpu_archive`, which build on Debian packages with an engine of
their own.
"""

import argparse
import hashlib
import re
import subprocess
import tomllib
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path

from tools.cache import alone
from tools.image import debian, registry
from tools.image.engine import CACHE, Engine, found, ours
from tools.paths import ROOT

VARIANTS = ("gpu", "cpu", "launcher")
# The date of every file in the image. It never changes, so that a layer is a function of its
# content, and the next version of the image shares the layers that are the same. It is zip's first.
FILE_DATE = 315532800
TEST_IMAGE = "graft.local/graft:test"
ARCHIVE = CACHE / "graft-cpu.tar"
# What decides what the image does. README.md goes into the wheel's description alone: it is not
# worth a new archive.
INPUTS = ("Dockerfile", ".dockerignore", "pyproject.toml", "requirements/cpu.txt", "job")


def main() -> None:
    """Build what the command line asks for and say where it is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--variant",
        choices=VARIANTS,
        default="gpu",
        help="with GPU libraries (the default), without, or without TensorFlow",
    )
    parser.add_argument(
        "--base", default="", help="base image with Python 3.11 to 3.13, or `debian`"
    )
    parser.add_argument(
        "--weights", default="", help="folder in the checkout with files for KERAS_HOME/models"
    )
    parser.add_argument(
        "--tag",
        default="",
        help="name of the image; default graft:<version>, with -cpu or -launcher",
    )
    parser.add_argument("--source", default="", help="address of the source code, for the label")
    parser.add_argument(
        "--archive", action="store_true", help="the archive for the tests, and nothing else"
    )
    arguments = parser.parse_args()
    if arguments.archive:
        print(cpu_archive())
        return
    engine, base = found(), arguments.base
    if base == "debian":
        # A machine without an image registry may have no network for containers either.
        engine = replace(engine, build_options=("--network=host",))
        base = debian.ensure(engine)
    name = arguments.tag or tag(arguments.variant)
    options = ImageOptions(
        name, arguments.variant, base=base, weights=arguments.weights, source=arguments.source
    )
    inventory = build(engine, options)
    size = engine.ask("images", "--format", "{{.Size}}", name)
    print(
        f"{name}: {size} unpacked, built with {engine.program}\n"
        f"{inventory.relative_to(ROOT)}: what is in it"
    )


def tag(variant: str) -> str:
    """The name of the image of this checkout, unless one is asked for."""
    return f"graft:{read_version()}{'' if variant == 'gpu' else f'-{variant}'}"


@dataclass(frozen=True, slots=True)
class ImageOptions:
    """What a build decides; an empty text leaves it to the Dockerfile."""

    name: str
    variant: str
    _: KW_ONLY
    base: str = ""
    weights: str = ""
    source: str = ""
    base_name: str = ""
    base_digest: str = ""
    # The commit, if it has been asked for already.
    revision: str = ""
    # Build every layer again, though an equal one is there.
    rebuild: bool = False


def build(engine: Engine, options: ImageOptions, context: Path = ROOT) -> Path:
    """Build the image and return its bill of materials, a file in the context's `build/`.

    Raises:
        SystemExit: `weights` is not a folder of the context.
    """
    weights = options.weights
    if weights:
        weights = str(_find_weights_folder(weights, context).relative_to(context))
    arguments = _format_options(
        "build-arg", {"VARIANT": options.variant, "BASE": options.base, "WEIGHTS": weights}
    )
    labels = _format_options(
        "label",
        {
            "org.opencontainers.image.version": read_version(),
            "org.opencontainers.image.revision": options.revision or describe_revision(),
            "org.opencontainers.image.source": options.source,
            "org.opencontainers.image.base.name": options.base_name,
            "org.opencontainers.image.base.digest": options.base_digest,
        },
    )
    inventory = context / "build" / f"graft-{options.variant}.cdx.json"
    inventory.parent.mkdir(exist_ok=True)
    if engine.program != "docker":
        arguments.append(f"--timestamp={FILE_DATE}")
    fresh = ["--no-cache"] * options.rebuild
    # One build at a time in our storage, since each deletes what it does not know.
    lock = alone(CACHE / "image.lock") if engine.own else nullcontext()
    with lock, registry.secrets() as secrets:
        engine.build(context, *arguments, *fresh, *secrets, *labels, f"--tag={options.name}")
        engine.build(
            context,
            *arguments,
            *secrets,
            "--target=inventory",
            f"--output=type=local,dest={inventory.parent}",
        )
        if engine.own and context == ROOT:
            _prune_layers(engine, options.variant, (*arguments, *secrets))
    return inventory


def _prune_layers(engine: Engine, variant: str, arguments: Sequence[str]) -> None:
    """Name every stage of the newest build of a variant, and delete all that has no name.

    Without names, the stages that are not the last would be indistinguishable from those of older
    builds, which are gigabytes each. External containers are what builds leave that are killed.
    """
    for stage in re.findall(r"^FROM .* AS (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE):
        name = f"--tag=graft.local/stage:{variant}-{stage}"
        engine.build(ROOT, *arguments, f"--target={stage}", name, "--quiet")
    # A disk that stays full is no reason to go without the image.
    engine.run("image", "prune", "--force", "--external", check=False, stdout=subprocess.DEVNULL)


def image_for_tests(engine: Engine, variant: str) -> str:
    """The image for the tests, on Debian packages in an engine apart; fitting layers are kept."""
    name = TEST_IMAGE if variant == "cpu" else f"{TEST_IMAGE}-{variant}"
    with alone(CACHE / "base.lock"):
        base = debian.ensure(engine)
    build(engine, ImageOptions(name, variant, base=base))
    return name


def cpu_archive() -> Path:
    """The CPU image, named `TEST_IMAGE`, as an archive that `ctr images import` takes.

    It lies outside the checkout and is made again when something has changed that it is made of.
    """
    note, digest = ARCHIVE.with_suffix(".inputs"), _hash_inputs()
    with alone(CACHE / "archive.lock"):
        if not ARCHIVE.exists() or not note.exists() or note.read_text() != digest:
            _save_archive(ours(), ARCHIVE)
            note.write_text(digest)
    return ARCHIVE


def _save_archive(engine: Engine, archive: Path) -> None:
    part = archive.with_suffix(".part")
    part.unlink(missing_ok=True)
    engine.run(
        "save",
        "--quiet",
        "--format=docker-archive",
        f"--output={part}",
        image_for_tests(engine, "cpu"),
    )
    part.rename(archive)


def _hash_inputs() -> str:
    """SHA-256 over the names and contents of `INPUTS`."""
    files = [
        file
        for name in INPUTS
        for file in ([ROOT / name] if (ROOT / name).is_file() else (ROOT / name).rglob("*"))
    ]
    digest = hashlib.sha256(repr(debian.RECIPE).encode())
    for file in sorted(file for file in files if file.is_file() and file.suffix != ".pyc"):
        digest.update(
            f"{file.relative_to(ROOT)} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode()
        )
    return digest.hexdigest()


def _format_options(name: str, values: dict[str, str]) -> list[str]:
    """An option for each value; what is empty is left to the Dockerfile."""
    return [f"--{name}={key}={value}" for key, value in values.items() if value]


def _find_weights_folder(weights: str, context: Path) -> Path:
    folder = (context / weights).resolve()
    if not folder.is_dir() or not folder.is_relative_to(context):
        raise SystemExit(
            f"WEIGHTS={weights}: expected a folder in the checkout. Copy the weights into one."
        )
    return folder


def read_version() -> str:
    """The version of this checkout."""
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])


def describe_revision() -> str:
    """The commit, and whether something is not committed; empty outside a repository."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()


if __name__ == "__main__":
    main()
