"""Does each content decode, and what does it look like? Judged once, remembered between runs."""

import functools
import json
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from job.audit import formats
from job.audit.similarity import compute_difference_hash
from job.dataset import Record
from job.files import write_whole
from job.telemetry import Progressed, Telemetry

logger = logging.getLogger(__name__)

# Contents passed to the threads at a time: so often is progress reported and a stop noticed.
BATCH = 256
MOST_THREADS = 16

# A picture above 33 megapixels is decoded alone, so that no two of them need their memory at once.
LARGE_PIXELS = 2**25


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the decoder found in one content. `hash` is the 64-bit difference hash if it decodes."""

    kind: Literal["decodes", "broken", "unsupported"]
    reason: str = ""
    hash: int = 0


def judge_contents(
    records: Sequence[Record], cache_dir: Path, telemetry: Telemetry
) -> dict[str, Verdict]:
    """One verdict for each SHA-256 among the records, from the cache or by decoding.

    An interruption or an error keeps the verdicts so far, so that the next pod continues from
    there.
    """
    contents = {record.sha256: record for record in records}
    cache = VerdictCache(cache_dir / "audit.jsonl", _describe_version())
    cached = cache.read()
    verdicts = {sha256: cached[sha256] for sha256 in contents if sha256 in cached}
    unknown = [record for sha256, record in contents.items() if sha256 not in verdicts]
    try:
        _judge_unknown(unknown, verdicts, telemetry)
    finally:
        if unknown:
            cache.write(verdicts)
    return verdicts


def _judge_unknown(
    unknown: Sequence[Record], verdicts: dict[str, Verdict], telemetry: Telemetry
) -> None:
    """Add a verdict for each unknown content to `verdicts`."""
    total = len(verdicts) + len(unknown)
    telemetry.emit(Progressed(len(verdicts), total, "images"))
    if not unknown:
        return
    judge = _make_judge()
    num_threads = min(MOST_THREADS, len(os.sched_getaffinity(0)))
    with ThreadPoolExecutor(num_threads) as pool:
        for start in range(0, len(unknown), BATCH):
            batch = unknown[start : start + BATCH]
            judged = pool.map(judge, [record.path for record in batch])
            for record, verdict in zip(batch, judged, strict=True):
                verdicts[record.sha256] = verdict
            telemetry.emit(Progressed(len(verdicts), total, "images"))


@functools.cache
def _trace_decoder() -> Callable[[Any], Any]:
    """The decoder followed by the hash, traced once: string [] -> bool [64]."""
    import tensorflow as tf

    from job import images

    def decode_and_hash(encoded: Any) -> Any:
        return compute_difference_hash(images.decode(encoded))

    signature = [tf.TensorSpec([], tf.string)]
    graph: Any = tf.function(decode_and_hash, input_signature=signature, autograph=False)
    traced: Callable[[Any], Any] = graph.get_concrete_function()
    return traced


def _make_judge() -> Callable[[Path], Verdict]:
    """A function of a file, for many threads.

    TensorFlow releases the interpreter's lock while it decodes.
    """
    import tensorflow as tf

    decode_and_hash = _trace_decoder()
    alone = threading.Lock()

    def judge(path: Path) -> Verdict:
        with path.open("rb") as file:
            head = file.read(formats.HEAD_BYTES)
            name = formats.find_decodable(head)
            if name is None:
                if unsupported := formats.find_unsupported(head):
                    return Verdict("unsupported", f"{unsupported} is not supported")
                return Verdict("broken", formats.describe_unknown(head))
            data = head + file.read()

        width, height = formats.read_dimensions(name, data)
        if reason := formats.explain_refusal(width, height):
            return Verdict("broken", reason)
        try:
            with alone if width * height > LARGE_PIXELS else nullcontext():
                bits = decode_and_hash(tf.constant(data)).numpy()
        except tf.errors.InvalidArgumentError:
            return Verdict("broken", formats.describe_damage(name, data))
        return Verdict("decodes", hash=int.from_bytes(np.packbits(bits).tobytes(), "big"))

    return judge


def _describe_version() -> str:
    """What the verdicts depend on. Those of another version are stale."""
    import tensorflow as tf

    from job import images

    return f"audit 1, decoder {images.DECODER}, tensorflow {tf.__version__}"


class VerdictCache:
    """The verdicts on the last data set: one line of JSON per content, the version first.

    Losing it costs time, and nothing else. So no fault of the cache is an error.
    """

    def __init__(self, path: Path, version: str) -> None:
        self._path = path
        self._version = version

    def read(self) -> dict[str, Verdict]:
        """The verdicts by SHA-256, or none if they are missing, stale or damaged."""
        verdicts = {}
        try:
            version, *lines = self._path.read_text().splitlines()
            if json.loads(version) != self._version:
                return {}
            for line in lines:
                sha256, fields = json.loads(line)
                verdicts[sha256] = Verdict(**fields)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError) as error:
            logger.warning(
                "The audit's cache cannot be read: every image is decoded again.",
                extra={"fields": {"cause": repr(error)}},
            )
            return {}
        return verdicts

    def write(self, verdicts: Mapping[str, Verdict]) -> None:
        """Replace the file as a whole, or leave it as it was."""
        lines = [json.dumps(self._version)]
        for sha256, verdict in verdicts.items():
            lines.append(json.dumps([sha256, asdict(verdict)]))
        try:
            with write_whole(self._path) as file:
                file.write(("\n".join(lines) + "\n").encode())
        except OSError as error:
            logger.warning(
                "The audit's cache was not written.", extra={"fields": {"cause": repr(error)}}
            )
