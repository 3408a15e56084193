"""What the name of a folder says: part of a split, pictures, masks, and more.

The words are those that public data sets and the tools around them use. All functions take a name
in any case and spelling: `Train Images`, `seg_train`, `TrainingSet`, `test2017`.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from job.settings import SplitName

# Words in names of folders that mean a part of a split. Hugging Face's loader reads
# `eval` and `evaluation` as the test part too.
PARTS: Mapping[str, SplitName] = {
    "train": "train",
    "training": "train",
    "trn": "train",
    "trainval": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "validate": "val",
    "validating": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
    "tst": "test",
    "eval": "test",
    "evaluation": "test",
    "holdout": "test",
}
# These mean val where another part is called test.
EVALUATION_WORDS = frozenset(("eval", "evaluation"))

# What stands beside the name of a part and says nothing.
FILLERS = frozenset(
    [
        "set",
        "sets",
        "data",
        "dataset",
        "datasets",
        "image",
        "images",
        "img",
        "imgs",
        "pic",
        "pics",
        "picture",
        "pictures",
        "photo",
        "photos",
        "folder",
        "folders",
        "dir",
        "directory",
        "split",
        "splits",
        "subset",
        "sample",
        "samples",
        "file",
        "files",
        "full",
        "final",
        "new",
        "all",
        "the",
        "for",
        "of",
        "part",
        "big",
        "small",
        "resized",
        "cropped",
        "raw",
        "jpg",
        "jpeg",
        "png",
        "aug",
        "augmented",
        "master",
        "main",
    ]
)
GLUED = re.compile(rf"({'|'.join(PARTS)})(set|data|dataset|images?|imgs?|split|folder|files|pics)")

# Folders that hold the pictures of something, and say nothing of what is on them.
PICTURES = frozenset(
    [
        "image",
        "images",
        "img",
        "imgs",
        "picture",
        "pictures",
        "pic",
        "pics",
        "photo",
        "photos",
        "jpegimages",
        "jpg",
        "jpgs",
        "jpeg",
        "jpegs",
        "png",
        "pngs",
        "rgb",
        "original",
        "originals",
        "dcim",
    ]
)
CONTAINERS = PICTURES | frozenset(["data", "dataset", "datasets", "files", "folders", "classes"])
# Names of folders that say nothing of what is in them, as file managers and people give them.
UNNAMED = frozenset(
    [
        "newfolder",
        "untitledfolder",
        "neuerordner",
        "nouveaudossier",
        "nuevacarpeta",
        "nuovacartella",
        "misc",
        "various",
        "todo",
        "tmp",
        "temp",
        "unsorted",
        "unlabeled",
        "unlabelled",
    ]
)
# Words in the name of a folder that is around several classes.
COLLECTIONS = frozenset(["set", "sets", "dataset", "datasets", "data", "images", "pictures"])
# What lies beside pictures and has one file for each of them.
COMPANIONS = frozenset(
    [
        "mask",
        "masks",
        "label",
        "labels",
        "annotation",
        "annotations",
        "annots",
        "gt",
        "groundtruth",
        "segmentation",
        "segmentations",
        "segmentationclass",
        "segmentationobject",
        "trimap",
        "trimaps",
        "bbox",
        "bboxes",
        "boundingboxes",
        "depth",
        "depths",
        "edges",
        "heatmap",
        "heatmaps",
        "thumbnail",
        "thumbnails",
        "thumb",
        "thumbs",
        "keypoints",
        "landmarks",
        "boxes",
    ]
)
# Images without a label, which tools leave beside a split.
UNLABELLED = frozenset(
    [
        "pred",
        "predict",
        "prediction",
        "predictions",
        "unlabeled",
        "unlabelled",
        "unlabel",
        "unsupervised",
        "inference",
        "submission",
    ]
)
# Images with a label, as tools say it that leave the others beside them.
LABELLED = frozenset(["labeled", "labelled", "annotated", "supervised", "sorted"])
# What lies beside a data set in a repository or an archive.
BESIDE = frozenset(
    [
        "docs",
        "doc",
        "documentation",
        "figures",
        "figure",
        "notebooks",
        "notebook",
        "scripts",
        "src",
        "code",
        "assets",
        "results",
        "outputs",
        "logs",
        "checkpoints",
        "papers",
        "demo",
        "examples",
        "example",
    ]
)
# What file managers call a copy: `a (1)`, `a - Copy`, `Copy of a`, also in other languages.
COPY = re.compile(
    r"(?P<before>.+?)( ?\(\d+\)|[ _-]+(copy|kopie|copie|copia)( ?\(?\d+\)?)?)"
    r"|(copy of|kopie von|copie de|copia de|copia di) (?P<after>.+)",
    re.IGNORECASE,
)
# A folder of one of these words and a number is a part of a whole, and no class.
NUMBERED = PICTURES | frozenset(
    [
        "fold",
        "folds",
        "kfold",
        "part",
        "parts",
        "batch",
        "shard",
        "split",
        "chunk",
        "partition",
        "cv",
        "subset",
        "set",
        "dataset",
        "data",
        "archive",
    ]
)


@dataclass(frozen=True, slots=True)
class PartName:
    """A name that means a part of a split. `rest` are its other words, such as `seg`."""

    split: SplitName
    rest: tuple[str, ...]
    is_evaluation: bool


def split_words(name: str) -> tuple[str, ...]:
    """The words of a name in lower case, without numbers: `seg_trainData2` is seg, train, data."""
    plain = unicodedata.normalize("NFC", name)
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", plain)
    words: list[str] = []
    for word in re.split(r"[\W\d_]+", plain.lower()):
        glued = GLUED.fullmatch(word)
        if glued:
            words.extend(glued.groups())
        elif word:
            words.append(word)
    return tuple(words)


def read_part_name(name: str) -> PartName | None:
    """The part of a split that a name means, or None: also where it names two parts."""
    kinds = []
    rest = []
    for word in split_words(name):
        if word in PARTS:
            kinds.append(word)
        elif word not in FILLERS:
            rest.append(word)
    # `train_val` and `train-test-split` are no single part. `train_train` is.
    if len({PARTS[kind] for kind in kinds}) != 1:
        return None
    return PartName(PARTS[kinds[0]], tuple(rest), kinds[0] in EVALUATION_WORDS)


def is_one_of(name: str, words: frozenset[str]) -> bool:
    """Whether a name is one of the words, perhaps in two words and with a number."""
    return "".join(split_words(name)) in words


def has_one_of(name: str, words: frozenset[str]) -> bool:
    """Whether one of the words occurs in a name, or is the name, perhaps in two words."""
    return not words.isdisjoint(split_words(name)) or is_one_of(name, words)


def find_copied_name(name: str) -> str | None:
    """The name of what a file manager made this copy of, or None."""
    found = COPY.fullmatch(name.strip())
    return (found["before"] or found["after"]).strip() if found else None


def find_numbered_stem(name: str) -> tuple[str, ...] | None:
    """The words of a name that counts parts of a whole, such as `fold1` or `set_b`, or None."""
    words = tuple(word for word in split_words(name) if len(word) > 1)
    has_count = re.search(r"\d|(^|[\W_])[a-zA-Z]$|[a-z][A-Z]$", name.strip()) is not None
    return words if has_count and not NUMBERED.isdisjoint(words) else None
