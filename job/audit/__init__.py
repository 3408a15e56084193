"""What is wrong with the images, and which of them train, validate and test.

`inspect` decodes every image once, and reports what cannot be used and what looks odd. `split`
deals the rest out as a function of their content. `hold_out` keeps all of them for the test.
"""

from job.audit.census import Census, Finding, inspect
from job.audit.examples import Example
from job.audit.similarity import NearDuplicate
from job.audit.splitting import Splits, hold_out, split

__all__ = [
    "Census",
    "Example",
    "Finding",
    "NearDuplicate",
    "Splits",
    "hold_out",
    "inspect",
    "split",
]
