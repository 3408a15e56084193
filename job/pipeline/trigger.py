"""Whether the images that are new since the last release are worth a run: GRAFT_TRIGGER_*."""

import logging
import time
from dataclasses import dataclass

from job import identity, publish
from job.dataset import Dataset
from job.errors import ReleaseError, StoreNotFound
from job.publish import History
from job.release import Manifest, folder_of
from job.settings import Settings, TriggerSettings
from job.storage import Store

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


def count_new_images(registry: Store, baseline: Baseline, data: Dataset) -> NewImages | None:
    """Compare a data set with that of a release, by content and label.

    None if the release does not say what it has seen: then nothing is known to speak against a run.
    """
    release = registry.child(folder_of(baseline.manifest.run_id))
    try:
        known = publish.list_known_images(release.read(publish.INVENTORY))
    except (ReleaseError, StoreNotFound) as error:
        logger.warning("The images of the last release are not known: %s", error)
        return None
    images = {(record.sha256, record.label) for record in data.records}
    return NewImages(len(images - known), len(known))


def explain_few_images(settings: TriggerSettings, images: NewImages) -> str:
    """Why the new images are not worth a training. Empty if they are."""
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
        return ""
    return f"new images since the last release: {images.new:,}; expected {' or '.join(wanted)}"
