"""Which headings people and tools use for the columns of a table of images."""

import re
import unicodedata

# Each list in the order of trust. As `simplify_heading` gives them.
IMAGE_HEADINGS = (
    "image",
    "imagepath",
    "filepath",
    "path",
    "imgpath",
    "relativepath",
    "filename",
    "file",
    "imagefilename",
    "imagefilepath",
    "imagefile",
    "imgfile",
    "imageurl",
    "imageuri",
    "imagegcsuri",
    "sourceref",
    "url",
    "uri",
    "imagename",
    "imgname",
    "imageid",
    "img",
    "images",
    "imagepaths",
    "filepaths",
    "paths",
    "filenames",
    "files",
    "fname",
    "imageindex",
)
LABEL_HEADINGS = (
    "label",
    "class",
    "classname",
    "category",
    "categoryname",
    "target",
    "labelname",
    "classlabel",
    "targetname",
    "labels",
    "classes",
    "classid",
    "labelid",
    "categoryid",
    "targetid",
    "classindex",
    "labelindex",
    "classification",
    "targetlabel",
    "groundtruth",
    "annotation",
    "choice",
    "tag",
    "lbl",
    "cls",
)
SPLIT_HEADINGS = (
    "split",
    "subset",
    "set",
    "partition",
    "mluse",
    "usage",
    "dataset",
    "datasplit",
    "datasetsplit",
)
GROUP_HEADING = "group"
ALL_HEADINGS = frozenset((*IMAGE_HEADINGS, *LABEL_HEADINGS, *SPLIT_HEADINGS, GROUP_HEADING))

IMAGE_FILE = re.compile(r"\.(jpe?g|jpe|jfif|png|bmp|gif|webp|tiff?)$", re.IGNORECASE)
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def simplify_heading(heading: str) -> str:
    """The heading in lower case with letters and digits alone: `Image Path` is `imagepath`."""
    plain = unicodedata.normalize("NFKC", heading).casefold()
    return re.sub(r"[\W_]+", "", plain)


def looks_like_image(cell: str) -> bool:
    """Whether a cell names a file, so that its line is no heading."""
    return bool(IMAGE_FILE.search(cell.strip()) or ADDRESS.match(cell.strip()))
