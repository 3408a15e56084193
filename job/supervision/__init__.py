"""The started process watches the one that does the work, and it alone writes to stderr.

Native code (TensorFlow, libjpeg, the C library) writes to file descriptor 2 what it likes, when it
likes. So that descriptor is a pipe in the working process, and the log has another one:

    log           -- pipe -->  started process: JSON lines pass, other text becomes records  -->
    stderr descriptor 2  -- pipe -->  started process: each line becomes a record of `native`
    --> stderr

On a terminal the working process draws there itself; native lines are kept, and shown if it dies.
Nothing heavy is imported here, for the started process keeps it as long as the run lives.
"""

from job.supervision.copying import LONGEST_LINE
from job.supervision.ending import KILLED, Ending
from job.supervision.process import die_with, leave, supervise
from job.supervision.records import format_record, last_explanations, make_record
from job.supervision.starting import import_large_packages, leave_out_unused
from job.supervision.surroundings import SOURCES, settle_surroundings

__all__ = [
    "KILLED",
    "LONGEST_LINE",
    "SOURCES",
    "Ending",
    "die_with",
    "format_record",
    "import_large_packages",
    "last_explanations",
    "leave",
    "leave_out_unused",
    "make_record",
    "settle_surroundings",
    "supervise",
]
