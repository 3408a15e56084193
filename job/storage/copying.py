"""A copy from a store into the same store, for servers that do not copy by themselves."""

from job.errors import StoreNotFound
from job.files import open_scratch
from job.storage.downloading import download
from job.storage.store import Store


def copy_through_disk(store: Store, source: str, target: str) -> None:
    """Download an object and upload it under another key.

    Raises:
        StoreNotFound: there is no `source`.
    """
    entry = store.head(source)
    if entry is None:
        raise StoreNotFound(f"{store.uri}/{source} is gone.")
    with open_scratch() as scratch:
        path = scratch / "copy"
        download(store, source, path, entry)
        store.upload(target, path)
