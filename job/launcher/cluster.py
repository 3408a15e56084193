"""One namespace of a cluster: the few requests that Graft makes there.

`manifests/launcher-role.yaml` allows these and nothing else.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from job.errors import SettingsError
from job.launcher.answers import (
    ClusterConflict,
    ClusterExpired,
    ClusterNotFound,
    ClusterUnavailable,
    refusal,
    translated,
)

Json: TypeAlias = dict[str, Any]

RUN_LABEL = "batch.kubernetes.io/job-name"
MAIN = "graft"
"""The container's name, which the chart fixes."""
IN_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
TIMEOUT = (5.0, 30.0)
"""Seconds to connect, and from one byte of an answer to the next."""
LOG_SILENCE = 300.0
"""The same while a log is followed: a connection that died in silence is replaced after that."""
PAUSE = 0.5
"""Seconds before a stream that broke at once is opened again."""


def connect(namespace: str | None, kubeconfig: str | None) -> "Cluster":
    """The cluster that `kubectl` would speak to.

    Args:
        namespace: None takes that of the context or, in a pod, the pod's own.
        kubeconfig: value of `KUBECONFIG`; None takes `~/.kube/config`, or the service account if
            there is none.

    Raises:
        SettingsError: no configuration, or one that cannot be read.
    """
    from kubernetes import client, config

    file = kubeconfig or str(Path("~/.kube/config").expanduser())
    try:
        if not kubeconfig and not Path(file).exists():
            configuration = client.Configuration()
            config.load_incluster_config(client_configuration=configuration)
            return Cluster(client.ApiClient(configuration), namespace or IN_POD.read_text().strip())
        _, context = config.list_kube_config_contexts(file)
        chosen = namespace or context["context"].get("namespace") or "default"
        return Cluster(config.new_client_from_config(file), chosen)
    except (config.ConfigException, OSError, ValueError) as error:
        raise SettingsError(
            f"No cluster is configured: {str(error).rstrip('.')}.",
            f"Set KUBECONFIG, or correct {file}; `kubectl get jobs` has to work.",
        ) from error


class Cluster:
    """The objects of one namespace, as plain JSON. Every method raises the errors of `answers`."""

    def __init__(self, api: Any, namespace: str) -> None:
        from kubernetes import client

        self.namespace = namespace
        self._api = api
        self._core: Any = client.CoreV1Api(api)
        self._batch: Any = client.BatchV1Api(api)

    def template(self, name: str) -> Json:
        """The CronJob `name`: a template or a schedule."""
        try:
            return self._read(
                self._batch.read_namespaced_cron_job, f"read the template {name}", name=name
            )
        except ClusterNotFound as error:
            raise self._missing("template", name, self._batch.list_namespaced_cron_job) from error

    def job(self, name: str) -> Json:
        """The Job of the run `name`."""
        try:
            return self._read(self._batch.read_namespaced_job, f"read the run {name}", name=name)
        except ClusterNotFound as error:
            raise self._missing("run", name, self._batch.list_namespaced_job) from error

    def jobs(self) -> list[Json]:
        """The Jobs of all runs."""
        return list(filter(_is_ours, self._items(self._batch.list_namespaced_job, "list runs")))

    def create(self, job: Json) -> Json | None:
        """Create a Job; None if there is one of that name already."""
        try:
            return self._read(self._post, f"start the run {job['metadata']['name']}", body=job)
        except ClusterConflict:
            return None

    def delete(self, run: str) -> None:
        """End a run: its pod gets SIGTERM, keeps its checkpoint and goes."""
        delete = self._batch.delete_namespaced_job
        self._read(delete, f"cancel the run {run}", name=run, propagation_policy="Background")

    def pods(self, run: str | None = None) -> list[Json]:
        """The pods of one run or of all runs, from the oldest to the newest."""
        selector = f"{RUN_LABEL}={run}" if run else RUN_LABEL
        pods = self._items(self._core.list_namespaced_pod, "list pods", label_selector=selector)
        return sorted(
            pods, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"])
        )

    def events(self, kind: str, name: str) -> list[Json]:
        """What happened to one object, in no order."""
        selector = f"involvedObject.kind={kind},involvedObject.name={name}"
        return self._items(self._core.list_namespaced_event, "list events", field_selector=selector)

    def log(self, pod: str, *, follow: bool, seconds: int | None = None) -> Iterator[str]:
        """The lines of a pod's log, each after its time (RFC 3339) and a space; of the last `seconds` if given."""
        more = {"since_seconds": seconds} if seconds else {}
        silence = LOG_SILENCE if follow else TIMEOUT[1]
        request = self._core.read_namespaced_pod_log
        arguments = {"name": pod, "container": MAIN, "follow": follow, "timestamps": True, **more}
        with self._asked(
            request, f"read the log of {pod}", (TIMEOUT[0], silence), **arguments
        ) as answer:
            yield from _lines(answer)

    def await_change(self, job: Json, seconds: int) -> None:
        """Return when this Job changes, or when `seconds` are over, or when the watch cannot go on."""
        began, name = time.monotonic(), job["metadata"]["name"]
        request, timeout = self._batch.list_namespaced_job, (TIMEOUT[0], seconds + TIMEOUT[1])
        arguments = {
            "field_selector": f"metadata.name={name}",
            "resource_version": job["metadata"]["resourceVersion"],
        }
        try:
            with self._asked(
                request,
                f"watch the run {name}",
                timeout,
                watch=True,
                timeout_seconds=seconds,
                **arguments,
            ) as answer:
                changed = _is_change(next(_lines(answer), ""))
        except (ClusterUnavailable, ClusterExpired):
            changed = False
        if (
            not changed
        ):  # Over, broken or expired: whoever asked reads again, but not at once and for ever.
            time.sleep(max(0.0, min(PAUSE, began + seconds - time.monotonic())))

    def _missing(self, what: str, name: str, listing: Callable[..., Any]) -> ClusterNotFound:
        """The error for a name that is not there, with the names that are."""
        there_are = filter(_is_ours, self._items(listing, f"list {what}s"))
        names = [item["metadata"]["name"] for item in there_are]
        there = f"there are: {', '.join(sorted(names))}" if names else f"there is no {what} at all"
        return ClusterNotFound(
            f"No {what} {name} in the namespace {self.namespace}; {there}.",
            "Take one of these, or name the right namespace (--namespace)." if names else
            "Name the right namespace (--namespace), or install the chart there.",
        )  # fmt: skip

    def _items(self, listing: Callable[..., Any], asked: str, **selectors: str) -> list[Json]:
        return list(self._read(listing, asked, **selectors)["items"])

    def _read(self, request: Callable[..., Any], asked: str, **arguments: Any) -> Json:
        with self._asked(request, asked, **arguments) as answer:
            body: Json = json.loads(answer.read())
            return body

    @contextmanager
    def _asked(
        self,
        request: Callable[..., Any],
        asked: str,
        timeout: tuple[float, float] = TIMEOUT,
        **arguments: Any,
    ) -> Iterator[Any]:
        """The open answer to `request`, of which nothing has been read."""
        asked = f"{asked} in the namespace {self.namespace}"
        options = {
            "namespace": self.namespace,
            "_preload_content": False,
            "_request_timeout": timeout,
        }
        with translated(asked), closing(request(**options, **arguments)) as answer:
            if not 200 <= answer.status < 300:
                raise refusal(answer.status, answer.read(), asked)
            yield answer

    def _post(
        self, *, namespace: str, body: Json, _request_timeout: tuple[float, float], **_: bool
    ) -> Any:
        """Create a Job from JSON: the client's own method refuses fields that are newer than itself."""
        request = self._api.param_serialize(
            method="POST",
            resource_path="/apis/batch/v1/namespaces/{namespace}/jobs",
            path_params={"namespace": namespace},
            header_params={"Content-Type": "application/json", "Accept": "application/json"},
            body=body,
            auth_settings=["BearerToken"],
        )
        return self._api.call_api(*request, _request_timeout=_request_timeout).response


def _is_ours(item: Json) -> bool:
    """Whether a Job or CronJob is the chart's, under whatever name a parent chart has given it."""
    spec = item["spec"].get("jobTemplate", item)["spec"]
    return any(container["name"] == MAIN for container in spec["template"]["spec"]["containers"])


def _is_change(line: str) -> bool:
    """Whether a line of a watch is an event, and not its expiry."""
    try:
        return bool(json.loads(line)["type"] != "ERROR")
    except (ValueError, KeyError):
        return False


def _lines(answer: Any) -> Iterator[str]:
    """The lines of a stream as they come, the last one even without its end."""
    rest = b""
    for piece in answer.stream(1 << 16, decode_content=True):
        *whole, rest = (rest + piece).split(b"\n")
        yield from (line.decode("utf-8", "replace") for line in whole)
    if rest:
        yield rest.decode("utf-8", "replace")
