"""Errors of the operating system about a folder, translated to ours."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from job.errors import JobError, SettingsError, StoreForbidden, StoreNotFound, StoreUnavailable
from job.files import NO_SPACE

NOT_SUPPORTED = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK, errno.EMLINK)
IN_THE_WAY = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP)


@contextmanager
def translate_errors(address: str) -> Iterator[None]:
    """Raise one of our errors for an OSError in the block, with `address` in its message."""
    try:
        yield
    except OSError as error:
        raise translate_error(error, address) from error


def translate_error(error: OSError, address: str) -> JobError:
    """The error of ours for one of the operating system.

    A number that is not listed may be temporary, as over NFS, so it becomes `StoreUnavailable`.
    """
    message = f"{address}: {error.strerror}."
    if error.errno == errno.ENOENT:
        return StoreNotFound(message, "Check the URI, and that the volume is mounted.")
    if error.errno in NO_SPACE:
        return SettingsError(message, "Give the volume more room, or delete old runs.")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StoreForbidden(
            message,
            "Give the job's user the right to it. Conditional writes also need hard links.",
        )
    if error.errno in NOT_SUPPORTED:
        return StoreForbidden(message, "Use a file system with hard links and flock, or a bucket.")
    if error.errno in IN_THE_WAY:
        return StoreForbidden(
            message, "A folder cannot hold both `a` and `a/b`, nor a name of more than 255 bytes."
        )
    return StoreUnavailable(message, "Check that the volume is mounted and answers.")
