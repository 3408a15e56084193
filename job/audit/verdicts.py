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
# Up to so many contents are decoded without a graph, which takes seconds to trace and to optimize.
FEW_CONTENTS = 64

# A picture above 33 megapixels is decoded alone, so that no two of them need their memory at once.
LARGE_PIXELS = 2**25


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the decoder found in one content.

    Attributes:
        reason: why it is not used.
        hash: the 64-bit difference hash if it decodes.
        format: one of `images.FORMATS` if it decodes.
    """

    kind: Literal["decodes", "broken", "unsupported"]
    reason: str = ""
    hash: int = 0
    format: str = ""


def judge_contents(
    records: Sequence[Record], cache_dir: Path, telemetry: Telemetry
) -> dict[str, Verdict]:
    """One verdict for each SHA-256 among the records, from the cache or by decoding.

    An interruption or an error keeps the verdicts so far, so that the next pod continues from
    there.
    """
    # Late, because the rest of the audit needs no TensorFlow.
    import tensorflow as tf

    from job import images

    # Another decoder may judge the same content differently.
    version = f"audit 3, decoder {images.DECODER}, tensorflow {tf.__version__}"
    cache = VerdictCache(cache_dir / "audit.jsonl", version)
    cached = cache.read()

    verdicts: dict[str, Verdict] = {}
    unknown: dict[str, Path] = {}
    for record in records:
        verdict = cached.get(record.sha256)
        if verdict:
            verdicts[record.sha256] = verdict
        else:
            unknown[record.sha256] = record.path

    total = len(verdicts) + len(unknown)
    telemetry.emit(Progressed(len(verdicts), total, "images"))
    if not unknown:
        return verdicts

    judge = _make_judge(few=len(unknown) <= FEW_CONTENTS)
    num_threads = min(MOST_THREADS, len(os.sched_getaffinity(0)))
    digests = list(unknown)
    try:
        with ThreadPoolExecutor(num_threads) as pool:
            for start in range(0, len(digests), BATCH):
                batch = digests[start : start + BATCH]
                judged = pool.map(judge, map(unknown.__getitem__, batch))
                verdicts.update(zip(batch, judged, strict=True))
                telemetry.emit(Progressed(len(verdicts), total, "images"))
    finally:
        cache.write(verdicts)
    return verdicts


@functools.cache
def _make_judge(*, few: bool) -> Callable[[Path], Verdict]:
    """A function of a file, for many threads. Made once, because to trace its graph takes long.

    TensorFlow releases the interpreter's lock while it decodes. For `few` files there is no graph.
    """
    import tensorflow as tf

    compute_bits = _make_hash(few=few)
    alone = threading.Lock()

    def judge(path: Path) -> Verdict:
        with path.open("rb") as file:
            head = file.read(formats.HEAD_BYTES)
            name = formats.find_decodable(head)
            if name is None:
                unsupported = formats.find_unsupported(head)
                if unsupported:
                    return Verdict("unsupported", f"{unsupported} is not supported")
                return Verdict("broken", formats.describe_unknown(head))
            data = head + file.read()

        width, height = formats.read_dimensions(name, data)
        refusal = formats.explain_refusal(width, height)
        if refusal:
            return Verdict("broken", refusal)

        is_large = width * height > LARGE_PIXELS
        try:
            with alone if is_large else nullcontext():
                bits = compute_bits(tf.constant(data), name).numpy()
        except tf.errors.InvalidArgumentError:
            rare_kind = formats.find_rare_kind(name, data)
            if rare_kind:
                return Verdict("unsupported", f"{name} with {rare_kind} is not supported")
            return Verdict("broken", formats.describe_damage(name, data))
        packed = np.packbits(bits).tobytes()
        return Verdict("decodes", hash=int.from_bytes(packed, "big"), format=name)

    return judge


def _make_hash(*, few: bool) -> Callable[[Any, str], Any]:
    """A function of an image and its format, for many threads: string [] -> bool [64].

    The graph of a format is traced at its first image, and not at all for `few` files.
    """
    import tensorflow as tf

    from job import images

    def decode_and_hash(encoded: Any, name: str) -> Any:
        with tf.device("CPU:0"):
            image = images.decode(encoded, [name])
            return compute_difference_hash(image)

    if few:
        return decode_and_hash

    @functools.cache
    def trace(name: str) -> Callable[[Any], Any]:
        graph = tf.function(functools.partial(decode_and_hash, name=name), autograph=False)
        return graph.get_concrete_function(tf.TensorSpec([], tf.string))

    tracing = threading.Lock()

    def call_graph(encoded: Any, name: str) -> Any:
        # Otherwise all threads would trace it at their first image.
        with tracing:
            graph = trace(name)
        return graph(encoded)

    return call_graph


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
            fields = asdict(verdict)
            lines.append(json.dumps([sha256, fields]))
        text = "\n".join(lines) + "\n"
        try:
            with write_whole(self._path) as file:
                file.write(text.encode())
        except OSError as error:
            logger.warning(
                "The audit's cache was not written.", extra={"fields": {"cause": repr(error)}}
            )
