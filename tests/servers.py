"""Programs that tests start as servers."""

import subprocess
import time
from pathlib import Path
from urllib.request import urlopen

POLL_SECONDS, MOST_POLLS = 0.2, 600


def wait_until_ready(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    """Wait until a server answers with success at an address, or fail with its log."""
    for _ in range(MOST_POLLS):
        assert process.poll() is None, log.read_text()
        try:
            urlopen(address, timeout=5).close()
            return
        except OSError:
            time.sleep(POLL_SECONDS)
    raise AssertionError(log.read_text())
