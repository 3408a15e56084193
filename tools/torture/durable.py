"""How long a checkpoint takes until it is durable, over a connection of any speed.

    python -m tools.torture.durable --megabytes 52 --limit 10
    python -m tools.torture.durable --megabytes 52 --folder      # and what it costs, in CPU

SIGTERM in the training ends with one checkpoint. An S3 server (moto) on the loopback receives it
behind a relay that lets so many megabytes per second through.
"""

import argparse
import json
import logging
import os
import socket
import socketserver
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

import boto3
import numpy as np
from moto.server import ThreadedMotoServer

from job import storage
from job.checkpoint import CheckpointStore, TrainingState
from job.settings import CheckpointSettings

PIECE_BYTES = 1 << 16
BUCKET = "durable"


class Relay(socketserver.ThreadingTCPServer):
    """Passes connections on to a server, all of them together no faster than allowed.

    Attributes:
        target: host and port of the server.
        bytes_per_second: of what clients send. 0 for no limit.
    """

    daemon_threads = True

    def __init__(self, target: tuple[str, int], bytes_per_second: float) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.target = target
        self.bytes_per_second = bytes_per_second
        self._lock = threading.Lock()
        # When what was let through so far has arrived.
        self._free_at = 0.0

    def wait_for(self, count: int) -> None:
        """Wait until so many bytes may pass."""
        if not self.bytes_per_second:
            return
        with self._lock:
            self._free_at = max(self._free_at, time.monotonic()) + count / self.bytes_per_second
            seconds = self._free_at - time.monotonic()
        time.sleep(max(0.0, seconds))


class _Connection(socketserver.BaseRequestHandler):
    server: Relay

    def handle(self) -> None:
        with socket.create_connection(self.server.target) as there:
            back = threading.Thread(target=_copy_bytes, args=(there, self.request), daemon=True)
            back.start()
            _copy_bytes(self.request, there, self.server)
            back.join()


def _copy_bytes(source: socket.socket, target: socket.socket, relay: Relay | None = None) -> None:
    """Copy what arrives, until either side ends."""
    try:
        while piece := source.recv(PIECE_BYTES):
            if relay:
                relay.wait_for(len(piece))
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        # The other side has closed the connection.
        return


@contextmanager
def open_bucket(bytes_per_second: float) -> Iterator[str]:
    """The address of an empty bucket behind a relay. The environment names its server."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    relay = Relay((host, port), bytes_per_second)
    threading.Thread(target=relay.serve_forever, daemon=True).start()
    environment = {
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{relay.server_address[1]}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    try:
        with patch.dict(os.environ, environment):
            boto3.client("s3").create_bucket(Bucket=BUCKET)
            yield f"s3://{BUCKET}"
    finally:
        relay.shutdown()
        relay.server_close()
        server.stop()


def measure_saves(address: str, megabytes: float, count: int) -> tuple[list[float], float]:
    """Seconds of each of several saves of a state of this size, and CPU seconds of one."""
    array = np.random.default_rng(0).standard_normal(int(megabytes * 1e6 / 4), np.float32)
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = CheckpointStore(
            folder=Path(folder),
            store=storage.connect(address).child("runs/0123456789abcdef/checkpoints"),
            interval_seconds=0,
        )
        cpu = time.process_time()
        for step in range(count):
            array[0] = step
            began = time.perf_counter()
            checkpoints.save(TrainingState({"model": [array]}, {"step": step}))
            seconds.append(time.perf_counter() - began)
        cpu = time.process_time() - cpu
    return seconds, cpu / count


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tools.torture.durable", description=__doc__)
    parser.add_argument("--megabytes", type=float, default=52, help="of the state")
    parser.add_argument("--limit", type=float, default=0, help="megabytes per second. 0 for none")
    parser.add_argument("--folder", action="store_true", help="into a folder, without a server")
    parser.add_argument("--saves", type=int, default=10)
    options = parser.parse_args()
    with ExitStack() as stack:
        if options.folder:
            address = Path(stack.enter_context(tempfile.TemporaryDirectory())).as_uri()
        else:
            address = stack.enter_context(open_bucket(options.limit * 1e6))
        seconds, cpu = measure_saves(address, options.megabytes, options.saves)
    figures = {
        "megabytes": options.megabytes,
        "megabytes per second": options.limit,
        "saves": len(seconds),
        "p50": round(statistics.median(seconds), 2),
        "p99": round(float(np.percentile(seconds, 99)), 2),
    }
    if options.folder:
        # With a server, its CPU would be counted too.
        interval = CheckpointSettings().interval_seconds
        figures |= {"CPU seconds": round(cpu, 3), "share of the interval": cpu / interval}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
