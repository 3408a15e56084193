"""A real server that speaks the Open Inference Protocol (KServe v2) follows the champion.

MLServer runs in an environment of its own and reads `triton/<model>`, as a release fills it.
"""

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
import pytest
from onnx import TensorProto, helper

from job import publish
from job.storage import connect
from tests.publish.test_versions import ServedRuns
from tests.servers import wait_until_ready
from tools import environments

pytestmark = pytest.mark.chart


@dataclass(frozen=True)
class Server:
    """A server of one model."""

    address: str

    def ask(self, images: np.ndarray) -> tuple[str, np.ndarray]:
        """The version that answers, and its probabilities [images, classes]."""
        tensor = {
            "name": "images",
            "shape": list(images.shape),
            "datatype": "FP32",
            "data": images.ravel().tolist(),
        }
        answer = self.post("/v2/models/pets/infer", {"inputs": [tensor]})
        (output,) = answer["outputs"]
        return answer["model_version"], np.reshape(output["data"], output["shape"])

    def post(self, path: str, body: Any) -> Any:
        headers = {"Content-Type": "application/json"}
        request = Request(self.address + path, json.dumps(body).encode(), headers)
        with urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"null")

    def load_newest(self) -> None:
        """What whoever hears of a promotion asks of the server."""
        self.post("/v2/repository/models/pets/load", {})


@pytest.fixture
def runs(tmp_path: Path) -> ServedRuns:
    made = ServedRuns(connect(str(tmp_path / "models")).child("pets"), tmp_path)
    made.onnx = {"a": answer_with_bias([2.0, 0.0]), "b": answer_with_bias([0.0, 3.0])}
    made.run("a")
    made.follow()
    return made


@pytest.fixture
def server(runs: ServedRuns, tmp_path: Path) -> Iterator[Server]:
    """A real MLServer. Its model repository has one model, whose files are those in `triton`."""
    repository = tmp_path / "repository"
    (repository / "pets").mkdir(parents=True)
    shutil.copy(Path(__file__).with_name("newest_version.py"), repository)
    ports = _find_free_ports(3)
    settings = {"host": "127.0.0.1", "http_port": ports[0], "parallel_workers": 0}
    settings |= {"grpc_port": ports[1], "metrics_port": ports[2]}
    (repository / "settings.json").write_text(json.dumps(settings))
    model = {
        "name": "pets",
        "implementation": "newest_version.NewestVersion",
        "parameters": {"uri": str(tmp_path / "models/pets/triton/pets")},
    }
    (repository / "pets" / "model-settings.json").write_text(json.dumps(model))
    program = environments.python("mlserver").with_name("mlserver")
    written = tmp_path / "log"
    with written.open("wb") as log:
        process = subprocess.Popen(
            [program, "start", repository], cwd=tmp_path, stdout=log, stderr=log
        )
        try:
            address = f"http://127.0.0.1:{ports[0]}"
            wait_until_ready(process, f"{address}/v2/models/pets/ready", written)
            yield Server(address)
        finally:
            process.terminate()
            process.wait()


def _find_free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def answer_with_bias(bias: list[float]) -> bytes:
    """A network whose probabilities are the softmax of the images and a bias: [n, 2] -> [n, 2]."""
    constant = helper.make_tensor("bias", TensorProto.FLOAT, [2], bias)
    graph = helper.make_graph(
        [
            helper.make_node("Add", ["images", "bias"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"]),
        ],
        "answer",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2])],
        [constant],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content: bytes = model.SerializeToString()
    return content


def compute_softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def test_requests_before_and_after_a_promotion_and_a_roll_back_get_the_champion(
    runs: ServedRuns, server: Server
) -> None:
    images = np.array([[0.5, 0.25], [-1.0, 1.0]], np.float32)
    first = compute_softmax(images + np.array([2.0, 0.0]))
    second = compute_softmax(images + np.array([0.0, 3.0]))

    version, probabilities = server.ask(images)
    assert version == "1"
    np.testing.assert_allclose(probabilities, first, rtol=1e-5)

    runs.run("b")
    runs.follow()
    # Until the server is told, it answers as before.
    assert server.ask(images)[0] == "1"
    server.load_newest()
    version, probabilities = server.ask(images)
    assert version == "2"
    np.testing.assert_allclose(probabilities, second, rtol=1e-5)

    publish.roll_back(runs.registry.uri)
    server.load_newest()
    version, probabilities = server.ask(images)
    assert version == "3"
    np.testing.assert_allclose(probabilities, first, rtol=1e-5)
