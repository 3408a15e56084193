"""Build the container image, for `make image` and `make image-archive`, with plain Python.

    python3 -m tools.image.build --variant cpu    # with this machine's docker, podman or buildah
    python3 -m tools.image.build --base debian    # on Debian packages: needs no image registry
    python3 -m tools.image.build --archive        # the CPU image for the tests, as an archive

The tests call `image_for_tests` and `cpu_archive`, which build on Debian packages with an engine of
their own.
"""

import argparse
import hashlib
import subprocess
import tomllib
from dataclasses import replace
from pathlib import Path

from tools.cache import alone
from tools.image import debian, registry
from tools.image.engine import CACHE, Engine, found, ours
from tools.paths import ROOT

VARIANTS = ("gpu", "cpu")
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
        help="with GPU libraries (the default) or without",
    )
    parser.add_argument(
        "--base", default="", help="base image with Python 3.11 to 3.13, or `debian`"
    )
    parser.add_argument(
        "--weights", default="", help="folder in the checkout with files for KERAS_HOME/models"
    )
    parser.add_argument(
        "--tag", default="", help="name of the image; default graft:<version>, and -cpu"
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
    if (
        base == "debian"
    ):  # whoever has no image registry may have set up no network for containers either
        engine = replace(engine, build_options=("--network=host",))
        base = debian.ensure(engine)
    name = arguments.tag or tag(arguments.variant)
    inventory = build(engine, name, arguments.variant, base, arguments.weights, arguments.source)
    size = engine.ask("images", "--format", "{{.Size}}", name)
    print(
        f"{name}: {size} unpacked, built with {engine.program}\n"
        f"{inventory.relative_to(ROOT)}: what is in it"
    )


def tag(variant: str) -> str:
    """The name of the image of this checkout, unless one is asked for."""
    return f"graft:{_version()}{'-cpu' if variant == 'cpu' else ''}"


def build(
    engine: Engine,
    name: str,
    variant: str,
    base: str = "",
    weights: str = "",
    source: str = "",
    context: Path = ROOT,
) -> Path:
    """Build the image and return its bill of materials, a file in the context's `build/`.

    Raises:
        SystemExit: `weights` is no folder of the context.
    """
    folder = weights and str(_folder(weights, context).relative_to(context))
    chosen = _options("build-arg", {"VARIANT": variant, "BASE": base, "WEIGHTS": folder})
    labels = {"version": _version(), "revision": _revision(), "source": source}
    named = _options(
        "label", {f"org.opencontainers.image.{name}": value for name, value in labels.items()}
    )
    inventory = context / "build" / f"graft-{variant}.cdx.json"
    inventory.parent.mkdir(exist_ok=True)
    with registry.secrets() as secrets:
        engine.build(context, *chosen, *secrets, *named, f"--tag={name}")
        engine.build(
            context,
            *chosen,
            *secrets,
            "--target=inventory",
            f"--output=type=local,dest={inventory.parent}",
        )
    return inventory


def image_for_tests(engine: Engine, variant: str) -> str:
    """The image for the tests, on Debian packages in an engine apart; fitting layers are kept."""
    name = TEST_IMAGE if variant == "cpu" else f"{TEST_IMAGE}-{variant}"
    with alone(CACHE / "image.lock"):
        build(engine, name, variant, debian.ensure(engine))
    return name


def cpu_archive() -> Path:
    """The CPU image, named `TEST_IMAGE`, as an archive that `ctr images import` takes.

    It lies outside the checkout and is made anew when something has changed that it is made of.
    """
    note, digest = ARCHIVE.with_suffix(".inputs"), _inputs()
    with alone(CACHE / "archive.lock"):
        if not ARCHIVE.exists() or not note.exists() or note.read_text() != digest:
            _save(ours(), ARCHIVE)
            note.write_text(digest)
    return ARCHIVE


def _save(engine: Engine, archive: Path) -> None:
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


def _inputs() -> str:
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


def _options(name: str, values: dict[str, str]) -> list[str]:
    """An option for each value; what is empty is left to the Dockerfile."""
    return [f"--{name}={key}={value}" for key, value in values.items() if value]


def _folder(weights: str, context: Path) -> Path:
    folder = (context / weights).resolve()
    if not folder.is_dir() or not folder.is_relative_to(context):
        raise SystemExit(
            f"WEIGHTS={weights}: expected a folder in the checkout. Copy the weights into one."
        )
    return folder


def _version() -> str:
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])


def _revision() -> str:
    """The commit, and whether something is not committed; empty outside a repository."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()


if __name__ == "__main__":
    main()
