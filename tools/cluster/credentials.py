"""Who may speak to whom: one authority, three certificates, and a token for each program."""

import json
import secrets
import subprocess
from base64 import b64encode
from pathlib import Path

from tools.cluster.layout import API_SERVER, API_SERVICE, KUBECONFIG, NODE, NODE_ADDRESS

# The names and groups are those that Kubernetes' own RBAC rules are written for.
IDENTITIES = {
    "admin": ("admin", "system:masters"),
    "coredns": ("system:serviceaccount:kube-system:coredns", "system:masters"),
    "kube-controller-manager": ("system:kube-controller-manager", ""),
    "kube-proxy": ("system:kube-proxy", ""),
    "kube-scheduler": ("system:kube-scheduler", ""),
    "kubelet": (f"system:node:{NODE}", "system:nodes"),
}
API_NAMES = (
    f"IP:{NODE_ADDRESS},IP:{API_SERVICE},IP:127.0.0.1,"
    "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
)


def write(folder: Path) -> None:
    """Fill the folder with keys, certificates, tokens and kubeconfigs, and write `KUBECONFIG`."""
    _make_authority(folder)
    _make_certificate(folder, "kube-apiserver", "/CN=kube-apiserver", API_NAMES)
    _make_certificate(
        folder,
        "kubelet-client",
        "/O=system:masters/CN=kube-apiserver-kubelet-client",
        "DNS:kube-apiserver",
    )
    _make_key(folder / "service-account.key")
    tokens = {name: secrets.token_urlsafe(24) for name in IDENTITIES}
    lines = [
        f'{tokens[name]},{user},{name},"{groups}"' for name, (user, groups) in IDENTITIES.items()
    ]
    (folder / "tokens.csv").write_text("\n".join(lines) + "\n")
    for name, token in tokens.items():
        kubeconfig = KUBECONFIG if name == "admin" else folder / f"{name}.kubeconfig"
        kubeconfig.write_text(_render_kubeconfig((folder / "ca.crt").read_text(), token))


def _make_authority(folder: Path) -> None:
    _make_key(folder / "ca.key")
    options = ["-x509", "-new", "-subj", "/CN=graft-cluster", "-days", "3650"]
    _call_openssl("req", *options, "-key", folder / "ca.key", "-out", folder / "ca.crt")


def _make_certificate(folder: Path, name: str, subject: str, names: str) -> None:
    _make_key(folder / f"{name}.key")
    subject_options = ["-subj", subject, "-addext", f"subjectAltName={names}"]
    request = _call_openssl("req", "-new", "-key", folder / f"{name}.key", *subject_options)
    authority = ("-CA", folder / "ca.crt", "-CAkey", folder / "ca.key", "-CAcreateserial")
    options = ("-copy_extensions", "copy", "-days", "3650", "-out", folder / f"{name}.crt")
    _call_openssl("x509", "-req", *authority, *options, given=request)


def _make_key(path: Path) -> None:
    _call_openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path)
    path.chmod(0o600)


def _call_openssl(*arguments: str | Path, given: bytes | None = None) -> bytes:
    done = subprocess.run(["openssl", *arguments], input=given, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"openssl {arguments[0]} failed: {done.stderr.decode()}")
    return done.stdout


def _render_kubeconfig(authority: str, token: str) -> str:
    """A kubeconfig is YAML, and JSON is YAML."""
    cluster = {
        "server": API_SERVER,
        "certificate-authority-data": b64encode(authority.encode()).decode(),
    }
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "graft", "cluster": cluster}],
            "users": [{"name": "graft", "user": {"token": token}}],
            "contexts": [{"name": "graft", "context": {"cluster": "graft", "user": "graft"}}],
            "current-context": "graft",
        },
        indent=1,
    )
