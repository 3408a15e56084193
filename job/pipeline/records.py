"""What a run records of itself: on the live page, in its report, in its manifest."""

import platform
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import numpy as np
import tensorflow as tf

from job import identity
from job.audit import Splits
from job.batches import collect_labels
from job.evaluation import ReportContext
from job.measurement import TestAnswers
from job.pipeline.inputs import RunInputs
from job.pipeline.outcome import Network, RunOutcome, TrainedClassifier
from job.publish import Decision
from job.selection import BackboneChoice
from job.weights import Weights
from job.workers import Workers

# What a reader of the report may want to change. Where a run took place and how it was watched is
# of no use to them.
SHOWN_SETTINGS = {
    "name",
    "seed",
    "dataset",
    "backbone",
    "head",
    "transfer",
    "training",
    "gate",
    "export",
}
PACKAGES = ("graft", "keras", "numpy", "scipy")


def live_facts(
    network: Network, backbones: BackboneChoice | None, workers: Workers
) -> Mapping[str, object]:
    """For the live page."""
    splits, plan = network.feed.splits, network.plan
    classifier = network.classifier
    chosen = {"choice of the backbone": backbones.reason} if backbones else {}
    return {
        "backbone": f"{classifier.spec.backbone.name} at {classifier.image_size} px",
        **chosen,
        "classes": len(splits.classes),
        "images": f"{len(splits.train)} train, {len(splits.val)} val, {len(splits.test)} test",
        "plan": plan.mode if plan else "auto",
        "reason": plan.reason if plan else "Several candidates are trained, and the best is kept.",
        "devices": ", ".join(workers.devices),
    }


def report_context(outcome: RunOutcome, decision: Decision, answers: np.ndarray) -> ReportContext:
    """For the report.

    Args:
        outcome: of the run.
        decision: whether the release is promoted.
        answers: the classes that the model names for the test images, int [n].
    """
    inputs, trained = outcome.inputs, outcome.trained
    settings, census, splits = inputs.settings, trained.census, trained.splits
    left_out = (*census.broken, *census.unsupported, *census.conflicting)
    champion = decision.champion
    return ReportContext(
        name=settings.name,
        run_id=inputs.run_id,
        backbone=trained.classifier.spec.backbone.name,
        image_size=trained.classifier.image_size,
        image_fit=settings.backbone.image_fit,
        plan=trained.plan.facts(),
        gate={"metric": settings.gate.metric, "min_score": settings.gate.min_score},
        weights=_describe_weights(trained.network.weights),
        source=settings.dataset.uri,
        digest=inputs.data.digest,
        left_out=tuple((finding.name, finding.reason) for finding in left_out),
        contradictions=census.list_contradictions(),
        duplicates=tuple((finding.name, finding.reason) for finding in census.duplicates),
        warnings=(*census.warnings, *splits.warnings),
        history=trained.fitted.history,
        exports=tuple(asdict(parity) for parity in outcome.bundle.parity),
        promotion=decision.record(),
        champion=champion.manifest.run_id if champion and champion.manifest else None,
        measurement=trained.measured.measurement.facts() if trained.measured else {},
        backbones=_list_backbones(trained),
        candidates=trained.fitted.candidates,
        refinements=trained.fitted.refinements,
        suspects=_describe_suspects(trained, answers),
        judged_before=outcome.history.count_judged_on(_digest_test_split(splits)),
        settings=settings.model_dump(mode="json", include=SHOWN_SETTINGS),
        versions=_package_versions(),
        image_files={record.name: record.path for record in inputs.data.records},
    )


def manifest_fields(outcome: RunOutcome, decision: Decision) -> dict[str, Any]:
    """For the manifest: its fields without the schema and the files."""
    inputs, trained, splits = outcome.inputs, outcome.trained, outcome.trained.splits
    backbone = backbone_fields(inputs, trained)
    return {
        "name": inputs.settings.name,
        "run_id": inputs.run_id,
        "settings": backbone["settings"],
        "data": {
            "digest": inputs.data.digest,
            "listing": inputs.data.listing,
            "images": {
                "train": len(splits.train),
                "val": len(splits.val),
                "test": len(splits.test),
            },
            "classes": list(splits.classes),
            "left_out": trained.census.left_out + len(splits.leaks),
            "test": _digest_test_split(splits),
        },
        "weights": backbone["weights"],
        "versions": backbone["versions"],
        "backbone": backbone["backbone"],
        "plan": trained.plan.facts(),
        "scores": dict(outcome.report.scores),
        "exact": trained.fitted.exact,
        # The clock is in the manifest alone: all other files are the same in a second run.
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "seconds": {name: round(seconds, 3) for name, seconds in outcome.seconds.items()},
        "devices": list(trained.workers.devices),
        "machine": trained.workers.fingerprint,
        "workers": outcome.worker_count,
        "export_seconds": outcome.bundle.seconds,
        "promotion": decision.record(),
        "previous": decision.previous,
    }


def backbone_fields(inputs: RunInputs, trained: TrainedClassifier) -> dict[str, Any]:
    """Those fields of the manifest that tell one pre-trained backbone from another."""
    return {
        "settings": inputs.settings.recorded_values(),
        "weights": _describe_weights(trained.network.weights),
        "versions": {**_package_versions(), "code": identity.digest_code()},
        "backbone": _describe_backbone(trained),
    }


def _list_backbones(trained: TrainedClassifier) -> tuple[dict[str, Any], ...]:
    """What was measured of each candidate; nothing where the settings name the backbone."""
    if trained.backbones is None:
        return ()
    return tuple(asdict(row) for row in trained.backbones.rows)


def _describe_backbone(trained: TrainedClassifier) -> dict[str, Any]:
    """The backbone that was trained, and who chose it."""
    classifier, choice = trained.classifier, trained.backbones
    return {
        "name": classifier.spec.backbone.name,
        "image_size": classifier.image_size,
        "rule": "measured" if choice else "setting",
        "reason": choice.reason if choice else "",
        "candidates": list(_list_backbones(trained)),
    }


def _describe_suspects(trained: TrainedClassifier, answers: np.ndarray) -> dict[str, Any]:
    """The images whose labels may be wrong; nothing where nothing was measured."""
    if trained.measured is None:
        return {}
    splits = trained.splits
    names: list[str] = []
    parts: list[str] = []
    for part in ("train", "val", "test"):
        of_part = getattr(splits, part)
        names += [example.name for example in of_part]
        parts += [part] * len(of_part)
    test = TestAnswers(labels=collect_labels(splits.test), predicted=answers)
    return trained.measured.suspects.facts(names, parts, splits.classes, test)


def _describe_weights(weights: Weights) -> dict[str, str]:
    return {"origin": weights.origin, "sha256": weights.sha256, "licence": weights.licence}


def _digest_test_split(splits: Splits) -> str:
    """Names a test split: its images, by content, with their classes."""
    contents = []
    for example in splits.test:
        contents.append([example.sha256, splits.classes[example.label]])
    return identity.digest(sorted(contents))


def _package_versions() -> dict[str, str]:
    # TensorFlow is installed under several names: tensorflow, tensorflow-cpu.
    versions = {"python": platform.python_version(), "tensorflow": tf.__version__}
    for name in PACKAGES:
        versions[name] = version(name)
    return versions
