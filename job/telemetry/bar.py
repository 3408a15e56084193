"""The progress of a run on a terminal: one line at its foot.

Imported where there is a terminal alone.
"""

import contextlib
import functools
import os
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from job.telemetry.run_state import RunState
from job.telemetry.snapshot import PhaseProgress, RunStateSnapshot

REFRESHES_PER_SECOND = 4
BAR_COLUMNS = 24


@functools.lru_cache(maxsize=4)
def open_console(stream: TextIO) -> Console:
    """The one console of a stream: what it prints goes above the progress that it shows."""
    return Console(file=stream, force_terminal=True, highlight=False, emoji=False, markup=False)


class Bar:
    """Shows the running phase of `state` at the foot of `stream`, until `close()`.

    A terminal that goes away is no reason for a run to fail.
    """

    def __init__(self, stream: TextIO, state: RunState) -> None:
        self._stream, self._state = stream, state
        self._console = open_console(stream)
        self._live = Live(
            console=self._console,
            get_renderable=self._draw_line,
            refresh_per_second=REFRESHES_PER_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        with contextlib.suppress(OSError, ValueError):
            self._live.start()
            # It stays visible: a process that is killed could not show it again.
            self._console.show_cursor()

    def refresh(self) -> None:
        """Show at once what else the next of the regular refreshes shows."""
        with contextlib.suppress(OSError, ValueError):
            self._live.refresh()

    def close(self) -> None:
        """Take the line away."""
        with contextlib.suppress(OSError, ValueError):
            self._live.stop()

    def _draw_line(self) -> Table:
        self._follow_width()
        snapshot = self._state.snapshot()
        line = Table.grid(padding=(0, 1))
        line.add_column(no_wrap=True, overflow="ellipsis")
        if snapshot.progress and snapshot.progress.total:
            line.add_column(no_wrap=True, overflow="ellipsis")
            bar = ProgressBar(completed=100 * snapshot.progress.ratio, width=BAR_COLUMNS)
            line.add_row(bar, Text(describe_progress(snapshot)))
        else:
            line.add_row(Text(describe_progress(snapshot)))
        return line

    def _follow_width(self) -> None:
        """Rich asks the descriptors 0 to 2, and descriptor 2 of a run is a pipe for native code."""
        with contextlib.suppress(OSError, ValueError):
            self._console.width = os.get_terminal_size(self._stream.fileno()).columns


def describe_progress(snapshot: RunStateSnapshot) -> str:
    """One line about what is running: `tune 8/30, val_accuracy 0.963 (best), 1:40 left`.

    The time is that of the run. Before that can be estimated it is that of the phase.
    """
    if snapshot.running is None:
        return ""
    parts = []
    if snapshot.stage:
        parts.append(_describe_stage(snapshot))
    elif snapshot.progress:
        parts.append(_describe_count(snapshot.running, snapshot.progress))
    else:
        parts.append(f"{snapshot.running} …")
    seconds, of = snapshot.run_seconds_left, ""
    if seconds is None:
        seconds, of = snapshot.seconds_left, " of this phase"
    if seconds is not None and seconds >= 1:  # it may take a little longer than was expected
        parts.append(f"{format_seconds(seconds)} left{of}")
    return ", ".join(parts)


def format_seconds(seconds: float) -> str:
    """`1:40`, or `2:01:40` from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _describe_stage(snapshot: RunStateSnapshot) -> str:
    stage, progress, best = snapshot.stage, snapshot.progress, snapshot.best
    if stage is None:
        return ""
    place = f"{stage.stage} {snapshot.epoch}/{stage.epochs}"
    if progress and progress.detail:
        place = f"{stage.stage}, {progress.detail}"
    if best is None:
        return place
    return f"{place}, {stage.metric} {best.scores[stage.metric]:.3f} (best)"


def _describe_count(phase: str, progress: PhaseProgress) -> str:
    counted = f"{progress.done:,} of {progress.total:,} {progress.unit}"
    # Of formats it matters which one is in work.
    return f"{phase} {progress.detail}, {counted}" if progress.detail else f"{phase}, {counted}"
