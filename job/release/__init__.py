"""What a release looks like, for all that write, read or continue from one.

    store, manifest = open_release("s3://models/flowers")    # the champion of this registry
    path = download_verified(store, manifest, "model.keras", cache)

The registry of a name is the store rooted at `<output uri>/<name>`:

    promoted.json                       the pointer to the champion
    releases/<run id>/manifest.json     written last: without a valid one there is no release
    releases/<run id>/...               the files that the manifest names

This room only reads. Whatever is missing, damaged or of another form is a `ReleaseError`.
"""

from job.release.manifest import LOGS, MANIFEST, SCHEMA, Manifest, is_promised
from job.release.opening import follow_pointer, open_release, read_bounded, read_manifest
from job.release.parallel import in_parallel
from job.release.pointer import POINTER, folder_of, parse_pointer
from job.release.verified_files import download_verified, hash_object

__all__ = [
    "LOGS",
    "MANIFEST",
    "POINTER",
    "SCHEMA",
    "Manifest",
    "download_verified",
    "folder_of",
    "follow_pointer",
    "hash_object",
    "in_parallel",
    "is_promised",
    "open_release",
    "parse_pointer",
    "read_bounded",
    "read_manifest",
]
