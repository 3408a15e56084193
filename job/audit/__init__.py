"""What is wrong with the images, and which of them train, validate and test.

`inspect` decodes every image once, and reports what cannot be used and what looks odd. `split`
deals the rest out as a function of their content.
"""

from job.audit.census import Census, Finding, inspect
from job.audit.examples import Example
from job.audit.similarity import NearDuplicate
from job.audit.splitting import Splits, split

__all__ = ["Census", "Example", "Finding", "NearDuplicate", "Splits", "inspect", "split"]
