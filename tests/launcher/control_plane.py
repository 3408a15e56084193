"""etcd and kube-apiserver alone, on free ports of the loopback: the real API without controllers.

Nothing happens by itself: a test makes pods, and writes their status as a kubelet would, through
the same subresource. What the server checks, defaults, forbids and forgets is real.
"""

import secrets
import signal
import socket
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client, config, utils

from tests.launcher.conftest import format_kubeconfig
from tools.cluster import binaries
from tools.paths import MANIFESTS

PATIENCE = 120.0


class ControlPlane:
    """A context in which the two programs run; `administrator` is a kubeconfig with all rights."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._programs = binaries.build()
        self._etcd, self._peer, self._port = _free_ports(3)
        self._token = secrets.token_hex()
        self._running = ExitStack()
        self._server: subprocess.Popen[bytes] | None = None
        self.administrator = self.kubeconfig(self._token)

    def __enter__(self) -> "ControlPlane":
        self._make_keys()
        (self._folder / "tokens.csv").write_text(f'{self._token},admin,admin,"system:masters"\n')
        try:
            self._start("etcd", *self._etcd_arguments())
            self.start_server()
            return self
        except BaseException:
            self._running.close()
            raise

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def kubeconfig(self, token: str) -> Path:
        """The file of a kubeconfig with that token."""
        path = self._folder / f"kubeconfig-{len(list(self._folder.glob('kubeconfig-*')))}"
        authority = {"certificate-authority": str(self._folder / "server.crt")}
        path.write_text(format_kubeconfig(f"https://127.0.0.1:{self._port}", token, **authority))
        return path

    def start_server(self) -> None:
        """Start the API server, and wait until it is ready."""
        self._server = self._start("kube-apiserver", *self._server_arguments())
        with config.new_client_from_config(str(self.administrator)) as api:
            api.configuration.retries = False
            latest = time.monotonic() + PATIENCE
            while not _ready(api):
                assert self._server.poll() is None, (
                    self._folder / "kube-apiserver.log"
                ).read_text()[-2000:]
                assert time.monotonic() < latest
                time.sleep(0.3)

    def stop_server(self) -> None:
        """End the API server at once, as a crash would."""
        assert self._server
        self._server.kill()
        self._server.wait()

    def _start(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        log = self._running.enter_context((self._folder / f"{program}.log").open("ab"))
        started = subprocess.Popen(
            [self._programs / program, *arguments], stdout=log, stderr=log, cwd=self._folder
        )
        self._running.callback(_end, started)
        return started

    def _make_keys(self) -> None:
        name = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        files = ["-keyout", "server.key", "-out", "server.crt"]
        subprocess.run(
            ["openssl", "req", "-x509", *key, *files, *name],
            cwd=self._folder,
            check=True,
            capture_output=True,
        )

    def _etcd_arguments(self) -> list[str]:
        peer = f"http://127.0.0.1:{self._peer}"
        return [
            "--data-dir=etcd",
            f"--listen-client-urls=http://127.0.0.1:{self._etcd}",
            f"--advertise-client-urls=http://127.0.0.1:{self._etcd}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
        ]

    def _server_arguments(self) -> list[str]:
        return [
            f"--etcd-servers=http://127.0.0.1:{self._etcd}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self._port}",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--tls-cert-file=server.crt",
            "--tls-private-key-file=server.key",
            "--token-auth-file=tokens.csv",
            "--service-account-issuer=https://graft.test",
            "--service-account-key-file=server.crt",
            "--service-account-signing-key-file=server.key",
            "--authorization-mode=RBAC",
            "--endpoint-reconciler-type=none",
            # No controller is there to give a namespace its account, or a pod its token.
            "--disable-admission-plugins=ServiceAccount",
        ]


def install(api: client.ApiClient, *names: str) -> None:
    """Create what the files of manifests/ hold."""
    for name in names:
        for document in yaml.safe_load_all((MANIFESTS / name).read_text()):
            utils.create_from_dict(api, document)


def token_of(api: client.ApiClient, account: str) -> str:
    """A token of a ServiceAccount in the namespace `graft`, as a pod would get it."""
    core: Any = client.CoreV1Api(api)
    request = {"spec": {"audiences": [], "expirationSeconds": 3600}}
    answer = core.create_namespaced_service_account_token(account, "graft", request)
    token: str = answer.status.token
    return token


def _free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _ready(api: client.ApiClient) -> bool:
    try:
        client.CoreV1Api(api).read_namespace("default")
        return True
    except Exception:  # noqa: BLE001 - no route, no certificate, no rights, no namespace: all mean not yet
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
