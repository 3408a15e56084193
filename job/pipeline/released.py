"""What a run does once its release exists, or exists already."""

import logging
from dataclasses import replace

from job import publish
from job.errors import JobError, ReleaseError, StoreUnavailable
from job.pipeline.trigger import Waiting
from job.release import Manifest, folder_of
from job.result import Result, Status
from job.settings import Settings
from job.storage import Store

logger = logging.getLogger(__name__)


def serve_champion(settings: Settings, registry: Store) -> None:
    """Make the champion the newest version for servers. A damaged champion ends no run.

    Raises:
        StoreUnavailable: a retry finds the release and goes on here. Without one, servers would
            have the champion before until the next night.
    """
    try:
        publish.follow_champion(registry, begin=settings.output.serving)
    except ReleaseError as error:
        logger.warning("The champion is not in serving/: %s", error)
    except StoreUnavailable as error:
        raise StoreUnavailable(
            f"The release is complete, but its version for servers is not: {error.message}",
            "Run again: the next attempt trains nothing and completes the version.",
        ) from error


def prune_releases(settings: Settings, registry: Store) -> None:
    """Delete the releases that GRAFT_OUTPUT_KEEP does not keep. A failure ends no run."""
    if settings.output.keep is None:
        return
    try:
        publish.prune(registry, settings.output.keep)
    except JobError as error:
        logger.warning("Old releases were not deleted: %s", error)


def leave_unchanged(
    settings: Settings, registry: Store, manifest: Manifest, waiting: Waiting | None = None
) -> Result:
    """The result of a run that trains nothing. What an earlier one left undone is finished.

    Args:
        settings: of the run.
        registry: the store of the model.
        manifest: of the release of the same data, or of the last one.
        waiting: why the images that are new since then are not trained on, if there are any.
    """
    registry.delete(f"runs/{manifest.run_id}")
    standing = publish.finish_promotion(registry, manifest)
    serve_champion(settings, registry)
    result = describe_release(settings, registry, manifest, "unchanged", standing.promoted)
    reasons = [result.reason]
    if waiting:
        logger.info("nothing is trained: %s", waiting.reason)
        reasons.insert(0, waiting.reason)
        result = replace(result, new_images=waiting.new_images)
    if result.status == "unchanged" and not standing.promoted:
        text = "%s; `graft promote %s` makes this release the champion"
        logger.info(text, standing.reason, result.release)
        reasons.append(f"{standing.reason}; `graft promote` makes this release the champion")
    return replace(result, reason="; ".join(filter(None, reasons)))


def describe_release(
    settings: Settings, registry: Store, manifest: Manifest, status: Status, promoted: bool
) -> Result:
    """The result of a run whose release exists already."""
    scores = manifest.fields["scores"]
    missed = publish.explain_missed_gate(settings.gate, scores.get(settings.gate.metric, 0.0))
    return Result(
        status="below_gate" if missed else status,
        run_id=manifest.run_id,
        release=registry.child(folder_of(manifest.run_id)).uri,
        promoted=promoted,
        scores=scores,
        plan=manifest.fields["plan"].get("mode"),
        reason=missed,
        classes=len(manifest.classes),
    )
