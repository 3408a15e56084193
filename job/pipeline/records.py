"""What a run says about itself: on the live page, in its report, in its manifest."""

import platform
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from job import identity
from job.audit import Example, Splits
from job.evaluation import ReportContext
from job.publish import Decision
from job.settings import Settings
from job.transfer import Plan
from job.weights import Weights
from job.workers import Workers

if TYPE_CHECKING:
    from job.pipeline.phases import RunFacts

# What a reader of the report may want to change; where a run lay and how it was watched is of no
# use to them.
SHOWN = {"name", "seed", "dataset", "backbone", "head", "transfer", "training", "gate", "export"}
PACKAGES = ("graft", "keras", "numpy", "scipy")


def live(settings: Settings, splits: Splits, plan: Plan, team: Workers) -> Mapping[str, Any]:
    """For the live page."""
    return {
        "backbone": f"{settings.backbone.name} at {settings.image_size} px",
        "classes": len(splits.classes),
        "images": f"{len(splits.train)} train, {len(splits.val)} val, {len(splits.test)} test",
        "plan": plan.mode,
        "reason": plan.reason,
        "devices": ", ".join(team.devices),
    }


def context(facts: "RunFacts") -> ReportContext:
    """For the report."""
    trained, census = facts.trained, facts.trained.census
    left_out = (*census.broken, *census.unsupported, *census.conflicting)
    return ReportContext(
        name=facts.settings.name,
        run_id=facts.run_id,
        backbone=facts.settings.backbone.name,
        image_size=facts.settings.image_size,
        plan=trained.plan.facts(),
        gate={"metric": facts.settings.gate.metric, "min_score": facts.settings.gate.min_score},
        weights=_named(trained.weights),
        source=facts.settings.dataset.uri,
        digest=facts.data.digest,
        left_out=tuple((finding.name, finding.reason) for finding in left_out),
        duplicates=tuple((finding.name, finding.reason) for finding in census.duplicates),
        warnings=(*census.warnings, *trained.splits.warnings),
        history=trained.fitted.history,
        exports=tuple(asdict(parity) for parity in facts.bundle.parity),
        judged_before=facts.history.judged_on(_test_digest(trained.splits)),
        settings=facts.settings.model_dump(mode="json", include=SHOWN),
        versions=_versions(),
    )


def manifest(facts: "RunFacts", decision: Decision) -> dict[str, Any]:
    """The manifest's fields, but for the schema and the files."""
    trained, splits = facts.trained, facts.trained.splits
    return {
        "name": facts.settings.name,
        "run_id": facts.run_id,
        "settings": facts.settings.recorded_values(),
        "data": {
            "digest": facts.data.digest,
            "listing": facts.data.listing,
            "images": {
                "train": len(splits.train),
                "val": len(splits.val),
                "test": len(splits.test),
            },
            "classes": list(splits.classes),
            "left_out": trained.census.left_out + len(splits.leaks),
            "test": _test_digest(splits),
        },
        "weights": _named(trained.weights),
        "versions": {**_versions(), "code": identity.digest_code()},
        "plan": trained.plan.facts(),
        "scores": dict(facts.report.scores),
        "exact": trained.fitted.exact,
        "export_seconds": facts.bundle.seconds,
        "promotion": decision.record(),
        "previous": decision.previous,
    }


def _named(weights: Weights) -> dict[str, str]:
    return {"origin": weights.origin, "sha256": weights.sha256, "licence": weights.licence}


def _test_digest(splits: Splits) -> str:
    def facts(example: Example) -> list[str]:
        return [example.sha256, splits.classes[example.label]]

    return identity.digest(sorted(map(facts, splits.test)))


def _versions() -> dict[str, str]:
    # TensorFlow is installed under several names: tensorflow, tensorflow-cpu.
    known = {"python": platform.python_version(), "tensorflow": tf.__version__}
    return known | {name: version(name) for name in PACKAGES}
