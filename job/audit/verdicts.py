"""Does each content decode, and what does it look like? Asked once for each content, and remembered between runs."""

import functools
import json
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from job.audit import formats
from job.audit.similarity import difference_hash
from job.telemetry import Progressed

if TYPE_CHECKING:
    from job.dataset import Record
    from job.telemetry import Telemetry

logger = logging.getLogger(__name__)

_AT_ONCE = 256  # contents handed to the pool at a time: progress is told, and an interruption felt, this often
_MOST_THREADS = 16
_LARGE_PIXELS = (
    2**25
)  # a picture above 33 megapixels is decoded alone, so that no two of them need their memory at once


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the decoder says of one content."""

    kind: Literal["decodes", "broken", "unsupported"]
    reason: str = ""
    hash: int = 0  # the 64-bit difference hash of an image that decodes


def verdicts(
    records: Sequence["Record"], cache_dir: Path, telemetry: "Telemetry"
) -> dict[str, Verdict]:
    """One verdict for each SHA-256 among the records, from the cache where it is there, else by decoding.

    What is known when an interruption or an error comes is kept, so that the next pod goes on from
    there.
    """
    contents = {record.sha256: record for record in records}
    cache = _VerdictCache(cache_dir / "audit.jsonl", _version())
    known = {sha256: verdict for sha256, verdict in cache.read().items() if sha256 in contents}
    unknown = [record for sha256, record in contents.items() if sha256 not in known]
    try:
        _judge_all(unknown, known, telemetry)
    finally:
        if unknown:
            cache.write(known)
    return known


def _judge_all(
    unknown: Sequence["Record"], known: dict[str, Verdict], telemetry: "Telemetry"
) -> None:
    total = len(known) + len(unknown)
    telemetry.emit(Progressed(len(known), total, "images"))
    if not unknown:
        return
    judge = _judge()
    with ThreadPoolExecutor(min(_MOST_THREADS, len(os.sched_getaffinity(0)))) as pool:
        for start in range(0, len(unknown), _AT_ONCE):
            some = unknown[start : start + _AT_ONCE]
            known.update(
                zip(
                    (one.sha256 for one in some),
                    pool.map(judge, (one.path for one in some)),
                    strict=True,
                )
            )
            telemetry.emit(Progressed(len(known), total, "images"))


@functools.cache
def _look() -> Callable[[Any], Any]:
    """The decoder with the hash behind it, traced once: string [] -> bool [64]."""
    import tensorflow as tf

    from job import images

    def look(encoded: Any) -> Any:
        return difference_hash(images.decode(encoded))

    graph: Any = tf.function(look, input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
    traced: Callable[[Any], Any] = graph.get_concrete_function()
    return traced


def _judge() -> Callable[[Path], Verdict]:
    """A function of a file, for many threads: TensorFlow gives up the interpreter's lock while it decodes."""
    import tensorflow as tf

    look, alone = _look(), threading.Lock()

    def judge(path: Path) -> Verdict:
        with path.open("rb") as file:
            head = file.read(formats.HEAD_BYTES)
            name = formats.decodable(head)
            if name is None:
                return _not_decodable(head)
            data = head + file.read()
        width, height = formats.pixels(name, data)
        if reason := formats.too_large(width, height):
            return Verdict("broken", reason)
        try:
            with alone if width * height > _LARGE_PIXELS else nullcontext():
                bits = look(tf.constant(data)).numpy()
        except tf.errors.InvalidArgumentError:
            return Verdict("broken", formats.damage(name, data))
        return Verdict("decodes", hash=int.from_bytes(np.packbits(bits).tobytes(), "big"))

    return judge


def _not_decodable(head: bytes) -> Verdict:
    if name := formats.unsupported(head):
        return Verdict("unsupported", f"{name} is not supported")
    return Verdict("broken", formats.describe_unknown(head))


def _version() -> str:
    """Verdicts of another version are stale."""
    import tensorflow as tf

    from job import images

    return f"audit 1, decoder {images.DECODER}, tensorflow {tf.__version__}"


class _VerdictCache:
    """The verdicts on the last data set: a line of JSON for each content, the version first. To lose it costs time."""

    def __init__(self, path: Path, version: str) -> None:
        self._path, self._version = path, version

    def read(self) -> dict[str, Verdict]:
        try:
            version, *lines = self._path.read_text().splitlines()
            entries = (
                [json.loads(line) for line in lines] if json.loads(version) == self._version else []
            )
            return {sha256: Verdict(**fields) for sha256, fields in entries}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError) as error:
            logger.warning(
                "The audit's cache cannot be read: decoding anew.",
                extra={"fields": {"cause": repr(error)}},
            )
            return {}

    def write(self, known: Mapping[str, Verdict]) -> None:
        """Replaces the file as a whole, or leaves it as it was."""
        lines = [self._version, *([sha256, asdict(verdict)] for sha256, verdict in known.items())]
        part = self._path.with_name(f"{self._path.name}.{os.getpid()}.part")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            part.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
            part.replace(self._path)
        except OSError as error:
            with suppress(OSError):
                part.unlink()
            logger.warning(
                "The audit's cache was not written.", extra={"fields": {"cause": repr(error)}}
            )
