"""A table of images and labels: .csv, .tsv, .lst, .jsonl or .manifest.

    table = read(content, "flowers.csv", settings.dataset)
    found = match(table, keys, roots)

`read` knows what people and their tools write. `decoding` gives text, `delimited` and `json_lines`
give rows, `headless` and `tool_shapes` know rows of certain tools, `columns` finds out which column
is what, and `labels` what a cell means. `match` finds the file that each row names (`spelling`,
`folders`). All that is guessed on the way is in `notes`.

The files are below the table's own folder. A data set is one tree under one set of credentials, and
a table from elsewhere must not point out of it.
"""

from job.dataset.image_manifest.columns import CURE, MISSING_LABEL_CURE
from job.dataset.image_manifest.matching import Matching, find_shared_folder, match
from job.dataset.image_manifest.reading import ImageManifest, ImageRow, read
from job.dataset.layout import TABLE_SUFFIXES

SUFFIXES = TABLE_SUFFIXES

__all__ = [
    "CURE",
    "MISSING_LABEL_CURE",
    "SUFFIXES",
    "ImageManifest",
    "ImageRow",
    "Matching",
    "find_shared_folder",
    "match",
    "read",
]
