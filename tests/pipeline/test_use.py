"""A release in use, as its report says: every link leads to a file, and all code does what it says.

Only TensorFlow Serving itself is missing. A server that speaks its REST interface takes its place,
with the release's own SavedModel behind it.
"""

import base64
import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import tensorflow as tf

from job.__main__ import main
from tests.pipeline.conftest import Released


@pytest.fixture
def folder(
    released: Released, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The folder of a release of one's own, with a photograph in it, as the working directory."""
    folder = released.copied(tmp_path).folder
    shutil.copy(pictures / "green" / "7-3.png", folder / "photo.jpg")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GRAFT_CACHE_DIR", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def codes(folder: Path) -> list[str]:
    """The blocks of code of the report."""
    page = (folder / "report.html").read_text()
    return [
        unescape(code) for code in re.findall(r"<pre><code>(.*?)</code></pre>", page, re.DOTALL)
    ]


@pytest.fixture
def served(folder: Path) -> Iterator[tuple[str, Any]]:
    """The address of a server with the SavedModel of the release, and the model's signature."""
    # Kept: the signature does not keep the variables alive.
    loaded = tf.saved_model.load(str(folder / "saved_model" / "1"))
    signature = loaded.signatures["serving_default"]

    class PredictRest(BaseHTTPRequestHandler):
        """`POST /v1/models/<name>:predict` with rows, as TensorFlow Serving documents it."""

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            encoded = [base64.b64decode(row["b64"], validate=True) for row in request["instances"]]
            outputs = signature(images=tf.constant(encoded))
            rows = []
            for label, probabilities in zip(
                outputs["labels"].numpy(), outputs["probabilities"].numpy(), strict=True
            ):
                rows.append({"labels": label.decode(), "probabilities": probabilities.tolist()})
            is_known = self.path == "/v1/models/colours:predict"
            self.send_response(200 if is_known else 404)
            self.end_headers()
            self.wfile.write(json.dumps({"predictions": rows}).encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), PredictRest) as server:
        Thread(target=server.serve_forever).start()
        yield f"127.0.0.1:{server.server_address[1]}", signature
        server.shutdown()


def test_every_link_of_the_report_leads_to_a_file_of_the_release(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    links = set(re.findall(r'href="([^#"]+)"', page)) - {"data:,"}
    assert len(links) > 10
    assert [link for link in links if not (folder / link).is_file()] == []


@pytest.mark.runs
def test_the_code_of_the_report_predicts(
    folder: Path,
    codes: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "preprocess", raising=False)
    answers = []
    for number, code in enumerate(codes):
        if "import" in code:
            (folder / f"code{number}.py").write_text(code)
            answers.append(runpy.run_path(f"code{number}.py"))
    with_graft, saved_model, keras_file = answers
    label, top = with_graft["prediction"].label, dict(with_graft["prediction"].top)
    printed = capsys.readouterr().out
    assert printed.startswith(f"{label} (('{label}', ")
    names = json.loads((folder / "labels.json").read_text())
    for answer in (saved_model, keras_file):
        found = dict(zip(names, map(float, answer["probabilities"][0]), strict=True))
        assert found == pytest.approx(top, abs=1e-3)

    (command,) = [code for code in codes if code.startswith("graft predict")]
    assert main(shlex.split(command)[1:]) == 0
    assert label in capsys.readouterr().out


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_curl_of_the_report_is_answered_by_the_model(
    folder: Path, codes: list[str], served: tuple[str, Any]
) -> None:
    address, signature = served
    (command,) = [code for code in codes if "curl" in code]
    done = subprocess.run(
        ["sh", "-c", command.replace("localhost:8501", address).replace("curl", "curl -sf", 1)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    (row,) = json.loads(done.stdout)["predictions"]
    wanted = signature(images=tf.constant([(folder / "photo.jpg").read_bytes()]))
    assert row["labels"].encode() == wanted["labels"].numpy()[0]
    assert row["probabilities"] == pytest.approx(wanted["probabilities"].numpy()[0].tolist())


def test_the_server_of_the_report_finds_a_numbered_version_of_the_model(
    folder: Path, codes: list[str]
) -> None:
    (command,) = [code for code in codes if code.startswith("docker run")]
    words = shlex.split(command.replace("$PWD", str(folder)))
    mount = words[words.index("-v") + 1]
    source, _, target = mount.partition(":")
    # What the image looks for: /models/<MODEL_NAME>/<number>/saved_model.pb.
    assert words[words.index("-e") + 1] == "MODEL_NAME=colours"
    assert target == "/models/colours"
    (version,) = Path(source).iterdir()
    assert version.name.isdigit()
    assert (version / "saved_model.pb").is_file()
