"""Airflow: train from the template `flowers`, then check the release that came out of it.

It needs launcher-role.yaml, the chart installed as `flowers` in the namespace `graft` with
`launch: template`, the provider apache-airflow-providers-cncf-kubernetes, a connection to the
cluster, and a triggerer.
"""

from datetime import UTC, datetime, timedelta

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk import DAG, Param
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from kubernetes.client import models as k8s

IMAGE = "registry.example.com/graft:0.1.0"
# Exit codes that another try would not change. 75, and a waiter that was lost, are worth one.
FINAL = range(1, 7)

# Pod Security `restricted`.
RESTRICTED_POD = k8s.V1PodSecurityContext(
    run_as_non_root=True, seccomp_profile=k8s.V1SeccompProfile(type="RuntimeDefault")
)
RESTRICTED = k8s.V1SecurityContext(
    allow_privilege_escalation=False,
    read_only_root_filesystem=True,
    capabilities=k8s.V1Capabilities(drop=["ALL"]),
)
# The sidecar that reads the XCom is an image whose own user is root.
RESTRICTED_SIDECAR = k8s.V1SecurityContext(
    run_as_user=65532,
    allow_privilege_escalation=False,
    read_only_root_filesystem=True,
    capabilities=k8s.V1Capabilities(drop=["ALL"]),
)


class GraftOperator(KubernetesPodOperator):
    """A pod that runs one verb of Graft, and is tried again only where that helps."""

    def __init__(self, **options: object) -> None:
        super().__init__(
            namespace="graft",
            service_account_name="graft-launcher",
            image=IMAGE,
            cmds=["graft"],
            container_resources=k8s.V1ResourceRequirements(
                requests={"cpu": "50m", "memory": "128Mi"}, limits={"memory": "512Mi"}
            ),
            security_context=RESTRICTED_POD,
            container_security_context=RESTRICTED,
            volumes=[
                k8s.V1Volume(
                    name="scratch", empty_dir=k8s.V1EmptyDirVolumeSource(size_limit="100Mi")
                )
            ],
            volume_mounts=[k8s.V1VolumeMount(name="scratch", mount_path="/tmp")],
            # The provider gives up after 2 minutes, and a new node takes longer for several GB.
            # The image without GPU libraries (-cpu) is enough to wait and to verify.
            startup_timeout_seconds=1200,
            retries=3,
            retry_delay=timedelta(minutes=1),
            **options,
        )

    def cleanup(self, pod: k8s.V1Pod, remote_pod: k8s.V1Pod | None, **more: object) -> None:
        """Judge the pod as the provider does, but never retry where the exit code is final."""
        try:
            super().cleanup(pod, remote_pod, **more)
        except AirflowException as error:
            if exit_code(remote_pod, self.base_container_name) in FINAL:
                raise AirflowFailException(str(error)) from error
            raise


def exit_code(pod: k8s.V1Pod, container: str) -> int | None:
    """How the container has ended; None if it has not, or left nothing."""
    for status in pod.status.container_statuses or []:
        if status.name == container and status.state.terminated:
            return status.state.terminated.exit_code
    return None


with DAG(
    dag_id="flowers",
    schedule="@weekly",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    params={"epochs": Param(20, type="integer", minimum=1)},
):
    # It only waits: the run has a Job of its own, which outlives this pod. The key is that of the
    # DAG run: a task that is tried again or cleared finds the run that is there. Another DAG run
    # starts another.
    train = GraftOperator(
        task_id="train",
        arguments=[
            "submit",
            "flowers",
            "--key={{ dag_run.dag_id }}/{{ dag_run.run_id }}",
            "--set=GRAFT_TRAINING_EPOCHS={{ params.epochs }}",
            "--wait",
            "--start-timeout=3600",
        ],
        # The whole result becomes the XCom: status, release, promoted, scores, plan, error and
        # seconds.
        env_vars=[k8s.V1EnvVar(name="GRAFT_RESULT_PATH", value="/airflow/xcom/return.json")],
        do_xcom_push=True,
        xcom_sidecar_container_security_context=RESTRICTED_SIDECAR,
        deferrable=True,  # hours of waiting hold no worker
    )

    # Any task that uses the release goes here. The Secret holds the bucket's keys, as bucket.yaml
    # makes it. With IRSA or EKS Pod Identity there is none, and graft-launcher has a role that
    # reads the bucket.
    verify = GraftOperator(
        task_id="verify",
        arguments=["verify", "{{ ti.xcom_pull('train')['release'] }}"],
        env_from=[
            k8s.V1EnvFromSource(
                secret_ref=k8s.V1SecretEnvSource(name="graft-bucket", optional=True)
            )
        ],
    )

    train >> verify
