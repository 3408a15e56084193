"""Dataset: the images on the local disk, verified, cached by digest.

    # Which objects there are. No image is downloaded.
    listing = survey(settings.dataset)
    # Every image as a local file.
    dataset = fetch(listing, settings.dataset, settings.cache, telemetry)

A listing with fewer `entries` (`dataclasses.replace`) fetches only those. `layout` and
`image_manifest` say what each file is, `archive` opens .tar and .zip, `cache` keeps contents by
digest.
"""

from job.dataset.fetching import Dataset, Record, fetch
from job.dataset.listing import DIGEST_BYTES, Listing, survey

__all__ = ["DIGEST_BYTES", "Dataset", "Listing", "Record", "fetch", "survey"]
