"""The telemetry port, scraped and abused over real sockets, and the push of an outcome."""

import contextlib
import http.client
import io
import json
import logging
import math
import re
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from job.result import Result
from job.settings import TelemetrySettings
from job.telemetry import RunTelemetry, delivery, serve, server
from job.telemetry.events import (
    CheckpointSaved,
    EpochEnded,
    FactsFound,
    HeadSolved,
    Progressed,
    RunEnded,
    StepTaken,
)
from job.telemetry.metrics import package_version, register
from job.telemetry.run_state import RunState
from job.telemetry.server import Server

PHASES = (
    "settings", "survey", "dataset", "audit", "weights", "model", "features", "training",
    "evaluation", "export", "release",
)  # fmt: skip
RELEASED = Result(
    status="released",
    run_id="ab12",
    release="s3://models/flowers",
    promoted=True,
    scores={"accuracy": 0.9, "macro_f1": math.nan},
).as_dict()


@pytest.fixture
def telemetry() -> Iterator[RunTelemetry]:
    state, registry = RunState("flowers", PHASES), CollectorRegistry()
    register(state, registry)
    with RunTelemetry(state, Server(state, registry, "127.0.0.1", 0)) as telemetry:
        yield telemetry


def port_of(telemetry: RunTelemetry) -> int:
    assert telemetry.server is not None
    return telemetry.server.port


def ask(
    telemetry: RunTelemetry, path: str, method: str = "GET", headers: dict[str, str] | None = None
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port_of(telemetry), timeout=10)
    with contextlib.closing(connection):
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        return answer, answer.read()


def scrape(telemetry: RunTelemetry) -> dict[str, Metric]:
    return {family.name: family for family in parse(ask(telemetry, "/metrics")[1].decode())}


def values(family: Metric) -> dict[tuple[str, ...], float]:
    return {
        tuple(label for _, label in sorted(sample.labels.items())): sample.value
        for sample in family.samples
    }


def lead_a_full_life(telemetry: RunTelemetry) -> None:
    """Everything that a run can tell, and scores beyond what is shown."""
    for phase in PHASES:
        with telemetry.phase(phase):
            telemetry.emit(Progressed(10, 10, "images"))
    telemetry.emit(
        FactsFound({"backbone": "EfficientNetB0", "plan": "part", "classes": ["cat", "dog"]})
    )
    telemetry.emit(StepTaken(0.2, 0.7))
    telemetry.emit(StepTaken(20.0))
    telemetry.emit(EpochEnded("probe", 3, 3, {"loss": 1.5}))
    scores = {f"val_score_{number}": 0.5 for number in range(50)}
    telemetry.emit(
        EpochEnded(
            "part", 2, 10, {"loss": 0.4, "val_accuracy": 0.8, "learning_rate": 1e-3} | scores
        )
    )
    telemetry.emit(CheckpointSaved())
    telemetry.emit(RunEnded(RELEASED))


def test_a_scrape_sees_what_the_run_told(telemetry: RunTelemetry) -> None:
    before = time.time()
    with telemetry.phase("dataset"):
        telemetry.emit(Progressed(25, 100, "images"))
        families = scrape(telemetry)
    assert values(families["graft_phase"]) == {
        (phase,): float(phase == "dataset") for phase in PHASES
    }
    assert values(families["graft_progress_ratio"]) == {(): 0.25}
    assert values(families["graft_images"]) == {("dataset",): 25}
    assert values(families["graft_run_status"])[("running",)] == 1
    assert values(families["graft_last_update_timestamp_seconds"])[()] >= before
    assert "process_resident_memory_bytes" in families
    assert "graft_epoch" not in families


def test_a_scrape_sees_training_and_outcome(telemetry: RunTelemetry) -> None:
    lead_a_full_life(telemetry)
    families = scrape(telemetry)
    info = families["graft_info"].samples[0].labels
    assert info == {
        "name": "flowers",
        "version": package_version(),
        "backbone": "EfficientNetB0",
        "plan": "part",
    }
    assert values(families["graft_epoch"]) == {("part",): 2}
    assert values(families["graft_epochs"]) == {("part",): 10}
    assert values(families["graft_learning_rate"]) == {(): 0.001}
    assert values(families["graft_train_loss"]) == {(): 0.7}
    assert values(families["graft_score"])[("accuracy", "val")] == 0.8
    assert values(families["graft_score"])[("loss", "train")] == 0.4
    assert values(families["graft_score"])[("accuracy", "test")] == 0.9
    assert ("macro_f1", "test") not in values(families["graft_score"])
    steps = {
        sample.labels.get("le", sample.name): sample.value
        for sample in families["graft_step_seconds"].samples
    }
    assert (steps["0.1"], steps["0.3"], steps["+Inf"]) == (0, 1, 2)
    assert steps["graft_step_seconds_count"] == 2
    assert steps["graft_step_seconds_sum"] == pytest.approx(20.2)
    assert values(families["graft_run_status"])[("released",)] == 1
    assert values(families["graft_run_status"])[("running",)] == 0


def test_a_solved_head_has_scores_and_no_epochs(telemetry: RunTelemetry) -> None:
    with telemetry.phase("training"):
        telemetry.emit(HeadSolved("probe", 0.01, {"val_loss": 0.5, "val_accuracy": 0.9}))
    families = scrape(telemetry)
    assert "graft_epoch" not in families
    assert "graft_epochs" not in families
    assert values(families["graft_score"]) == {("accuracy", "val"): 0.9, ("loss", "val"): 0.5}
    solved = json.loads(ask(telemetry, "/live.json")[1])["solved"]
    assert solved["penalty"] == 0.01


def test_there_are_at_most_120_series(telemetry: RunTelemetry) -> None:
    lead_a_full_life(telemetry)
    logging.getLogger("job").error("counted")
    lines = [
        line
        for line in ask(telemetry, "/metrics")[1].decode().splitlines()
        if not line.startswith("#")
    ]
    assert len(lines) == len({line.rpartition(" ")[0] for line in lines})
    assert 60 < len(lines) <= 120


def test_names_follow_the_rules_of_prometheus(telemetry: RunTelemetry) -> None:
    lead_a_full_life(telemetry)
    for family in scrape(telemetry).values():
        assert re.fullmatch(r"(graft|process)_[a-z0-9_]+", family.name)
        assert family.documentation.endswith(".")
        assert not re.search(
            r"_(milliseconds|ms|minutes|hours|percent|kilobytes|count|sum|bucket|created)$",
            family.name,
        )
        names = {sample.name for sample in family.samples}
        assert family.type != "counter" or names == {family.name + "_total"}
        assert family.type == "counter" or not any(name.endswith("_total") for name in names)
        assert not re.search(r"(gauge|counter|histogram|metric)", family.name)
        assert all(
            re.fullmatch(r"[a-z_]+", label) for sample in family.samples for label in sample.labels
        )


def test_openmetrics_is_spoken_to_who_asks_for_it(telemetry: RunTelemetry) -> None:
    lead_a_full_life(telemetry)
    answer, body = ask(
        telemetry, "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}
    )
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert "graft_phase" in {family.name for family in parse_openmetrics(body.decode())}


def test_two_runs_in_one_process_share_nothing() -> None:
    registries = [CollectorRegistry(), CollectorRegistry()]
    for name, registry in zip(("cats", "dogs"), registries, strict=True):
        with serve(TelemetrySettings(port=0), name, PHASES, registry=registry):
            pass
    shown = [registry.get_sample_value("graft_info", labels("cats")) for registry in registries]
    assert shown == [1.0, None]


def labels(name: str) -> dict[str, str]:
    return {"name": name, "version": package_version(), "backbone": "", "plan": ""}


def test_serve_listens_on_the_port_of_the_settings() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with serve(TelemetrySettings(port=port, host="127.0.0.1"), "flowers", PHASES) as telemetry:
        assert port_of(telemetry) == port
        assert ask(telemetry, "/healthz")[1] == b"ok\n"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_on_a_terminal_it_listens_on_the_loopback_alone_and_says_where(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for terminal, host, expected in (
        (io.StringIO(), "", "127.0.0.1"),
        (io.StringIO(), "*", "every address"),
        (io.StringIO(), "127.0.0.2", "127.0.0.2"),
        (None, "", "every address"),
    ):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        caplog.clear()
        with (
            caplog.at_level(logging.INFO, "job"),
            serve(TelemetrySettings(port=port, host=host), "flowers", terminal=terminal),
        ):
            # 127.0.0.3 is an address of this machine that nobody has named.
            with socket.socket() as client:
                reached = client.connect_ex(("127.0.0.3", port)) == 0
            assert reached == (expected == "every address")
            (line,) = caplog.messages
            shown = "localhost" if expected == "every address" else expected
            assert line == f"live page and metrics: http://{shown}:{port}/"
            address = shown.replace("localhost", "127.0.0.1")
            socket.create_connection((address, port), timeout=5).close()


def test_the_next_run_gets_the_port_although_somebody_watched_the_last_one() -> None:
    first = Server(RunState("flowers"), CollectorRegistry(), "127.0.0.1", 0)
    port = first.port
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        while client.recv(4096):  # the server closes first, and remembers the connection
            pass
    first.close()
    Server(RunState("flowers"), CollectorRegistry(), "127.0.0.1", port).close()


@pytest.mark.parametrize("host", ["", "*", "0.0.0.0", "::1"])
def test_it_listens_on_every_address_of_both_families(host: str) -> None:
    if ":" in host and not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    state = RunState("flowers")
    listening = Server(state, CollectorRegistry(), host, 0)
    every = ["127.0.0.1", "::1"]
    addresses = {"": every, "*": every, "0.0.0.0": ["127.0.0.1"], "::1": ["::1"]}[host]
    if not socket.has_dualstack_ipv6():
        addresses.remove("::1")
    for address in addresses:
        socket.create_connection((address, listening.port), timeout=5).close()
    listening.close()


def test_live_json_is_strict_and_names_no_path(telemetry: RunTelemetry) -> None:
    logging.getLogger("job").error("it broke", exc_info=ValueError("/secret/path"))
    telemetry.emit(
        FactsFound(
            {
                "loss": math.nan,
                "share": 0.5,
                "ok": True,
                "devices": ("CPU", "GPU"),
                "odd": "\udcff",
                "other": object,
            }
        )
    )
    telemetry.emit(EpochEnded("probe", 1, 3, {"val_loss": math.inf}))
    answer, body = ask(telemetry, "/live.json")
    assert answer.headers["Content-Type"] == "application/json"
    data = json.loads(body.decode("utf-8"), parse_constant=pytest.fail)
    assert data["facts"] == {
        "loss": None, "share": 0.5, "ok": True,
        "devices": ["CPU", "GPU"], "odd": "?", "other": "<class 'object'>",
    }  # fmt: skip
    assert data["history"] == [
        {"stage": "probe", "epoch": 1, "epochs": 3, "scores": {"val_loss": None}}
    ]
    assert [line["message"] for line in data["lines"]] == ["it broke"]
    assert b"/secret" not in body


def test_the_page_may_load_nothing_from_anywhere(telemetry: RunTelemetry) -> None:
    answer, body = ask(telemetry, "/")
    policy = answer.headers["Content-Security-Policy"]
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert not re.search(rb"""(src|href|action)=["'](https?:)?//""", body)


@pytest.mark.parametrize("path", ["/", "/metrics", "/healthz", "/live.json", "/healthz?probe=1"])
def test_head_says_the_same_without_a_body(telemetry: RunTelemetry, path: str) -> None:
    head, nothing = ask(telemetry, path, "HEAD")
    get, body = ask(telemetry, path)
    assert (head.status, nothing) == (200, b"")
    assert head.headers["Content-Type"] == get.headers["Content-Type"]
    assert int(get.headers["Content-Length"]) == len(body) > 0


@pytest.mark.parametrize(
    "path", ["/nothing", "/metrics/", "/../etc/passwd", "/job/telemetry/page.html"]
)
def test_anything_else_is_not_found(telemetry: RunTelemetry, path: str) -> None:
    answer, body = ask(telemetry, path)
    assert (answer.status, body) == (404, b"404 Not Found\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "BREW"])
def test_nothing_can_be_changed_from_outside(telemetry: RunTelemetry, method: str) -> None:
    answer, _ = ask(telemetry, "/", method)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
    assert answer.headers["Server"].strip() == "graft"


def test_nonsense_on_the_wire_is_refused(telemetry: RunTelemetry) -> None:
    with socket.create_connection(("127.0.0.1", port_of(telemetry)), timeout=10) as wire:
        wire.sendall(b"\x16\x03\x01 what is this\r\n\r\n")
        assert b"400" in wire.recv(200)
    assert ask(telemetry, "/healthz")[0].status == 200


def test_a_slow_client_is_dropped_and_many_do_not_hold_up_the_run(
    telemetry: RunTelemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "DEADLINE_SECONDS", 1.0)
    address = ("127.0.0.1", port_of(telemetry))
    slow = [
        socket.create_connection(address, timeout=10) for _ in range(server.CONNECTIONS_AT_MOST + 4)
    ]
    for wire in slow[: server.CONNECTIONS_AT_MOST]:
        wire.sendall(b"GET /metrics HTTP/1.1\r\n")
    began = time.monotonic()
    for _ in range(1_000):
        telemetry.emit(StepTaken(0.1, 0.1))
    assert time.monotonic() - began < 1
    for dropped in (slow[-1], slow[0]):
        with contextlib.suppress(ConnectionResetError):
            assert dropped.recv(10) == b""
    assert time.monotonic() - began < 5
    for wire in slow:
        wire.close()
    while time.monotonic() - began < 10:
        with contextlib.suppress(OSError, http.client.HTTPException):
            assert ask(telemetry, "/healthz")[0].status == 200
            return
    pytest.fail("the port did not recover")


@pytest.mark.parametrize("sent", [b"", b"GET /metrics HTTP/1.1\r\n"])
def test_clients_that_connect_again_and_again_keep_no_scraper_out(
    telemetry: RunTelemetry, sent: bytes
) -> None:
    address = ("127.0.0.1", port_of(telemetry))
    over = threading.Event()
    reopened = []

    def reopen() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError), socket.create_connection(address, 10) as wire:
                wire.sendall(sent)
                reopened.append(wire)
                wire.settimeout(0.05)
                wire.recv(1)

    clients = [threading.Thread(target=reopen) for _ in range(40)]
    for client in clients:
        client.start()
    answered = 0
    for _ in range(15):
        with contextlib.suppress(OSError, http.client.HTTPException):
            answered += b"graft_" in ask(telemetry, "/metrics")[1]
    over.set()
    for client in clients:
        client.join()
    assert len(reopened) > len(clients)
    assert answered == 15


def test_a_client_that_goes_away_leaves_no_trace(
    telemetry: RunTelemetry, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", port_of(telemetry)), timeout=10) as wire:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            wire.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert ask(telemetry, "/healthz")[0].status == 200
    assert caplog.text == ""


def test_a_fault_of_ours_is_logged_and_the_run_goes_on(
    telemetry: RunTelemetry, caplog: pytest.LogCaptureFixture
) -> None:
    telemetry.emit(FactsFound({"broken": {"a": Broken()}}))
    with pytest.raises((http.client.HTTPException, OSError)):
        ask(telemetry, "/live.json")
    assert ask(telemetry, "/healthz")[0].status == 200
    assert "could not answer" in caplog.text


class Broken:
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize("seen", ["/", "/live.json"])
def test_an_open_page_gets_the_outcome_before_the_port_closes(
    telemetry: RunTelemetry, seen: str
) -> None:
    ask(telemetry, seen)  # the page itself, before its script has asked for anything, or its data
    telemetry.emit(RunEnded(RELEASED))
    closing = threading.Thread(target=telemetry.close)
    closing.start()
    time.sleep(0.3)
    connection = http.client.HTTPConnection("127.0.0.1", port_of(telemetry), timeout=5)
    connection.request("GET", "/live.json")
    assert (
        json.loads(connection.getresponse().read())["outcome"]["release"] == "s3://models/flowers"
    )
    connection.close()
    closing.join(2)
    assert not closing.is_alive()


def test_without_a_watcher_the_port_closes_at_once(telemetry: RunTelemetry) -> None:
    telemetry.emit(RunEnded(RELEASED))
    began = time.monotonic()
    telemetry.close()
    assert time.monotonic() - began < 1


class Gateway:
    """A Pushgateway that keeps what it was sent and answers after `delay` seconds."""

    def __init__(self, delay: float = 0.0) -> None:
        self.requests: list[tuple[str, str, str]] = []
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                gateway.requests.append((self.command, self.path, body))
                time.sleep(delay)
                with contextlib.suppress(OSError):
                    self.send_response(200)
                    self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self.http = HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.05,))
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}"

    def close(self) -> None:
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


def outcome_at(url: str, result: Result) -> None:
    with serve(TelemetrySettings(port=0, push_url=url), "red-flowers") as telemetry:
        telemetry.emit(RunEnded(result.as_dict()))


def test_a_release_is_pushed_under_the_models_name_and_never_the_runs() -> None:
    gateway = Gateway()
    before = time.time()
    outcome_at(
        gateway.url,
        Result(status="released", run_id="ab12", scores={"accuracy": 0.9, "macro_f1": math.nan}),
    )
    gateway.close()
    ((method, path, body),) = gateway.requests
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in parse(body)
        for sample in family.samples
    }
    assert method == "POST"
    assert path == "/metrics/job/graft/model/red-flowers"
    assert "ab12" not in path + body
    assert samples[("graft_last_success_timestamp_seconds",)] >= before
    assert samples[("graft_last_status", "released")] == 1
    assert samples[("graft_last_status", "failed")] == 0
    assert samples[("graft_last_score", "accuracy")] == 0.9
    assert ("graft_last_score", "macro_f1") not in samples
    assert 0 <= samples[("graft_last_duration_seconds",)] < 60


def test_a_failure_leaves_the_last_success_in_place() -> None:
    gateway = Gateway()
    outcome_at(gateway.url, Result(status="failed"))
    gateway.close()
    ((method, _, body),) = gateway.requests
    assert method == "POST"  # PUT would take away what is not sent
    assert 'graft_last_status{status="failed"} 1.0' in body
    assert "success" not in body
    assert "score" not in body


def test_a_gateway_that_is_away_costs_a_warning_without_its_address(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://someone:secret@127.0.0.1:{free.getsockname()[1]}"
    outcome_at(url, Result(status="released"))
    assert "the outcome is not in the push gateway" in caplog.text
    assert "secret" not in caplog.text


def test_a_gateway_that_hangs_is_not_waited_for(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "DEADLINE_SECONDS", 0.3)
    gateway = Gateway(delay=1.0)
    began = time.monotonic()
    outcome_at(gateway.url, Result(status="released"))
    assert time.monotonic() - began < 1
    gateway.close()
    assert "no answer in time" in caplog.text
