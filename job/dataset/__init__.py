"""Dataset: bring the files here, verified, cached by digest.

    listing = survey(settings.dataset)                                       # what is there; no
    image is fetched dataset = fetch(listing, settings.dataset, settings.cache, telemetry)    #
    every image a local file

A listing with fewer `entries` (`dataclasses.replace`) fetches that part. `layout` and `manifest`
say what each file is, `archive` opens .tar and .zip, `cache` keeps contents by digest.
"""

from job.dataset.fetching import Dataset, Record, fetch
from job.dataset.listing import Listing, survey

__all__ = ["Dataset", "Listing", "Record", "fetch", "survey"]
