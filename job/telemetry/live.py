"""The live page: one static document that polls `live.json`, and what it finds there."""

import base64
import hashlib
import json
import math
import re
import time
from collections.abc import Mapping
from dataclasses import asdict
from importlib.resources import files

from job.telemetry.metrics import package_version
from job.telemetry.snapshot import RunStateSnapshot

PAGE = files("job.telemetry").joinpath("page.html").read_bytes()


def live_json(snapshot: RunStateSnapshot) -> bytes:
    """What the page shows, as strict JSON."""
    progress = snapshot.progress
    shown_progress = None
    if progress:
        shown_progress = {
            **asdict(progress),
            "ratio": progress.ratio,
            "seconds_left": snapshot.seconds_left,
        }
    phases = [
        {
            "name": phase.name,
            "state": phase.state,
            "seconds": phase.seconds,
            "input_wait": phase.input_wait,
        }
        for phase in snapshot.phases
    ]
    data = {
        "name": snapshot.name,
        "version": package_version(),
        "status": snapshot.status,
        # The clock of the reader may be wrong: the page shows times relative to this one.
        "now": time.time(),
        "started": snapshot.started,
        "checkpointed": snapshot.checkpointed,
        "phases": phases,
        "progress": shown_progress,
        "run_seconds_left": snapshot.run_seconds_left,
        "images_per_second": snapshot.images_per_second,
        "stage": _describe_stage(snapshot),
        "loss": snapshot.steps.loss,
        "history": [asdict(epoch) for epoch in snapshot.history],
        "solved": asdict(snapshot.solved) if snapshot.solved else None,
        "facts": snapshot.facts,
        "lines": [asdict(line) for line in snapshot.lines],
        "outcome": snapshot.outcome,
    }
    text = json.dumps(to_json_value(data), ensure_ascii=False, allow_nan=False)
    # A lone surrogate (from a file name that is not UTF-8) has no encoding.
    return text.encode("utf-8", "replace")


def _describe_stage(snapshot: RunStateSnapshot) -> dict[str, object] | None:
    """The stage that is trained by steps, the epoch in work and the best one so far."""
    if snapshot.stage is None:
        return None
    best = asdict(snapshot.best) if snapshot.best else None
    return {**asdict(snapshot.stage), "epoch": snapshot.epoch, "best": best}


def content_security_policy(page: bytes = PAGE) -> str:
    """The page may run its own script and style, ask this server for data, and nothing else."""
    directives = (
        "default-src 'none'",
        f"script-src {_hash_elements(b'script', page)}",
        f"style-src {_hash_elements(b'style', page)}",
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
    return "; ".join(directives)


def to_json_value(value: object) -> object:
    """A value in what JSON has. NaN and infinity are null, anything unknown is its text."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {str(key): to_json_value(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [to_json_value(item) for item in value]
        case _:
            return str(value)


def _hash_elements(tag: bytes, page: bytes) -> str:
    """The sources of all inline elements `tag`, as a policy names them."""
    sources = []
    for body in re.findall(rb"<%b>(.*?)</%b>" % (tag, tag), page, re.DOTALL):
        digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
        sources.append(f"'sha256-{digest}'")
    return " ".join(sources)
