"""One namespace of a cluster, and the few requests that Graft makes in it.

`manifests/launcher-role.yaml` allows these and nothing else.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from job.launcher.answers import (
    ClusterConflict,
    ClusterExpired,
    ClusterNotFound,
    ClusterTaken,
    ClusterUnauthorized,
    ClusterUnavailable,
    build_error,
    build_unreadable,
    translate_errors,
)
from job.launcher.objects import CONTAINER, RUN_LABEL, ClusterEvent, Job, Json, Pod

# Seconds to connect, and between two bytes of an answer.
CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 30.0
# A followed log may be silent for longer. After this a dead connection is replaced.
LOG_TIMEOUT = 300.0
# Seconds before a stream that broke at once is opened again, or a request is repeated.
PAUSE = 0.5
# Times that a Job is sent which met with a conflict.
TRIES = 5


class Cluster:
    """The objects of one namespace. Every method raises the errors of `answers`.

    Args:
        open_client: opens a client of Kubernetes, with credentials as they are now.
        namespace: its name.

    Attributes:
        has_answered: whether the API server has ever done what it was asked.
    """

    def __init__(self, open_client: Callable[[], Any], namespace: str) -> None:
        from kubernetes import client

        self.namespace = namespace
        self.has_answered = False
        self._open_client = open_client
        self._api = open_client()
        self._core: Any = client.CoreV1Api(self._api)
        self._batch: Any = client.BatchV1Api(self._api)

    def read_template(self, name: str) -> Json:
        """Read the CronJob `name`, a template or a schedule."""
        request = self._batch.read_namespaced_cron_job
        try:
            return self._read_json(request, f"read the template {name}", name=name)
        except ClusterNotFound as error:
            listing = self._batch.list_namespaced_cron_job
            raise self._explain_missing("template", name, listing) from error

    def read_job(self, name: str) -> Job:
        """Read the Job of the run `name`."""
        return Job.from_json(self.read_job_json(name))

    def read_job_json(self, name: str) -> Json:
        """Read the Job of the run `name` with all its fields."""
        request = self._batch.read_namespaced_job
        try:
            return self._read_json(request, f"read the run {name}", name=name)
        except ClusterNotFound as error:
            listing = self._batch.list_namespaced_job
            raise self._explain_missing("run", name, listing) from error

    def list_jobs(self) -> list[Job]:
        """Read the Jobs of all runs, in no order."""
        jobs = self._list_json(self._batch.list_namespaced_job, "list runs")
        return [Job.from_json(job) for job in jobs if _has_our_container(job)]

    def create_job(self, job: Json) -> bool:
        """Create a Job, and return False if one of that name exists already."""
        action = f"start the run {job['metadata']['name']}"
        tries = 0
        while True:
            tries += 1
            try:
                self._read_json(self._post_job, action, body=job)
                return True
            except ClusterTaken:
                return False
            # Several requests have used one quota at once, and nothing was created.
            except ClusterConflict:
                if tries == TRIES:
                    raise
            time.sleep(PAUSE)

    def delete_job(self, run: str) -> None:
        """End a run: its pod gets SIGTERM, keeps its checkpoint and is removed."""
        request = self._batch.delete_namespaced_job
        # Kubernetes would otherwise keep the pods of a deleted Job.
        options = {"name": run, "propagation_policy": "Background"}
        self._read_json(request, f"cancel the run {run}", **options)

    def list_pods(self, job: Job | None = None) -> list[Pod]:
        """Read the chief's pods of one run or of all runs, from the oldest to the newest."""
        selector = f"{RUN_LABEL}={job.name}" if job else RUN_LABEL
        listing = self._core.list_namespaced_pod
        pods = []
        for each in self._list_json(listing, "list pods", label_selector=selector):
            pod = Pod.from_json(each)
            # A run that was cancelled and submitted again has the same name, and the pod of the
            # first may still save its checkpoint.
            is_ours = job is None or pod.owner == job.uid
            # The chief speaks for the run: it writes the log and the result.
            if is_ours and pod.worker == 0:
                pods.append(pod)
        return sorted(pods, key=lambda pod: (pod.created, pod.name))

    def list_events(self, kind: str, name: str) -> list[ClusterEvent]:
        """Read what happened to one object, in no order."""
        selector = f"involvedObject.kind={kind},involvedObject.name={name}"
        listing = self._core.list_namespaced_event
        events = self._list_json(listing, "list events", field_selector=selector)
        return [ClusterEvent.from_json(event) for event in events]

    def stream_log(self, pod: str, *, follow: bool, seconds: int | None = None) -> Iterator[str]:
        """Yield the lines of a pod's log, each after its time (RFC 3339) and a space.

        Args:
            pod: its name.
            follow: go on until the container ends.
            seconds: leave out what is older.
        """
        action = f"read the log of {pod}"
        request = self._core.read_namespaced_pod_log
        arguments = {
            "name": pod,
            "container": CONTAINER,
            "follow": follow,
            "timestamps": True,
        }
        if seconds:
            arguments["since_seconds"] = seconds
        silence = LOG_TIMEOUT if follow else READ_TIMEOUT
        with self._send_request(request, action, silence, **arguments) as answer:
            yield from _split_lines(answer)

    def await_change(self, job: Job, seconds: int) -> None:
        """Return when this Job changes, after `seconds`, or when the watch cannot go on.

        Raises:
            ClusterForbidden: the watch was refused.
        """
        began = time.monotonic()
        action = f"watch the run {job.name}"
        request = self._batch.list_namespaced_job
        options = {
            "watch": True,
            "timeout_seconds": seconds,
            "field_selector": f"metadata.name={job.name}",
            "resource_version": job.version,
        }
        changed = False
        try:
            with self._send_request(request, action, seconds + READ_TIMEOUT, **options) as answer:
                # No line means that the time is over, and an error that the watch has expired.
                line = next(_split_lines(answer), "")
                if line:
                    changed = json.loads(line)["type"] != "ERROR"
        # The last two are those of half a line. The caller reads the Job again in any case, so a
        # watch that broke loses nothing.
        except (ClusterUnavailable, ClusterExpired, ValueError, KeyError):
            changed = False
        # A watch that breaks at once, each time, must not become a busy loop.
        if not changed:
            left = began + seconds - time.monotonic()
            pause = min(PAUSE, left)
            time.sleep(max(0.0, pause))

    def _explain_missing(
        self,
        what: str,
        name: str,
        listing: Callable[..., Any],
    ) -> ClusterNotFound:
        """Return the error for a name that does not exist, with the names that do."""
        names = []
        for item in self._list_json(listing, f"list {what}s"):
            if _has_our_container(item):
                names.append(item["metadata"]["name"])
        existing = f"there is no {what} at all"
        cure = "Name the right namespace (--namespace), or install the chart in this one."
        if names:
            existing = f"there are: {', '.join(sorted(names))}"
            cure = "Take one of these, or name the right namespace (--namespace)."
        return ClusterNotFound(
            f"No {what} {name} in the namespace {self.namespace}; {existing}.",
            cure,
        )

    def _list_json(self, listing: Callable[..., Any], action: str, **selectors: str) -> list[Json]:
        body = self._read_json(listing, action, **selectors)
        return list(body["items"])

    def _read_json(self, request: Callable[..., Any], action: str, **arguments: Any) -> Json:
        with self._send_request(request, action, **arguments) as answer:
            text = answer.read().decode("utf-8", "replace")
            try:
                body: Json = json.loads(text)
            except ValueError as error:
                raise build_unreadable(text, action) from error
            return body

    @contextmanager
    def _send_request(
        self,
        request: Callable[..., Any],
        action: str,
        read_timeout: float = READ_TIMEOUT,
        **arguments: Any,
    ) -> Iterator[Any]:
        """Send a request, and give its open answer, of which nothing has been read."""
        action = f"{action} in the namespace {self.namespace}"
        # Without preloading the client hands over the bytes, and not its own models, which drop
        # the fields that they do not know.
        options = {
            "namespace": self.namespace,
            "_preload_content": False,
            "_request_timeout": (CONNECT_TIMEOUT, read_timeout),
            **arguments,
        }
        try:
            answer = _open_answer(request, action, options)
        except ClusterUnauthorized:
            # The client reads a token from its file once, and a wait may outlast the token.
            self._api = self._open_client()
            self._core.api_client = self._batch.api_client = self._api
            answer = _open_answer(request, action, options)
        with translate_errors(action), closing(answer):
            self.has_answered = True
            yield answer

    def _post_job(
        self,
        *,
        namespace: str,
        body: Json,
        _request_timeout: tuple[float, float],
        **_: bool,
    ) -> Any:
        """Send a Job as JSON: the client's own method refuses fields that are newer than itself."""
        request = self._api.param_serialize(
            method="POST",
            resource_path="/apis/batch/v1/namespaces/{namespace}/jobs",
            path_params={"namespace": namespace},
            header_params={
                "Content-Type": "application/json",
                "Accept": "application/json",
            },
            body=body,
            auth_settings=["BearerToken"],
        )
        answer = self._api.call_api(*request, _request_timeout=_request_timeout)
        return answer.response


def _open_answer(request: Callable[..., Any], action: str, options: Json) -> Any:
    """Send a request, and return its answer, of which nothing has been read."""
    with translate_errors(action):
        answer = request(**options)
        if not 200 <= answer.status < 300:
            with closing(answer):
                raise build_error(answer.status, answer.read(), action)
        return answer


def _has_our_container(item: Json) -> bool:
    """Return whether a Job or CronJob is the chart's, whatever name a parent chart has given it."""
    # Only a CronJob holds a template of a Job.
    job = item["spec"].get("jobTemplate", item)
    pod = job["spec"]["template"]
    containers = pod["spec"]["containers"]
    return any(each["name"] == CONTAINER for each in containers)


def _split_lines(answer: Any) -> Iterator[str]:
    """Yield the lines of a stream as they come, the last one even without its end."""
    rest = b""
    for piece in answer.stream(1 << 16, decode_content=True):
        # A piece may end inside a line, and even inside a character.
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line.decode("utf-8", "replace")
    if rest:
        yield rest.decode("utf-8", "replace")
