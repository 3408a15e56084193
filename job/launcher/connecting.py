"""Find the cluster that `kubectl` would use, and open a client for it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from job.errors import SettingsError
from job.launcher.cluster import Cluster
from job.launcher.objects import Json

# Where Kubernetes shows a pod the name of its own namespace.
POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def connect(namespace: str | None, kubeconfig: str | None) -> Cluster:
    """Connect to the cluster that `kubectl` would use.

    Args:
        namespace: None takes that of the context or, in a pod, the pod's own.
        kubeconfig: value of `KUBECONFIG`; None takes `~/.kube/config`, or the service account if
            there is no such file.

    Raises:
        SettingsError: there is no configuration, or it cannot be read.
    """
    from kubernetes import config

    file = kubeconfig or _find_own_kubeconfig()
    if file is None:
        # First, since it explains best that this is not a pod.
        _open_own_client()
        with _explain_configuration(None):
            chosen = namespace or POD_NAMESPACE.read_text().strip()
        return Cluster(_open_own_client, chosen)

    with _explain_configuration(file):
        _, active = config.list_kube_config_contexts(file)
        context = active["context"]
        chosen = namespace or context.get("namespace") or "default"

    def open_client() -> Any:
        with _explain_configuration(file):
            api = config.new_client_from_config(file)
            plugin = _read_plugin(file, context.get("user", ""))
        # The client only logs that a plugin has failed, and goes on as nobody.
        if plugin and not (api.configuration.api_key or api.configuration.cert_file):
            raise _explain_plugin(plugin, file)
        return api

    return Cluster(open_client, chosen)


def _open_own_client() -> Any:
    """Open a client with the service account of this pod."""
    from kubernetes import client, config

    with _explain_configuration(None):
        configuration = client.Configuration()
        config.load_incluster_config(client_configuration=configuration)
        return client.ApiClient(configuration)


def _find_own_kubeconfig() -> str | None:
    """Return `~/.kube/config` if there is one."""
    try:
        path = Path("~/.kube/config").expanduser()
    # There is neither HOME nor an entry for this user.
    except RuntimeError:
        return None
    return str(path) if path.exists() else None


@contextmanager
def _explain_configuration(file: str | None) -> Iterator[None]:
    """Raise a `SettingsError` in place of what the client makes of a configuration.

    Args:
        file: the kubeconfig; None is the service account of a pod.
    """
    try:
        yield
    # The client does not check what it reads: a file of another shape ends in a TypeError, a
    # KeyError, an error of YAML and so on.
    except Exception as error:
        from kubernetes.config import ConfigException

        where = file or "a kubeconfig"
        # An error of YAML has several lines.
        text = " ".join(str(error).split()).rstrip(".")
        # The client's own error is a sentence. Of others the kind says more than the text.
        if not isinstance(error, ConfigException):
            text = f"{type(error).__name__}: {text}"
        raise SettingsError(
            f"No cluster is configured: {text}.",
            f"Set KUBECONFIG, or correct {where}; `kubectl get jobs` has to work.",
        ) from error


def _read_plugin(file: str, user: str) -> Json | None:
    """Return the `exec` of a user in a kubeconfig, a program that gives credentials."""
    from kubernetes.config.kube_config import KubeConfigMerger

    found = KubeConfigMerger(file).config["users"].get_with_name(user, safe=True)
    credentials = (found.safe_get("user") if found else None) or {}
    plugin: Json | None = credentials.get("exec")
    return plugin


def _explain_plugin(plugin: Json, file: str) -> SettingsError:
    command = plugin.get("command", "")
    why = "the log says why"
    if shutil.which(command) is None:
        why = "there is no such program in PATH"
    hint = plugin.get("installHint") or "Install it, or log in again."
    return SettingsError(
        f"The program {command!r} of {file} gave no credentials: {why}.",
        f"{hint} `kubectl get jobs` has to work.",
    )
