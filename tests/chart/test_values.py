"""What may be given: the schema is closed, and conflicts are reported all at once."""

import json
import re
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator, Draft202012Validator

from job.errors import SettingsError
from job.settings import load
from tests.chart.rendering import (
    EXAMPLES,
    LAUNCHES,
    LEAST,
    RefusedError,
    Tree,
    environment,
    job,
    merged,
    render,
    run_helm,
)
from tools.chart.declaration import SHAPES, values
from tools.chart.generate import WATCHING, defaults, readme, rendered, schema, watching
from tools.helm import MAJORS
from tools.paths import CHART

pytestmark = pytest.mark.chart

DRAFTS = [Draft7Validator, Draft202012Validator]


def test_schema_page_and_manifests_are_what_the_chart_says() -> None:
    assert json.loads((CHART / "values.schema.json").read_text()) == schema()
    assert (CHART / "README.md").read_text() == readme()
    assert (CHART / "templates" / "_defaults.tpl").read_text() == defaults()
    for launch in LAUNCHES:
        assert (CHART.parent / "manifests" / f"{launch}.yaml").read_text() == rendered(launch)
    for template, path in WATCHING.items():
        assert (CHART.parent / "manifests" / path).read_text() == watching(template)


def test_every_value_has_a_sentence_above_it() -> None:
    assert [value.path for value in values() if not value.sentence.endswith(".")] == []


def test_every_shape_belongs_to_a_value() -> None:
    assert SHAPES.keys() <= {value.path for value in values()}


@pytest.mark.parametrize("draft", DRAFTS)
def test_the_schema_is_valid_closed_and_holds_no_reference(draft: Any) -> None:
    draft.check_schema(schema())
    assert "$ref" not in json.dumps(schema())
    open_groups = [
        key
        for key, value in schema()["properties"].items()
        if value.get("properties") and value["additionalProperties"]
    ]
    assert open_groups == ["global"]  # a parent chart shares its own values there


@pytest.mark.parametrize("draft", DRAFTS)
def test_the_schema_accepts_the_defaults_and_every_example(draft: Any) -> None:
    for path in (CHART / "values.yaml", *EXAMPLES):
        draft(schema()).validate(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize("major", [3, 4])
@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"lunch": "run"}, "lunch"),
        ({"launch": "once"}, "launch"),
        ({"workers": 0}, "workers"),
        ({"job": {"retry": 3}}, "retry"),
        ({"job": {"retries": "three"}}, "retries"),
        ({"job": {"activeDeadlineSeconds": 0}}, "activeDeadlineSeconds"),
        ({"settings": {"training": {"epoch": 3}}}, "epoch"),
        ({"settings": {"training": {"epochs": "three"}}}, "epochs"),
        ({"settings": {"trainning": {}}}, "trainning"),
        ({"settings": {"gate": {"min_score": 2}}}, "min_score"),
        ({"runAs": {"user": 0}}, "user"),
        ({"cache": {"size": "20GB"}}, "size"),
        ({"image": {"digest": "sha256:short"}}, "digest"),
        ({"schedule": {"cron": "nightly"}}, "cron"),
        ({"store": {"endpoint": "minio:9000"}}, "endpoint"),
        ({"resources": {"limit": {}}}, "limit"),
        ({"resources": {"claims": [{"name": "gpu"}]}}, "claims"),
        ({"job": {"ttlSecondsAfterFinished": 0}}, "ttlSecondsAfterFinished"),
    ],
    ids=str,
)
def test_helm_refuses_what_the_schema_does_not_know(major: int, wrong: Tree, named: str) -> None:
    with pytest.raises(RefusedError, match=named):
        render(wrong, major=major)


@pytest.mark.parametrize("major", [3, 4])
def test_numbers_may_come_as_numbers_or_as_strings_and_are_written_out(major: int) -> None:
    def variables(*options: str, **training: Any) -> dict[str, str]:
        return environment(
            render({"settings": {"training": training, "cache": {}}}, *options, major=major)
        )

    assert variables(learning_rate=0.001)["GRAFT_TRAINING_LEARNING_RATE"] == "0.001"
    assert variables(learning_rate="1e-3")["GRAFT_TRAINING_LEARNING_RATE"] == "1e-3"
    assert (
        variables("--set", "settings.training.learning_rate=0.001")["GRAFT_TRAINING_LEARNING_RATE"]
        == "0.001"
    )
    assert variables(patience=1_000_000)["GRAFT_TRAINING_PATIENCE"] == "1000000"
    assert (
        variables("--set", "settings.training.patience=1000000")["GRAFT_TRAINING_PATIENCE"]
        == "1000000"
    )
    assert variables(xla=True)["GRAFT_TRAINING_XLA"] == "true"
    assert variables(xla=False, patience=0) | {
        "GRAFT_TRAINING_XLA": "false",
        "GRAFT_TRAINING_PATIENCE": "0",
    } == variables(xla=False, patience=0)


def test_lists_are_joined_and_nothing_is_left_of_what_is_empty() -> None:
    settings = {
        "export": {"formats": ["saved_model", "onnx"]},
        "backbone": {"image_size": None, "mirror": ""},
    }
    variables = environment(render({"settings": settings}))
    assert variables["GRAFT_EXPORT_FORMATS"] == "saved_model,onnx"
    assert not [name for name in variables if name.startswith("GRAFT_BACKBONE")]
    assert "" not in variables.values()


def test_a_value_means_what_it_says_and_not_another_variable() -> None:
    given = {
        "dataset": {"uri": 's3://data/$(HOME)/"quoted"\\'},
        "telemetry": {"push_url": "http://user:pa$$w@push:9091"},
        "backbone": {"mirror": "s3://data/a$$(HOME)"},
    }
    variables = environment(render({"settings": given}))
    assert expand(variables["GRAFT_DATASET_URI"]) == given["dataset"]["uri"]
    assert expand(variables["GRAFT_TELEMETRY_PUSH_URL"]) == given["telemetry"]["push_url"]
    assert expand(variables["GRAFT_BACKBONE_MIRROR"]) == given["backbone"]["mirror"]


def expand(value: str) -> str:
    """What the kubelet makes of a value: $$ is a $, and $(HOME) another variable."""
    return re.sub(r"\$\$|\$\(HOME\)", lambda found: {"$$": "$"}.get(found[0], "/tmp"), value)


@pytest.mark.parametrize(
    "example", EXAMPLES, ids=lambda path: path.name.removesuffix("-values.yaml")
)
def test_the_job_accepts_what_the_chart_gives_it(
    example: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = environment(render(yaml.safe_load(example.read_text())))
    for name, value in given.items():
        if name.startswith("GRAFT_"):
            monkeypatch.setenv(name, value)
    settings = load().values()
    assert settings["GRAFT_CACHE_LIMIT"] == int(given["GRAFT_CACHE_LIMIT"])
    monkeypatch.setenv("GRAFT_TRAINING_EPOCH", "3")
    with pytest.raises(SettingsError):
        load()


EVERYTHING_WRONG: Tree = {
    "settings": {
        "dataset": {"uri": ""},
        "output": {"uri": "file:///models"},
        "again": "x",
        "cache": {"dir": "/elsewhere", "limit": 5},
        "devices": {"gpus": 1, "logical_cpus": 2},
        "telemetry": {"port": 0, "webhook_secret": "written down"},
    },
    "webhook": {"secret": "events"},
    "enabled": False,
    "gpus": {"count": 2},
    "resources": {"limits": {"nvidia.com/gpu": 1}},
    "credentials": {"secret": "store", "format": "keys", "podIdentity": True},
    "serviceAccount": {"create": False, "annotations": {"eks.amazonaws.com/role-arn": "arn"}},
    "podLabels": {"app.kubernetes.io/name": "mine", "sidecar.istio.io/inject": "true"},
    "podMonitor": {"enabled": True},
    "extraEnv": [
        {"name": "GRAFT_SEED", "value": "1"},
        {"name": "AWS_ACCESS_KEY_ID", "value": "1"},
        {"name": "HOME", "value": "/"},
        {"name": "TWICE", "value": "1"},
        {"name": "TWICE", "value": "2"},
    ],
    "extraVolumes": [{"name": "cache", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "data", "mountPath": "/tmp/"}],
}
CURES = [
    "settings.dataset.uri is not set. Set it to an address such as s3://bucket/prefix.",
    "settings.output.uri is file:///models, and nothing is mounted there. Mount a volume with",
    "Set run.again instead of settings.again.",
    "Remove settings.cache.dir",
    "Set cache.size instead of settings.cache.limit.",
    "Set gpus.count instead of settings.devices.gpus.",
    "Name a Secret in webhook.secret instead of settings.telemetry.webhook_secret.",
    "webhook_url gets, and that is not set. Set it, or leave webhook.secret out.",
    (
        "settings.devices.logical_cpus is a rehearsal without GPUs, and gpus.count is not 0. "
        "Leave one of them out."
    ),
    (
        "resources asks for nvidia.com/gpu, which the job would not be told. "
        "Set gpus.count and gpus.resource instead."
    ),
    (
        "credentials.secret and the role in serviceAccount.annotations are two identities. "
        "Remove one of them."
    ),
    "credentials.secret and credentials.podIdentity are two identities. Remove one of them.",
    "serviceAccount.annotations need an account to annotate. Set serviceAccount.create",
    "podLabels has app.kubernetes.io/name, which the chart sets. Remove it.",
    "podLabels has sidecar.istio.io/inject, which the chart sets. Remove it and set istio.",
    "podMonitor.enabled needs metrics, and settings.telemetry.port is 0. Leave one of them out.",
    "extraEnv has GRAFT_SEED. Set it under settings, where it is checked.",
    "extraEnv has AWS_ACCESS_KEY_ID, which is set already.",
    "extraEnv has HOME, which is set already.",
    "extraEnv has TWICE, which is set already.",
    "extraVolumes has a second volume named cache. Give it another name.",
    "extraVolumeMounts mounts data, which is not among extraVolumes. Add it there.",
    "extraVolumeMounts has a second mount at /tmp/. Mount it elsewhere.",
    "enabled is for the condition of a parent chart and stops nothing here. Leave it out.",
]


@pytest.mark.parametrize("major", [3, 4])
@pytest.mark.parametrize("launch", LAUNCHES)
def test_everything_that_cannot_work_is_told_at_once_with_its_cure(major: int, launch: str) -> None:
    with pytest.raises(RefusedError) as refused:
        render({**EVERYTHING_WRONG, "launch": launch}, major=major)
    told = str(refused.value)
    assert [cure for cure in CURES if cure not in told] == []
    assert told.count("\n  - ") == len(CURES)


def test_a_test_with_gpus_needs_a_run_with_gpus() -> None:
    with pytest.raises(
        RefusedError, match=r"test.gpu asks for the run's GPUs, and gpus.count is 0"
    ):
        render({"test": {"gpu": True}})


@pytest.mark.parametrize(
    ("values", "cure"),
    [
        (
            {"settings": {"devices": {"logical_cpus": 2}}},
            "settings.devices.logical_cpus is a rehearsal on one machine",
        ),
        (
            {"extraEnv": [{"name": "TF_CONFIG", "value": "{}"}]},
            "extraEnv has TF_CONFIG, which is set already",
        ),
    ],
    ids=str,
)
def test_what_cannot_work_with_several_workers_works_with_one(values: Tree, cure: str) -> None:
    render(values)
    with pytest.raises(RefusedError, match=cure):
        render({**values, "workers": 2})


def test_workers_are_hosts_whose_names_have_no_dot() -> None:
    render(release="flowers.v2")
    with pytest.raises(
        RefusedError, match=r"the name flowers\.v2 has a dot(.*) Set fullnameOverride"
    ):
        render({"workers": 2}, release="flowers.v2")


def test_without_any_value_both_addresses_are_asked_for() -> None:
    with pytest.raises(
        RefusedError, match=r"settings.dataset.uri is not set(.|\n)*settings.output.uri is not set"
    ):
        run_helm(3, "template", "flowers", str(CHART))


@pytest.mark.parametrize(
    ("uri", "works"),
    [("file:///data/flowers", True), ("file:///data", True), ("file:///database", False)],
)
def test_a_folder_must_lie_in_a_mounted_volume(uri: str, works: bool) -> None:
    given = {
        "settings": {"dataset": {"uri": uri}},
        "extraVolumes": [{"name": "data", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    if works:
        assert environment(render(given))["GRAFT_DATASET_URI"] == uri
    else:
        with pytest.raises(RefusedError, match="nothing is mounted there"):
            render(given)


def everything() -> list[str]:
    """The path of each value and of each group of values."""
    paths = [value.path for value in values()]
    groups = {path.rpartition(".")[0] for path in paths} - {""}
    return sorted({*paths, *groups})


def nothing(path: str) -> Tree:
    tree: Any = None
    for key in reversed(path.split(".")):
        tree = {key: tree}
    return merged({"settings": LEAST["settings"]}, tree)


@pytest.mark.parametrize("major", [3, 4])
@pytest.mark.parametrize("path", everything())
def test_a_value_that_is_null_is_its_default(path: str, major: int) -> None:
    launch = "schedule" if path.startswith("schedule") else "run"
    if path == "settings":
        with pytest.raises(RefusedError, match=r"settings.dataset.uri is not set. Set it to"):
            template({"settings": None}, major)
    elif path == "launch":
        assert template(nothing(path), major) == template(LEAST, major)
    else:
        assert template({"launch": launch} | nothing(path), major) == template(
            {"launch": launch} | LEAST, major
        )


def test_all_values_that_are_null_at_once_are_the_defaults() -> None:
    whole = merged(*(nothing(path) for path in everything() if path != "settings"), LEAST)
    for major in MAJORS:
        assert template(whole, major) == template(LEAST, major)


def test_what_is_left_out_of_resources_stays_out() -> None:
    (container,) = job(render({"resources": {"requests": {"cpu": None}}}))["template"]["spec"][
        "containers"
    ]
    assert "cpu" not in container["resources"]["requests"]
    assert container["resources"]["requests"]["memory"] == "4Gi"


@cache
def template_text(given: str, major: int) -> str:
    return run_helm(
        major, "template", "flowers", str(CHART), "--values", "-", given=json.loads(given)
    )


def template(given: Tree, major: int) -> str:
    """All that Helm makes of these values alone, once for each of them."""
    return template_text(json.dumps(given), major)


@pytest.mark.parametrize("major", [3, 4])
def test_a_value_that_is_null_in_a_parent_chart_is_its_default(tmp_path: Path, major: int) -> None:
    chart = tmp_path / "parent"
    shutil.copytree(CHART, chart / "charts" / "graft")
    about = {"apiVersion": "v2", "name": "parent", "version": "1.0.0"}
    (chart / "Chart.yaml").write_text(yaml.safe_dump(about))

    def rendered(given: Tree) -> str:
        return run_helm(
            major, "template", "zoo", str(chart), "--values", "-", given={"graft": given}
        )

    whole = merged(*(nothing(path) for path in everything() if path != "settings"), LEAST)
    assert rendered(whole) == rendered(LEAST)


@pytest.mark.parametrize(
    ("values", "cure"),
    [
        (
            {"gpus": {"count": 2, "resource": "nvidia.com/mig-1g.10gb"}},
            "A process sees one slice of a GPU alone. Set gpus.count to 1, or raise workers.",
        ),
        (
            {"gpus": {"count": 1, "resource": "amd.com/gpu"}},
            "the libraries of NVIDIA alone. Use an NVIDIA GPU",
        ),
        (
            {"settings": {"backbone": {"weights": "file:///weights/a.h5"}}},
            "settings.backbone.weights is file:///weights/a.h5, and nothing is mounted there.",
        ),
        (
            {"settings": {"backbone": {"mirror": "/weights"}}},
            "settings.backbone.mirror is /weights, and nothing is mounted there.",
        ),
        (
            {"settings": {"dataset": {"uri": "file:///cache/flowers"}}},
            "settings.dataset.uri is file:///cache/flowers, and nothing is mounted there.",
        ),
        (
            {"cache": {"claim": "shared", "ephemeral": True}},
            "cache.claim and cache.ephemeral are two volumes for one cache. Remove one of them.",
        ),
        (
            {"cache": {"storageClass": "fast"}},
            "cache.storageClass needs a volume to make. Set cache.ephemeral, or remove it.",
        ),
        (
            {"extraContainers": [{"name": "graft"}]},
            "a second container named graft. Give it another name.",
        ),
        (
            {"jobLabels": {"kueue.x-k8s.io/queue-name": "q"}},
            "jobLabels has kueue.x-k8s.io/queue-name, which the chart sets. Remove it and set",
        ),
        (
            {"commonLabels": {"app.kubernetes.io/version": "2"}},
            "commonLabels has app.kubernetes.io/version, which the chart sets. Remove it.",
        ),
        (
            {"prometheusRule": {"enabled": True}},
            "Set podMonitor.enabled too, or prometheusRule.scope to cluster.",
        ),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused_with_its_cure(values: Tree, cure: str) -> None:
    with pytest.raises(RefusedError) as refused:
        render(values)
    assert cure in str(refused.value)
    assert str(refused.value).count("\n  - ") == 1


def test_a_folder_on_the_claim_of_the_cache_is_there() -> None:
    given = {
        "settings": {"dataset": {"uri": "file:///cache/flowers"}},
        "cache": {"claim": "shared"},
    }
    assert environment(render(given))["GRAFT_DATASET_URI"] == "file:///cache/flowers"


@pytest.mark.parametrize("path", ["dataset", "output", "telemetry", "devices", "backbone", "name"])
def test_a_group_of_settings_that_is_null_is_as_if_it_were_not_there(path: str) -> None:
    if path in ("dataset", "output"):
        with pytest.raises(RefusedError, match=f"settings.{path}.uri is not set"):
            render({"settings": {path: None}})
    else:
        assert render({"settings": {path: None}}) == render()
