"""How a run ended: one small JSON object for the program or person that started it.

The same object goes to the termination message of the pod, to `GRAFT_RESULT_PATH` and to the log's
last line. Kubernetes cuts a termination message at 4,096 bytes, and half a JSON object is useless.
So each part has a share of the room, and what does not fit is shortened here, where we know what
matters.
"""

import html
import itertools
import json
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TextIO

from job.errors import Interrupted, JobError
from job.files import write_named

logger = logging.getLogger(__name__)

Status = Literal["released", "unchanged", "below_gate", "interrupted", "failed"]

# Bytes of the whole object at most: the kubelet cuts at 4,096. As a line of the log it also has a
# time and a severity.
LIMIT = 4_020
# Where the kubelet reads the termination message. It makes the file, we never do.
TERMINATION_LOG = Path("/dev/termination-log")
BELOW_GATE = 6
# With fewer classes the best 5 of them are nearly all, so the top-k accuracy is not shown.
FEWEST_FOR_TOP_K = 10
INTERNAL_CURE = (
    "This is a fault of Graft, not of your settings or data: "
    "please report it together with the log."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What went wrong, in words for people, and what to do about it."""

    kind: str
    message: str
    cure: str = ""
    problems: tuple[str, ...] = ()
    exit_code: int = 1

    @classmethod
    def of(cls, error: BaseException) -> "Failure":
        """The failure behind any exception. One that is not ours is a fault of Graft itself."""
        match error:
            case JobError():
                return cls(
                    kind=error.kind,
                    message=error.message,
                    cure=error.cure,
                    problems=tuple(error.problems),
                    exit_code=error.exit_code,
                )
            case KeyboardInterrupt():
                stop = Interrupted("Interrupted from the keyboard.", "Run it again to go on.")
                return cls.of(stop)
            case _:
                message = f"{type(error).__name__}: {error}"
                return cls(kind="internal", message=message, cure=INTERNAL_CURE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The outcome of a run.

    `scores` are shares from 0 to 1, `seconds` the time spent in each phase. `reason` says why
    the release was promoted or not, or why nothing was trained. `new_images` were too few to train
    on. `input_wait` is the share of time that the devices waited for input, by phase.
    `forecast_ratio` is the time that was forecast, divided by the time taken. `classes` is how many
    the model tells apart. What is empty or None of these five is not written.
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
    input_wait: Mapping[str, float] = field(default_factory=dict)
    forecast_ratio: Mapping[str, float] = field(default_factory=dict)
    new_images: int | None = None
    classes: int | None = None

    @property
    def exit_code(self) -> int:
        """0 for a release or nothing to do, 6 below the gate, else what the error says."""
        if self.error:
            return self.error.exit_code
        return BELOW_GATE if self.status == "below_gate" else 0

    def as_dict(self) -> dict[str, object]:
        """The object that `to_json` writes: each part inside its share, as strict JSON has it."""
        release = self.release
        if release is not None and _shorten(release, 1_150) != release:
            release = None  # a part of an address would lead elsewhere
        values: dict[str, object] = {
            "status": self.status,
            "run_id": self.run_id and _shorten(self.run_id, 130),
            "release": release,
            "promoted": self.promoted,
            "scores": _first_numbers(self.scores, 480),
            "plan": self.plan and _shorten(self.plan, 40),
            "error": None,
            "seconds": _first_numbers(self.seconds, 480),
        }
        if self.reason:
            values["reason"] = _shorten(self.reason, 300)
        if self.input_wait:
            values["input_wait"] = _first_numbers(self.input_wait, 120)
        if self.forecast_ratio:
            values["forecast_ratio"] = _first_numbers(self.forecast_ratio, 140)
        if self.new_images is not None:
            values["new_images"] = self.new_images
        if self.classes is not None:
            values["classes"] = self.classes
        if self.error:
            values["error"] = _describe_error(self.error, LIMIT - _json_bytes(values))
        return values

    def to_json(self) -> str:
        """One line of valid JSON below 4,096 UTF-8 bytes, however long the error is."""
        return _to_json(self.as_dict())

    def summary(self) -> str:
        """The same for a person at a terminal: the outcome, then what matters next."""
        lines = [f"{self.status.replace('_', ' ')} in {sum(self.seconds.values()):.1f} s"]
        lines += format_scores(self.scores, self.classes)
        if self.release:
            promoted = "promoted" if self.promoted else "not promoted"
            lines.append(f"  {'release':<20}{self.release} ({promoted})")
            lines.append(f"  {'report':<20}{self.release}/report.html")
        if self.reason:
            lines.append(f"  {'reason':<20}{self.reason}")
        if self.error:
            lines.append(self.error.message)
            lines += [f"  - {problem}" for problem in self.error.problems]
            lines.append(self.error.cure)
        return "\n".join(line for line in lines if line)

    def _repr_html_(self) -> str:
        """The summary for a notebook, which shows it for the last value of a cell."""
        return f"<pre>{html.escape(self.summary())}</pre>"


def has_top_k(classes: int | None) -> bool:
    """Whether people are shown the top-k accuracy of a model with so many classes."""
    return classes is not None and classes >= FEWEST_FOR_TOP_K


def format_scores(scores: Mapping[str, float], classes: int | None) -> list[str]:
    """One line for each score, with its 95 % interval where there is one.

    Args:
        scores: by name.
        classes: how many the model tells apart, if that is known.
    """
    lines = []
    for name, score in scores.items():
        if name == "top_k" and not has_top_k(classes):
            continue
        base = name.removesuffix("_low").removesuffix("_high")
        if base != name and base in scores:
            continue  # the end of an interval is shown beside its score
        low, high = scores.get(f"{name}_low"), scores.get(f"{name}_high")
        interval = ""
        if low is not None and high is not None:
            interval = f"  (95 %: {low:.4f} to {high:.4f})"
        lines.append(f"  {name:<20}{score:.4f}{interval}")
    return lines


def failed(error: BaseException) -> Result:
    """The result of a run that ended with `error`: `interrupted` where it was stopped."""
    # Only errors of ours and a stop know the run that they ended.
    run_id = getattr(error, "run_id", None)
    stopped = isinstance(error, Interrupted | KeyboardInterrupt)
    status: Status = "interrupted" if stopped else "failed"
    return Result(status=status, run_id=run_id, error=Failure.of(error))


def write(
    result: Result,
    path: Path | None,
    stream: TextIO | None,
    termination_log: Path = TERMINATION_LOG,
    *,
    logged: bool = False,
) -> None:
    """Report how the run ended. It never raises: a full disk must not make a failure of a release.

    Args:
        result: how it ended.
        path: file of `GRAFT_RESULT_PATH`. Its folders are made, and a reader never sees half of it.
            A pipe or a device is written to.
        stream: receives the object as a line. None on a terminal, where `summary()` is shown
            instead.
        termination_log: written only where it exists already.
        logged: whether the stream is the log. Its last line then has a time and a severity as every
            other one. It is no error: an error has a line of its own.
    """
    text = result.to_json()

    def replace_file() -> None:
        if path:
            with write_named(path) as file:
                file.write(f"{text}\n".encode())

    def overwrite_termination_log() -> None:
        # It is a bind mount, which cannot be replaced, only written to.
        if termination_log.exists():
            termination_log.write_text(text, encoding="utf-8")

    def print_line() -> None:
        if not stream:
            return
        line = text
        if logged:
            moment = datetime.now(UTC).isoformat(timespec="milliseconds")
            line = _to_json({**result.as_dict(), "time": moment, "severity": "INFO"})
        print(line, file=stream, flush=True)

    _attempt("the termination message", overwrite_termination_log)
    _attempt(f"the result file {path}", replace_file)
    _attempt("the result line", print_line)


def _attempt(what: str, action: Callable[[], None]) -> None:
    try:
        action()
    except (OSError, ValueError) as error:
        # The name in the error may be that of a partial file.
        cause = getattr(error, "strerror", None) or error
        logger.warning("%s could not be written: %s", what, cause)


def _describe_error(failure: Failure, room: int) -> dict[str, object]:
    """The error in `room` bytes: kind and cure have their shares, the message takes the rest.

    Of several problems the first ones that fit are listed, and the others counted.
    """
    error: dict[str, object] = {
        "kind": _shorten(failure.kind, 60),
        "message": "",
        "cure": _shorten(failure.cure, 500),
    }
    room -= _json_bytes(error)
    if not failure.problems:
        return error | {"message": _shorten(failure.message, room)}

    text = _shorten(failure.message, room // 2)
    room -= len("\\nand 1000000 more")
    for shown, problem in enumerate(failure.problems):
        longer = f"{text}\n  - {_shorten(problem, 300)}"
        if _text_bytes(longer) > room:
            text = f"{text}\nand {len(failure.problems) - shown} more"
            break
        text = longer
    return error | {"message": text}


def _first_numbers(numbers: Mapping[str, float], room: int) -> dict[str, float | None]:
    """The first numbers that fit in `room` bytes of JSON. NaN and infinity are null."""
    kept: dict[str, float | None] = {}
    for name, number in numbers.items():
        value = round(float(number), 6) if math.isfinite(number) else None
        longer = kept | {_without_surrogates(name[:room]): value}
        if _json_bytes(longer) > room:
            break
        kept = longer
    return kept


def _shorten(text: str, room: int) -> str:
    """The text in at most `room` bytes of JSON between its quotes, ending in … where it was cut."""
    text = _without_surrogates(text[: room + 1])
    if _text_bytes(text) <= room:
        return text
    room -= len("…".encode())
    ends = itertools.accumulate(_text_bytes(character) for character in text)
    fitting = sum(end <= room for end in ends)
    return text[:fitting] + "…"


def _without_surrogates(text: str) -> str:
    """Lone surrogates come from file names that are not UTF-8. Strict readers refuse them."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _text_bytes(text: str) -> int:
    return _json_bytes(text) - len('""')


def _json_bytes(value: object) -> int:
    return len(_to_json(value).encode())


def _to_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
