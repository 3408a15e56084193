"""The chart on the cluster: a namespace under *restricted*, a bucket of photographs, and Helm."""

import json
import os
import subprocess
import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chart.rendering import merged, run_helm
from tests.cluster.namespace import Namespace, eventually
from tests.cluster.store import Store
from tools import photographs
from tools.cluster import target
from tools.paths import CHART, ROOT

Tree = dict[str, Any]
SECRET = "store"
# Seconds for a run and for a phase of it. Idle cores take a tenth, busy ones may need nearly all.
RUN_SECONDS = 900
PHASE_SECONDS = 400
# What a release of the chart may leave behind.
KINDS = (
    "jobs",
    "cronjobs",
    "pods",
    "services",
    "serviceaccounts",
    "configmaps",
    "secrets",
    "networkpolicies",
    "roles",
    "rolebindings",
)


@dataclass(frozen=True)
class Site:
    """One user's place: everything that a test installs, starts and reads."""

    namespace: Namespace
    store: Store
    bucket: str
    image: str
    major: int = 4

    @property
    def s3(self) -> Any:
        """A client of the store, as seen from this machine."""
        return self.store.client

    @property
    def values(self) -> Tree:
        """The fewest values for this cluster, and a size at which a run takes seconds."""
        repository, tag = self.image.rsplit(":", 1)
        return {
            "image": {"repository": repository, "tag": tag},
            "store": {"endpoint": self.store.endpoint, "region": self.store.region},
            "credentials": {"secret": SECRET, "format": "keys"},
            "settings": {
                "dataset": {"uri": f"s3://{self.bucket}/data"},
                "output": {"uri": f"s3://{self.bucket}/models"},
                "backbone": {
                    "name": "EfficientNetLite0",
                    "mirror": f"s3://{self.bucket}/weights",
                    "image_size": 96,
                },
                # A race of several candidates would take minutes.
                "transfer": {"mode": "none"},
                "export": {"formats": ["saved_model"]},
            },
            "cache": {"size": "2Gi"},
            "scratch": {"size": "1Gi"},
            "resources": {
                "requests": {"cpu": "100m", "memory": "512Mi"},
                "limits": {"memory": "4Gi"},
            },
        }

    def prepare(self) -> None:
        """What every run here needs: the weights in the bucket, and a Secret with the way to it."""
        weights = photographs.ensure_weights()
        self.s3.upload_file(str(weights), self.bucket, f"weights/{weights.name}")
        secret = {"metadata": {"name": SECRET}, "stringData": self.store.keys}
        self.namespace.core.create_namespaced_secret(self.namespace.name, secret)

    def add_photographs(self, classes: int = 3, first: int = 0, number: int = 12) -> None:
        """Put `number` photographs of each of the first classes into the bucket."""
        for folder in sorted(photographs.ensure_photographs().iterdir())[:classes]:
            for file in sorted(folder.iterdir())[first : first + number]:
                self.s3.upload_file(str(file), self.bucket, f"data/{folder.name}/{file.name}")

    def helm(
        self, verb: str, release: str, *options: str, chart: Path = CHART, **values: Any
    ) -> str:
        """`helm install` or `helm upgrade` with the values of this place under the given ones."""
        given = merged(self.values, values)
        return self.raw_helm(verb, release, str(chart), "--values", "-", *options, given=given)

    def uninstall(self, release: str) -> None:
        self.raw_helm("uninstall", release, "--wait")

    def raw_helm(self, *arguments: str, given: Tree | None = None) -> str:
        """Helm in this namespace, without the values of this place."""
        place = ("--namespace", self.namespace.name, "--kubeconfig", str(target.KUBECONFIG))
        return run_helm(self.major, *arguments, *place, given=given)

    def jobs(self) -> list[Any]:
        """The Jobs of this namespace, the oldest first."""
        jobs = self.namespace.batch.list_namespaced_job(self.namespace.name).items
        return sorted(jobs, key=lambda job: (job.metadata.creation_timestamp, job.metadata.name))

    def job(self) -> str:
        """The name of the one Job."""
        (job,) = self.jobs()
        return str(job.metadata.name)

    def completed(self, job: str, seconds: float = RUN_SECONDS) -> Tree:
        """The result of a run that has to complete."""
        outcome = self.namespace.outcome(job, seconds)
        assert outcome.type == "Complete", f"{outcome.reason}: {outcome.message}\n{self.told(job)}"
        return self.result(job)

    def failed(self, job: str, seconds: float = RUN_SECONDS) -> str:
        """The reason of a run that has to fail."""
        outcome = self.namespace.outcome(job, seconds)
        assert outcome.type == "Failed", self.told(job)
        return str(outcome.reason)

    def result(self, job: str, worker: int = 0) -> Tree:
        """The result JSON in the termination message of the run's newest pod."""
        message = self.terminated(self.pods(job, worker)[-1]).message
        result: Tree = json.loads(message)
        return result

    def pods(self, job: str, worker: int = 0) -> list[Any]:
        """The pods of one worker, the oldest first."""
        index = "batch.kubernetes.io/job-completion-index"
        pods = (
            p
            for p in self.namespace.pods(job)
            if (p.metadata.annotations or {}).get(index, "0") == str(worker)
        )
        return sorted(pods, key=lambda pod: pod.metadata.creation_timestamp)

    def terminated(self, pod: Any) -> Any:
        """How the pod's container ended: `exit_code`, `reason`, `message`."""
        return pod.status.container_statuses[0].state.terminated

    def told(self, job: str) -> str:
        """The ends of the logs of all pods, for a failed assertion."""
        return "\n".join(self.log(pod.metadata.name)[-3000:] for pod in self.namespace.pods(job))

    def log(self, pod: str) -> str:
        try:
            return str(self.namespace.core.read_namespaced_pod_log(pod, self.namespace.name))
        except Exception as error:  # noqa: BLE001 - a pod without a log is told as such
            return f"{pod}: {error}"

    def until_logged(
        self, job: str, words: str, seconds: float = PHASE_SECONDS, worker: int = 0
    ) -> Any:
        """Wait until the newest pod of the run has logged these words, and return the pod."""

        def speaking() -> Any:
            pods = self.pods(job, worker)
            return pods[-1] if pods and words in self.log(pods[-1].metadata.name) else None

        return eventually(speaking, seconds)

    def keys(self, prefix: str) -> list[str]:
        """The keys in the bucket under a prefix."""
        return [
            entry["Key"]
            for entry in self.s3.list_objects_v2(Bucket=self.bucket, Prefix=prefix).get(
                "Contents", []
            )
        ]

    def read(self, key: str) -> Tree:
        """An object of the bucket that is JSON."""
        document: Tree = json.loads(self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read())
        return document

    def graft(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """`graft` as a person on this machine calls it."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith("GRAFT_")}
        given = ours | self.store.environment | {"KUBECONFIG": str(target.KUBECONFIG)} | environment
        return subprocess.run(
            [sys.executable, "-m", "job", *arguments],
            env=given,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )

    def watch(self) -> tuple[int, str]:
        """Follow the one run to its end: the exit code, and what a person read meanwhile."""
        watched = self.graft("watch", self.job(), "--namespace", self.namespace.name)
        return watched.returncode, watched.stdout + watched.stderr

    def kubectl(self, *arguments: str) -> str:
        """What kubectl prints about this namespace."""
        return target.kubectl(f"--namespace={self.namespace.name}", *arguments)

    def metrics(self, pod: Any) -> AbstractContextManager[str]:
        """The address (host:port) of a pod's metrics, as seen from this machine."""
        return target.forwarded(self.namespace.name, f"pod/{pod.metadata.name}", 8000)

    def leftovers(self) -> set[str]:
        """The objects here that neither Kubernetes nor `prepare` made, as kind/name."""
        found = self.kubectl("get", ",".join(KINDS), "--output=name").split()
        return set(found) - {
            "serviceaccount/default",
            "configmap/kube-root-ca.crt",
            f"secret/{SECRET}",
        }
