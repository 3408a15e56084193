"""The live page: one static document that polls `live.json`, and what it finds there."""

import base64
import hashlib
import json
import math
import re
import time
from collections.abc import Mapping
from importlib.resources import files

from job.telemetry.metrics import package_version
from job.telemetry.snapshot import RunStateSnapshot

PAGE = files("job.telemetry").joinpath("page.html").read_bytes()


def data(view: RunStateSnapshot) -> bytes:
    """`live.json`: what the page shows, as strict JSON."""
    return json.dumps(plain(_document(view)), ensure_ascii=False, allow_nan=False).encode(
        "utf-8", "replace"
    )


def content_security_policy(page: bytes = PAGE) -> str:
    """The page may run its own script and style, ask this server for data, and nothing else."""
    script, style = (_hashes(tag, page) for tag in (b"script", b"style"))
    return (
        f"default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _hashes(tag: bytes, page: bytes) -> str:
    """The sources of all inline elements `tag`, as a policy names them."""
    bodies = re.findall(rb"<%b>(.*?)</%b>" % (tag, tag), page, re.DOTALL)
    return " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(body).digest()).decode()}'" for body in bodies
    )


def _document(view: RunStateSnapshot) -> dict[str, object]:
    progress = view.progress
    return {
        "name": view.name,
        "version": package_version(),
        "status": view.status,
        "now": time.time(),
        "started": view.started,
        "checkpointed": view.checkpointed,
        "phases": [
            {"name": phase.name, "state": phase.state, "seconds": phase.seconds}
            for phase in view.phases
        ],
        "progress": progress
        and {
            "done": progress.done,
            "total": progress.total,
            "unit": progress.unit,
            "ratio": progress.ratio,
            "seconds_left": view.seconds_left,
        },
        "stage_seconds_left": view.stage_seconds_left,
        "loss": view.steps.loss,
        "history": [
            {
                "stage": epoch.stage,
                "epoch": epoch.epoch,
                "epochs": epoch.epochs,
                "scores": epoch.scores,
            }
            for epoch in view.history
        ],
        "facts": view.facts,
        "lines": [
            {"time": line.time, "level": line.level, "message": line.message} for line in view.lines
        ],
        "outcome": view.outcome,
    }


def plain(value: object) -> object:
    """`value` in what JSON has: NaN and infinity are null, anything unknown is its text."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(item) for item in value]
        case _:
            return str(value)
