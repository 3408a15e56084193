"""A real Prometheus on this machine, which has a way to the pods."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import urlopen

import yaml

from tests.cluster.namespace import eventually
from tools import promtool

PORT = 19090


@contextmanager
def scraping(folder: Path, target: str) -> Iterator["Prometheus"]:
    """Scrape `target` (host:port) once a second."""
    job = {"job_name": "graft", "static_configs": [{"targets": [target]}]}
    configuration = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
        "scrape_configs": [job],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(configuration))
    command: list[str | Path] = [
        promtool.binary("prometheus"),
        f"--config.file={folder}/prometheus.yaml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{PORT}",
    ]
    with (
        (folder / "prometheus.log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log) as server,
    ):
        try:
            yield Prometheus()
        finally:
            server.terminate()


class Prometheus:
    """Answers of the one that runs."""

    def ask(self, query: str) -> dict[str, float]:
        """The newest value of each series, by its name, within the last hour."""
        parameters = urlencode({"query": f"last_over_time({query}[1h])"})
        address = f"http://127.0.0.1:{PORT}/api/v1/query?{parameters}"
        try:
            with urlopen(address, timeout=5) as answer:
                series = json.load(answer)["data"]["result"]
        except OSError:
            return {}
        return {json.dumps(one["metric"], sort_keys=True): float(one["value"][1]) for one in series}

    def await_series(self, query: str, seconds: float = 60) -> dict[str, float]:
        """Wait for the first answer that is not empty."""
        answer: dict[str, float] = eventually(lambda: self.ask(query), seconds)
        return answer
