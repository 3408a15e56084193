"""Storage: the only speaker to S3; a folder speaks the same words.

    store = connect("s3://data/flowers")          # or file:///data/flowers
    for entry in store.list():
        store.download(entry.key, cache / name_of(entry), entry)

`Store` says what each word means, in one place for both kinds. A URI may also name one object, such
as an archive: `split` gives the store that it lies in and its key there, and
`connect(parent).head(name)` tells a file from a folder.
"""

from job.storage.address import connect, split
from job.storage.store import Checksum, Entry, Store

__all__ = ["Checksum", "Entry", "Store", "connect", "split"]
