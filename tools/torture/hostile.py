"""Hostile inputs by the thousand: made from a seed, and given to the functions that a run uses.

    python -m tools.torture.hostile --seed 1 --count 1000

Each input is an honest one that was flipped, cut, grown or told to lie, or a trap made on purpose.
It must be read, or refused by an error of Graft's, inside a cap of memory. Nothing may be written
outside the cache. An image that a second decoder (Pillow) reads as before must not be left out.
"""

import argparse
import hashlib
import io
import json
import random
import resource
import shutil
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from job.audit.formats import has_wrong_checksum
from job.audit.verdicts import judge_contents
from job.dataset import Record, fetch, survey
from job.errors import JobError
from job.export.operations import GRAPH, require_known_operations
from job.model.tensors import read_into
from job.publish.inventory import list_learnt_images
from job.release import Manifest, parse_pointer
from job.settings import CacheSettings, DatasetSettings
from job.telemetry import silent
from tools.torture import honest

# What all inputs together may add to the memory of the process.
MEMORY_BYTES = 3 << 30
CANARY = "canary.txt"
# How many of each 100 inputs are of which kind.
SHARES = {"image": 40, "archive": 18, "table": 12, "weights": 12, "json": 12, "graph": 6}

Read = Callable[[Path], object]


@dataclass
class Figures:
    """What came of the inputs.

    Attributes:
        outcomes: by kind: how many were read and how many refused.
        faults: what must not happen, one line each.
        odd: images that Pillow reads otherwise than before, and we leave out.
        seconds: of CPU.
    """

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    odd: int = 0
    seconds: float = 0.0

    @property
    def inputs(self) -> int:
        return sum(self.outcomes.values())


def examine(seed: int, count: int, folder: Path) -> Figures:
    """Make `count` inputs from a seed, below `folder`, and give each to what reads it."""
    began = time.process_time()
    figures = Figures()
    sources = honest.make_sources(folder / "honest")
    readers: dict[str, Read] = {
        "archive": _read_data_set,
        "table": _read_data_set,
        "weights": lambda path: read_into(honest.make_network(), path, "this network"),
        "json": _read_json,
        "graph": _read_graph,
    }
    with _cap_memory():
        for kind, share in SHARES.items():
            generator = random.Random(f"{seed} {kind}")
            place = folder / kind
            place.mkdir()
            (folder / CANARY).write_text(CANARY)
            number = max(1, count * share // 100)
            if kind == "image":
                _examine_images(generator, number, place, figures)
                continue
            for index in range(number):
                origin = generator.choice(sources[kind])
                data = mutate(generator, origin.content)
                # The suffix decides who reads it.
                path = place / str(index) / f"input{origin.suffix}"
                path.parent.mkdir()
                path.write_bytes(data)
                if kind == "table":
                    for name in honest.NEIGHBOURS:
                        (path.parent / name).write_bytes(honest.encode_image(generator))
                _try_input(f"{kind} {index} {origin.name}", path, readers[kind], figures)
                _find_escapes(folder, path, figures)
                shutil.rmtree(path.parent)
    figures.seconds = time.process_time() - began
    return figures


def mutate(generator: random.Random, data: bytes) -> bytes:
    """The same bytes, or flipped, cut, grown, repeated, or with a number that claims more."""
    changed = bytearray(data)
    match generator.choice(("same", "flip", "flip", "flip", "cut", "grow", "repeat", "claim")):
        case "flip":
            for _ in range(generator.choice((1, 1, 4, 64))):
                changed[generator.randrange(len(changed))] ^= 1 << generator.randrange(8)
        case "cut":
            del changed[generator.randrange(len(changed)) :]
        case "grow":
            at = generator.randrange(len(changed) + 1)
            changed[at:at] = generator.randbytes(generator.choice((1, 100, 5_000)))
        case "repeat":
            start = generator.randrange(len(changed))
            changed[start:start] = changed[start : start + 200] * 20
        case "claim":
            # Headers hold sizes: four bytes of ones are the largest or minus one.
            start = generator.randrange(min(len(changed), 512))
            changed[start : start + 4] = generator.choice((b"\xff" * 4, b"\x7f\xff\xff\xff"))
    return bytes(changed)


def _examine_images(generator: random.Random, count: int, folder: Path, figures: Figures) -> None:
    """Judge images as the audit does, all at once, and compare the verdicts with Pillow."""
    records = []
    originals: dict[str, bytes] = {}
    for _ in range(count):
        original = honest.encode_image(generator)
        data = mutate(generator, original)
        sha256 = hashlib.sha256(data).hexdigest()
        path = folder / sha256
        path.write_bytes(data)
        originals[sha256] = original
        records.append(_make_record(path, data))
    for name, data in honest.make_image_bombs().items():
        path = folder / name
        path.write_bytes(data)
        records.append(_make_record(path, data))
    try:
        verdicts = judge_contents(records, folder / "cache", silent())
    except Exception:  # noqa: BLE001  # this is what the tool looks for
        figures.faults.append(f"images: {traceback.format_exc(limit=-2)}")
        return
    for sha256, verdict in verdicts.items():
        figures.outcomes["image", verdict.kind] += 1
        if verdict.kind == "decodes" or sha256 not in originals:
            continue
        data = (folder / sha256).read_bytes()
        received = _decode_by_pillow(data)
        expected = _decode_by_pillow(originals[sha256])
        if received is None or expected is None:
            continue
        # Pillow passes over the checksums of pixels, and over the lack of one.
        if data.startswith(b"\x89PNG") and has_wrong_checksum(data):
            figures.odd += 1
        elif np.array_equal(received, expected):
            figures.faults.append(f"image {sha256} is as before and left out: {verdict.reason}")
        else:
            figures.odd += 1


def _make_record(path: Path, data: bytes) -> Record:
    return Record(
        location=str(path),
        name=path.name,
        label="a",
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        split=None,
        group=None,
    )


def _decode_by_pillow(data: bytes) -> np.ndarray | None:
    """The first frame in RGB, or None if Pillow cannot read it."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))
    except Exception:  # noqa: BLE001  # Pillow raises whatever its plugins do
        return None


def _try_input(name: str, path: Path, read: Read, figures: Figures) -> None:
    kind = name.partition(" ")[0]
    try:
        read(path)
        figures.outcomes[kind, "read"] += 1
    except JobError:
        figures.outcomes[kind, "refused"] += 1
    except Exception:  # noqa: BLE001  # this is what the tool looks for
        figures.outcomes[kind, "fault"] += 1
        figures.faults.append(f"{name}: {traceback.format_exc(limit=-3)}")


def _read_data_set(path: Path) -> None:
    dataset = DatasetSettings(uri=path.as_uri())
    cache = CacheSettings(dir=path.parent / "cache", limit=64 << 20)
    fetch(survey(dataset), dataset, cache, silent())


def _read_json(path: Path) -> None:
    raw = path.read_bytes()
    readers: tuple[Callable[[], object], ...] = (
        lambda: Manifest.parse(raw, "here"),
        lambda: parse_pointer(raw, "here"),
        lambda: list_learnt_images(raw),
    )
    refusals = []
    for reader in readers:
        try:
            reader()
        except JobError as error:
            refusals.append(error)
    # Nothing is a manifest, a pointer and an inventory at once.
    if len(refusals) == len(readers):
        raise refusals[0]


def _read_graph(path: Path) -> None:
    require_known_operations(path.rename(path.with_name(GRAPH)).parent)


def _find_escapes(folder: Path, path: Path, figures: Figures) -> None:
    """Whether something was written beside the input, outside the cache, or over the canary."""
    expected = {path.name, GRAPH, "cache", *honest.NEIGHBOURS}
    beside = {each.name for each in path.parent.iterdir()} - expected
    outside = {each.name for each in folder.iterdir()} - {*SHARES, "honest", CANARY}
    leftover = {each.name for each in path.parent.parent.iterdir()} - {path.parent.name}
    if beside or outside or leftover or (folder / CANARY).read_text() != CANARY:
        figures.faults.append(f"{path} escaped: {beside} {outside} {leftover}")


@contextmanager
def _cap_memory() -> Iterator[None]:
    """Let the process have MEMORY_BYTES more than now, and afterwards what it had before."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def main() -> int:
    """Print the figures as JSON. The exit code is 1 if there was a fault."""
    parser = argparse.ArgumentParser(description="Give hostile inputs to what reads them.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=1_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        figures = examine(arguments.seed, arguments.count, Path(scratch))
    outcomes: dict[str, dict[str, int]] = {}
    for (kind, outcome), number in sorted(figures.outcomes.items()):
        outcomes.setdefault(kind, {})[outcome] = number
    answer = {
        "inputs": figures.inputs,
        "faults": len(figures.faults),
        "outcomes": outcomes,
        "images that Pillow reads otherwise": figures.odd,
        "CPU seconds": round(figures.seconds, 1),
    }
    print(json.dumps(answer, indent=2))
    for fault in figures.faults:
        print(fault)
    if figures.faults:
        print(f"Again: python -m tools.torture.hostile --seed {arguments.seed}")
    return 1 if figures.faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
