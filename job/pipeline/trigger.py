"""Whether the images that are new since the last release are worth a run: GRAFT_TRIGGER_*."""

import logging
import time
from dataclasses import dataclass

from job import identity, publish
from job.context import RunContext
from job.dataset import Dataset, Listing
from job.errors import ReleaseError, SettingsError, StoreNotFound
from job.pipeline.inputs import RunInputs
from job.publish import History
from job.release import Manifest, folder_of
from job.settings import Settings, TriggerSettings
from job.storage import Store
from job.telemetry import FactsFound, Telemetry

logger = logging.getLogger(__name__)

SECONDS_PER_HOUR = 3600


@dataclass(frozen=True, slots=True)
class Baseline:
    """The release since which images are new.

    Attributes:
        manifest: of the newest release of the same settings and code.
        written: when it was written, as seconds since 1970.
    """

    manifest: Manifest
    written: float


@dataclass(frozen=True, slots=True)
class NewImages:
    """What has changed in a data set since a release.

    Attributes:
        new: how many images the release has not seen, or under another label.
        known: how many it has seen, used or not.
    """

    new: int
    known: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why new images are not trained on yet.

    Attributes:
        reason: in words.
        new_images: how many there are. None if they were not counted.
    """

    reason: str
    new_images: int | None = None


def find_baseline(settings: Settings, history: History) -> Baseline | None:
    """The release that new images are counted from.

    None if nothing is asked for, or if there is no release of the same settings and code: then
    something else than the images has changed.
    """
    if not settings.trigger.is_set:
        return None
    found = history.find_latest(settings.recorded_values(), identity.digest_code())
    return Baseline(*found) if found else None


def explain_cooldown(settings: TriggerSettings, baseline: Baseline) -> str:
    """Why it is too early for another training. Empty if it is not."""
    hours = (time.time() - baseline.written) / SECONDS_PER_HOUR
    if hours >= settings.cooldown_hours:
        return ""
    return (
        f"the last release is {max(hours, 0.0):.1f} hours old, of "
        f"{settings.cooldown_hours:g} that GRAFT_TRIGGER_COOLDOWN_HOURS asks for"
    )


def decide_by_listing(
    settings: TriggerSettings,
    registry: Store,
    baseline: Baseline,
    listing: Listing,
    telemetry: Telemetry,
) -> Waiting | None:
    """Why nothing is trained, as far as that can be said before any image is fetched."""
    if reason := explain_cooldown(settings, baseline):
        return Waiting(reason)
    images = count_listed_images(settings, registry, baseline, listing)
    if images is None or needs_test(settings, images):
        return None
    reason = explain_few_images(settings, images)
    if not reason:
        return None
    telemetry.emit(FactsFound({"new images": images.new}))
    return Waiting(reason, images.new)


def decide_by_images(inputs: RunInputs, baseline: Baseline, context: RunContext) -> Waiting | None:
    """Why nothing is trained, by the number of the new images and by what they look like."""
    settings = inputs.settings.trigger
    images = count_new_images(inputs.registry, baseline, inputs.data)
    if images is None:
        return None
    context.telemetry.emit(FactsFound({"new images": images.new}))
    reasons = [explain_few_images(settings, images)]
    if needs_test(settings, images):
        # TensorFlow from here on
        from job.pipeline import drift

        likeness = drift.explain_likeness(inputs, baseline.manifest, context)
        if not likeness:
            return None
        reasons.append(likeness)
    reason = "; ".join(filter(None, reasons))
    return Waiting(reason, images.new) if reason else None


def require_one_worker(settings: TriggerSettings, workers: int) -> None:
    """Refuse a test that only one of several workers could make.

    Raises:
        SettingsError: several workers are to agree on a p-value.
    """
    if settings.drift_p is not None and workers > 1:
        raise SettingsError(
            f"GRAFT_TRIGGER_DRIFT_P={settings.drift_p:g} is for runs of one worker, and this one "
            f"has {workers}.",
            "Leave it out, and count new images with GRAFT_TRIGGER_MIN_NEW_IMAGES.",
        )


def count_listed_images(
    settings: TriggerSettings, registry: Store, baseline: Baseline, listing: Listing
) -> NewImages | None:
    """Count in the listing alone how many images are new at most, before any is fetched.

    An object that the release has not listed may hold an image that it knows, such as one that was
    moved.

    Returns:
        None if nothing asks for it, or the listings cannot be compared. Archives cannot.
    """
    if not (settings.counts or settings.drift_p):
        return None
    release = registry.child(folder_of(baseline.manifest.run_id))
    seen = publish.read_seen_objects(release)
    digests = listing.digest_images()
    if seen is None or not digests:
        return None
    # A share is one of the images, of which there may be fewer than objects.
    known = _read_known_images(release) if settings.min_new_share else frozenset()
    if known is None:
        return None
    return NewImages(sum(digest not in seen for digest in digests), len(known))


def count_new_images(registry: Store, baseline: Baseline, data: Dataset) -> NewImages | None:
    """Compare a data set with that of a release, by content and label.

    None if the release does not say what it has seen: then nothing is known to speak against a run.
    """
    known = _read_known_images(registry.child(folder_of(baseline.manifest.run_id)))
    if known is None:
        return None
    images = {(record.sha256, record.label) for record in data.records}
    return NewImages(len(images - known), len(known))


def explain_few_images(settings: TriggerSettings, images: NewImages) -> str:
    """Why the new images are too few for a training. Empty if they are enough, by number."""
    wanted = []
    if settings.min_new_images:
        if images.new >= settings.min_new_images:
            return ""
        wanted.append(f"{settings.min_new_images:,} (GRAFT_TRIGGER_MIN_NEW_IMAGES)")
    if settings.min_new_share:
        if images.new >= settings.min_new_share * images.known:
            return ""
        share = f"{settings.min_new_share:.2%} of {images.known:,}"
        wanted.append(f"{share} (GRAFT_TRIGGER_MIN_NEW_SHARE)")
    if not wanted:
        return (
            "no image is new since the last release" if settings.drift_p and not images.new else ""
        )
    return f"new images since the last release: {images.new:,}; expected {' or '.join(wanted)}"


def needs_test(settings: TriggerSettings, images: NewImages) -> bool:
    """Whether it depends on what the new images look like."""
    if settings.drift_p is None or not images.new:
        return False
    return not settings.counts or bool(explain_few_images(settings, images))


def _read_known_images(release: Store) -> frozenset[tuple[str, str]] | None:
    """The images that a release has seen. None if it does not say."""
    try:
        return publish.list_known_images(release.read(publish.INVENTORY))
    except (ReleaseError, StoreNotFound) as error:
        logger.warning("The images of the last release are not known: %s", error)
        return None
