"""One `graft run` as a process: it is followed by its log, and ended by a signal."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tools.paths import ROOT

BEGIN = re.compile(r'"message": ?"(\w+) begins')


@dataclass(slots=True, kw_only=True)
class Attempt:
    """A `graft run` in a process group of its own.

    Attributes:
        process: the started one.
        phase: in which it is.
        begun: by phase: seconds since the start.
        reader: follows the log.
    """

    process: subprocess.Popen[str]
    phase: str
    begun: dict[str, float]
    reader: threading.Thread = field(init=False)

    @classmethod
    def start(cls, settings: Mapping[str, str], log: Path) -> "Attempt":
        """Start a run. Its log is appended to a file."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("GRAFT_", "AWS_"))
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "job", "run"],
            env=inherited | {"PYTHONPATH": str(ROOT)} | dict(settings),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        attempt = cls(process=process, phase="start", begun={"start": 0.0})
        attempt.reader = threading.Thread(target=attempt._follow, args=(log, time.monotonic()))
        attempt.reader.start()
        return attempt

    def _follow(self, log: Path, started: float) -> None:
        assert self.process.stderr
        with self.process.stderr as lines, log.open("a") as file:
            for line in lines:
                file.write(line)
                if found := BEGIN.search(line):
                    self.phase = found[1]
                    self.begun[self.phase] = time.monotonic() - started

    def wait_for(self, phase: str, seconds: float) -> bool:
        """Wait until some seconds of a phase are over. Returns whether the run still goes on."""
        while self.process.poll() is None:
            if phase in self.begun:
                break
            time.sleep(0.02)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return True
        return False

    def end(self, number: signal.Signals | None = None) -> float:
        """Send a signal, if any, and wait for the end. Returns the seconds that this took."""
        began = time.monotonic()
        if number == signal.SIGKILL:
            # As a node that goes away: no process of the pod is left.
            os.killpg(self.process.pid, number)
        elif number:
            self.process.send_signal(number)
        self.process.wait()
        seconds = time.monotonic() - began
        self.reader.join()
        return seconds
