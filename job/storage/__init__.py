"""Storage: the only room that speaks to S3. A folder offers the same operations.

    store = connect("s3://data/flowers")          # or file:///data/flowers
    for entry in store.list():
        download(store, entry.key, cache / name_of(entry), entry)

`Store` says once, for both kinds, what each operation means. A URI may also name one object, such
as an archive: `split_uri` gives the URI of its folder and its name there, and
`connect(folder).head(name)` tells a file from a folder.
"""

from job.storage.address import connect, split_uri
from job.storage.downloading import download
from job.storage.store import Checksum, Entry, Store

__all__ = ["Checksum", "Entry", "Store", "connect", "download", "split_uri"]
