"""The progress bar of a run on a terminal."""

import threading
from typing import Any, TextIO

from tqdm import tqdm

from job.telemetry.snapshot import PhaseProgress

WAITING = "{desc} …"
COUNTING = "{desc} {percentage:3.0f} % {bar:30} {n_fmt} of {total_fmt} {unit}, {remaining} left"


class Bar:
    """One line at the foot of `stream`, which disappears with its phase. Thread-safe."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._bar: Any = None

    def begin(self, phase: str) -> None:
        """Show that `phase` runs."""
        with self._lock:
            self._draw_bar(phase, WAITING)

    def show(self, phase: str, progress: PhaseProgress) -> None:
        """Show how far `phase` is."""
        total, unit = progress.total, progress.unit
        with self._lock:
            if self._bar is None or (self._bar.total, self._bar.unit) != (total, unit):
                self._draw_bar(phase, COUNTING, total=total, unit=unit)
            self._bar.update(progress.done - self._bar.n)

    def clear(self) -> None:
        """Take the bar away."""
        with self._lock:
            self._close_bar()

    def _draw_bar(self, phase: str, layout: str, **count: Any) -> None:
        self._close_bar()
        self._bar = tqdm(
            desc=phase,
            bar_format=layout,
            file=self._stream,
            leave=False,
            dynamic_ncols=True,
            **count,
        )

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
