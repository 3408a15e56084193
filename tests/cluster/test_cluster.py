"""The cluster itself: what the tests of chart, launcher and whole runs take for granted."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.request import urlopen

import pytest
from botocore.exceptions import ClientError
from kubernetes import client

from tests.cluster.namespace import RESTRICTED, Namespace, eventually
from tools.cluster import target

pytestmark = pytest.mark.cluster


def test_the_node_is_ready(api: client.ApiClient) -> None:
    nodes: Any = client.CoreV1Api(api).list_node().items
    conditions = {one.type: one.status for node in nodes for one in node.status.conditions}
    assert conditions["Ready"] == "True"
    assert conditions["DiskPressure"] == "False"


def test_a_job_completes_under_restricted_pod_security(namespace: Namespace) -> None:
    assert namespace.output(namespace.run("echo hello, I am $(id -u)")) == "hello, I am 65532\n"


def test_a_privileged_pod_is_refused(namespace: Namespace) -> None:
    container = {
        "name": "main",
        "image": target.TOOLS_IMAGE,
        "securityContext": {"privileged": True},
    }
    with pytest.raises(client.ApiException) as refused:
        namespace.core.create_namespaced_pod(
            namespace.name,
            {"metadata": {"name": "privileged"}, "spec": {"containers": [container]}},
        )
    assert refused.value.status == 403
    assert "violates PodSecurity" in str(refused.value.body)


FAIL_AT_ONCE = {
    "rules": [
        {
            "action": "FailJob",
            "onExitCodes": {"containerName": "main", "operator": "In", "values": [2, 3]},
        }
    ]
}


def test_an_exit_code_of_the_failure_policy_fails_the_job_at_once(namespace: Namespace) -> None:
    job = namespace.run("exit 2", backoffLimit=3, podFailurePolicy=FAIL_AT_ONCE)
    assert namespace.outcome(job).reason == "PodFailurePolicy"
    assert len(namespace.pods(job)) == 1


def test_any_other_exit_code_is_retried(namespace: Namespace) -> None:
    job = namespace.run("exit 75", backoffLimit=1, podFailurePolicy=FAIL_AT_ONCE)
    assert namespace.outcome(job).reason == "BackoffLimitExceeded"
    assert len(namespace.pods(job)) == 2


def test_a_container_over_its_memory_is_killed(namespace: Namespace) -> None:
    job = namespace.run("tail /dev/zero", container={"resources": {"limits": {"memory": "32Mi"}}})
    assert namespace.outcome(job).type == "Failed"
    (pod,) = namespace.pods(job)
    assert pod.status.container_statuses[0].state.terminated.reason == "OOMKilled"


def test_a_pod_reaches_the_api_server_by_the_name_of_its_service(namespace: Namespace) -> None:
    assert (
        namespace.output(namespace.run("nc kubernetes.default.svc 443 </dev/null && echo reached"))
        == "reached\n"
    )


def test_a_headless_service_resolves_to_the_pods_of_an_indexed_job(namespace: Namespace) -> None:
    service = {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": {"workers": "pair"},
    }
    namespace.core.create_namespaced_service(
        namespace.name, {"metadata": {"name": "workers"}, "spec": service}
    )
    peer = (
        f"${{HOSTNAME%-*}}-$((1 - JOB_COMPLETION_INDEX)).workers.{namespace.name}.svc.cluster.local"
    )
    job = namespace.run(
        f"until nslookup {peer}; do sleep 1; done",
        pod={"subdomain": "workers"},
        labels={"workers": "pair"},
        completions=2,
        parallelism=2,
        completionMode="Indexed",
    )
    printed = namespace.output(job)
    addresses = {pod.status.pod_ip for pod in namespace.pods(job)}
    assert len(addresses) == 2
    assert all(f"Address: {address}" in printed for address in addresses), printed


def test_a_pods_port_can_be_read_from_outside(namespace: Namespace) -> None:
    job = namespace.run(
        "cd /tmp && echo 42 >metrics && httpd -f -p 9090", pod=_scratch(), container=_mounted()
    )
    pod = eventually(
        lambda: next((p for p in namespace.pods(job) if p.status.phase == "Running"), None)
    )
    with target.forwarded(namespace.name, f"pod/{pod.metadata.name}", 9090) as address:
        assert eventually(lambda: _read(f"http://{address}/metrics")) == b"42\n"


def _read(url: str) -> Any:
    try:
        with urlopen(url, timeout=5) as answer:
            return answer.read()
    except OSError:
        return b""


def _scratch() -> dict[str, Any]:
    return {"volumes": [{"name": "tmp", "emptyDir": {}}]}


def _mounted() -> dict[str, Any]:
    return {
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
        "securityContext": RESTRICTED | {"readOnlyRootFilesystem": True},
    }


def _refused(call: Any, **arguments: Any) -> int:
    try:
        call(**arguments)
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"]
    return 200


def test_the_store_honours_if_none_match(s3: Any, bucket: str) -> None:
    put = {"Bucket": bucket, "Key": "promoted.json", "IfNoneMatch": "*"}
    assert _refused(s3.put_object, **put, Body=b"first") == 200
    assert _refused(s3.put_object, **put, Body=b"second") == 412
    assert s3.get_object(Bucket=bucket, Key="promoted.json")["Body"].read() == b"first"


def test_the_store_honours_if_match(s3: Any, bucket: str) -> None:
    place = {"Bucket": bucket, "Key": "promoted.json"}
    first = s3.put_object(**place, Body=b"first")["ETag"]
    assert _refused(s3.put_object, **place, Body=b"second", IfMatch=first) == 200
    assert _refused(s3.put_object, **place, Body=b"third", IfMatch=first) == 412
    assert s3.get_object(**place)["Body"].read() == b"second"


def test_the_store_honours_if_none_match_when_an_upload_in_parts_completes(
    s3: Any, bucket: str
) -> None:
    place = {"Bucket": bucket, "Key": "model.bin"}
    upload = s3.create_multipart_upload(**place)["UploadId"]
    part = s3.upload_part(**place, UploadId=upload, PartNumber=1, Body=b"late")
    s3.put_object(**place, Body=b"early")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    completed = {"UploadId": upload, "MultipartUpload": parts, "IfNoneMatch": "*"}
    assert _refused(s3.complete_multipart_upload, **place, **completed) == 412
    assert s3.get_object(**place)["Body"].read() == b"early"


def test_one_of_many_who_write_at_once_wins(s3: Any, bucket: str) -> None:
    def write(writer: int) -> int:
        return _refused(
            s3.put_object, Bucket=bucket, Key="lock", Body=str(writer).encode(), IfNoneMatch="*"
        )

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(write, range(32)))
    assert answers.count(200) == 1
    # A loser hears that the key exists, or that another write of it is under way.
    assert set(answers) <= {200, 409, 412}
