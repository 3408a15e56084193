"""How a run ended: one small JSON object for whoever started it.

The same object goes to the termination message of the pod, to `GRAFT_RESULT_PATH` and to the log's
last line. Kubernetes cuts a termination message at 4,096 bytes, and half a JSON object is none: so
each part has a share of the room, and what does not fit is shortened here, where we know what
matters.
"""

import itertools
import json
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TextIO

from job.errors import Interrupted, JobError
from job.files import write_whole

logger = logging.getLogger(__name__)

Status = Literal["released", "unchanged", "below_gate", "interrupted", "failed"]
Number = float | None

LIMIT = 4_095
"""Bytes of the whole object at most."""
TERMINATION_LOG = Path("/dev/termination-log")
"""Where the kubelet reads the termination message; it makes the file, we never do."""

BELOW_GATE = 6
INTERNAL_CURE = "This is a fault of Graft, not of your settings or data: please report it together with the log."


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong, in a person's words, and what to do about it."""

    kind: str
    message: str
    cure: str = ""
    problems: tuple[str, ...] = ()
    exit_code: int = 1

    @classmethod
    def of(cls, error: BaseException) -> "Failure":
        """The failure behind any exception; one that is not ours is a fault of Graft itself."""
        match error:
            case JobError():
                return cls(
                    error.kind, error.message, error.cure, tuple(error.problems), error.exit_code
                )
            case KeyboardInterrupt():
                return cls.of(
                    Interrupted("Interrupted from the keyboard.", "Run it again to go on.")
                )
            case _:
                return cls("internal", f"{type(error).__name__}: {error}", INTERNAL_CURE)


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of a run.

    `scores` are shares from 0 to 1, `seconds` the time spent in each phase. `reason` says why the
    champion is another release, where a run has nothing to do; else it is empty and not written.
    """

    status: Status
    run_id: str | None = None
    release: str | None = None
    promoted: bool = False
    scores: Mapping[str, float] = field(default_factory=dict)
    plan: str | None = None
    error: Failure | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""

    @property
    def exit_code(self) -> int:
        """0 for a release or nothing to do, 6 below the gate, else what the error says."""
        if self.error:
            return self.error.exit_code
        return BELOW_GATE if self.status == "below_gate" else 0

    def as_dict(self) -> dict[str, object]:
        """The object that `to_json` writes: every part inside its share, nothing that JSON cannot say."""
        known: dict[str, object] = {
            "status": self.status,
            "run_id": self.run_id and _cut(self.run_id, 130),
            "release": _whole(self.release, 1_150),
            "promoted": self.promoted,
            "scores": _first(self.scores, 480),
            "plan": self.plan and _cut(self.plan, 40),
            "error": None,
            "seconds": _first(self.seconds, 480),
        }
        if self.reason:
            known["reason"] = _cut(self.reason, 300)
        if self.error:
            known["error"] = _described(self.error, LIMIT - _size(known))
        return known

    def to_json(self) -> str:
        """One line of valid JSON below 4,096 UTF-8 bytes, whatever the error said."""
        return _json(self.as_dict())

    def summary(self) -> str:
        """The same for a person at a terminal: the outcome, then what matters next."""
        lines = [f"{self.status.replace('_', ' ')} in {sum(self.seconds.values()):.1f} s"]
        lines += [f"  {name:<20}{told}" for name, told in _told(self.scores).items()]
        if self.release:
            lines.append(
                f"  {'release':<20}{self.release} ({'promoted' if self.promoted else 'not promoted'})"
            )
            lines.append(f"  {'report':<20}{self.release}/report.html")
        if self.reason:
            lines.append(f"  {'reason':<20}{self.reason}")
        if self.error:
            lines += [
                self.error.message,
                *(f"  - {problem}" for problem in self.error.problems),
                self.error.cure,
            ]
        return "\n".join(filter(None, lines))


def _told(scores: Mapping[str, float]) -> Mapping[str, str]:
    """Each score with its interval beside it."""
    told = {}
    for name, score in scores.items():
        if name.removesuffix("_low").removesuffix("_high") in told:
            continue
        low, high = scores.get(f"{name}_low"), scores.get(f"{name}_high")
        told[name] = f"{score:.4f}" + (
            "" if low is None or high is None else f"  (95 %: {low:.4f} to {high:.4f})"
        )
    return told


def failed(
    error: BaseException,
    *,
    run_id: str | None = None,
    plan: str | None = None,
    scores: Mapping[str, float] | None = None,
    seconds: Mapping[str, float] | None = None,
) -> Result:
    """The result of a run that ended with `error`: `interrupted` when it was told to stop, else `failed`."""
    stopped = isinstance(error, Interrupted | KeyboardInterrupt)
    return Result(
        status="interrupted" if stopped else "failed",
        run_id=run_id,
        plan=plan,
        scores=scores or {},
        seconds=seconds or {},
        error=Failure.of(error),
    )


def write(
    result: Result,
    path: Path | None,
    stream: TextIO | None,
    termination_log: Path = TERMINATION_LOG,
) -> None:
    """Tell everyone how the run ended. Never raises: a full disk must not turn a release into a failure.

    Args:
        result: how it ended.
        path: file of `GRAFT_RESULT_PATH`; its folders are made, and a reader never sees half of it.
        stream: where the log goes, so that the object is its last line; None on a terminal, where
            `summary()` says it.
        termination_log: written only where it exists already.
    """
    text = result.to_json()
    _attempt("the termination message", lambda: _overwrite(termination_log, text))
    if path:
        _attempt("the result file", lambda: _replace(path, text + "\n"))
    if stream:
        _attempt("the result line", lambda: print(text, file=stream, flush=True))


def _attempt(what: str, action: Callable[[], object]) -> None:
    try:
        action()
    except (OSError, ValueError) as error:
        logger.warning("%s could not be written: %s", what, error)


def _overwrite(path: Path, text: str) -> None:
    """A bind mount cannot be replaced, only written to; without one there is nobody to tell."""
    if path.exists():
        path.write_text(text, encoding="utf-8")


def _replace(path: Path, text: str) -> None:
    with write_whole(path) as file:
        file.write(text.encode())


def _described(failure: Failure, room: int) -> dict[str, object]:
    """The error inside `room` bytes: kind and cure have their shares, the message takes the rest."""
    error: dict[str, object] = {
        "kind": _cut(failure.kind, 60),
        "message": "",
        "cure": _cut(failure.cure, 500),
    }
    room -= _size(error)
    error["message"] = _listed(failure.message, failure.problems, room)
    return error


def _listed(message: str, problems: tuple[str, ...], room: int) -> str:
    """`message` and the first of `problems` that fit, the others counted: "and 12 more"."""
    if not problems:
        return _cut(message, room)
    text, room = _cut(message, room // 2), room - len("\\nand 1000000 more")
    for shown, problem in enumerate(problems):
        longer = f"{text}\n  - {_cut(problem, 300)}"
        if _length(longer) > room:
            return f"{text}\nand {len(problems) - shown} more"
        text = longer
    return text


def _first(numbers: Mapping[str, float], room: int) -> dict[str, Number]:
    """The first of `numbers` that fit into `room` bytes of JSON; NaN and infinity are null."""
    kept: dict[str, Number] = {}
    for name, number in numbers.items():
        entry = {_clean(name[:room]): round(float(number), 6) if math.isfinite(number) else None}
        if _size(kept | entry) > room:
            break
        kept |= entry
    return kept


def _whole(address: str | None, room: int) -> str | None:
    """An address, or nothing: a part of it would lead elsewhere."""
    return address if address is None or _cut(address, room) == address else None


def _cut(text: str, room: int) -> str:
    """`text` in at most `room` bytes of JSON between its quotes, cut between characters and marked with an ellipsis."""
    text = _clean(text[: room + 1])
    if _length(text) <= room:
        return text
    ends = itertools.accumulate(map(_length, text))
    return text[: sum(end <= room - len("…".encode()) for end in ends)] + "…"


def _clean(text: str) -> str:
    """Without lone surrogates (from file names that are not UTF-8), which no strict reader of JSON accepts."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _length(text: str) -> int:
    return _size(text) - len('""')


def _size(value: object) -> int:
    return len(_json(value).encode())


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
