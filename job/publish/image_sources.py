"""Images to classify: files, folders, and URIs of objects and prefixes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from job import storage
from job.errors import DatasetError, JobError

# Ends of names that are taken for images where a folder holds other files too.
SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".webp")


@dataclass(frozen=True, slots=True)
class ImageSource:
    """One image that can be read when its turn comes.

    Attributes:
        name: the path or the URI, as people know it.
        read: gives the encoded image. It raises OSError or JobError.
    """

    name: str
    read: Callable[[], bytes]


def find_images(places: Sequence[str | Path]) -> Iterator[ImageSource]:
    """The images that places mean, in the order given and by name below a folder.

    Args:
        places: paths or URIs. A file is taken whatever its name. Below a folder or a prefix the
            name has to end like that of an image.

    Raises:
        DatasetError: a folder or a prefix without images.
    """
    for place in places:
        if "://" in str(place):
            yield from _find_objects(str(place))
        elif Path(place).is_dir():
            yield from _find_files(Path(place))
        else:
            path = Path(place)
            yield ImageSource(str(place), path.read_bytes)


def _find_files(folder: Path) -> Iterator[ImageSource]:
    paths = [path for path in sorted(folder.rglob("*")) if _is_image_name(path.name)]
    if not paths:
        raise _no_images(str(folder))
    for path in paths:
        yield ImageSource(str(path), path.read_bytes)


def _find_objects(uri: str) -> Iterator[ImageSource]:
    parent, name = storage.split_uri(uri)
    store = storage.connect(parent)
    if name and store.head(name):
        yield _describe_object(store, name)
        return
    store = storage.connect(uri)
    found = False
    for entry in store.list():
        if _is_image_name(entry.key.rpartition("/")[2]):
            found = True
            yield _describe_object(store, entry.key)
    if not found:
        raise _no_images(uri)


def _describe_object(store: storage.Store, key: str) -> ImageSource:
    return ImageSource(f"{store.uri}/{key}", lambda: store.read(key))


def _is_image_name(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def _no_images(place: str) -> JobError:
    return DatasetError(
        f"{place} holds no images; expected names that end in {', '.join(SUFFIXES)}.",
        "Name a folder with images, or the files themselves.",
    )
