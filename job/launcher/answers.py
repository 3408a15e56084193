"""What the Kubernetes API answers, in our words: whose fault, and whether a retry helps."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from urllib3.exceptions import HTTPError

from job.errors import JobError, SettingsError, TemporaryError

BUSY = (408, 429)


class ClusterNotFound(SettingsError):
    """There is no such object."""


class ClusterForbidden(SettingsError):
    """The API does not know us, or does not let us."""


class ClusterConflict(JobError):
    """An object of that name is there already."""


class ClusterExpired(TemporaryError):
    """What was asked for lies too far back: read anew."""


class ClusterUnavailable(TemporaryError):
    """The API server is away or busy."""


CURES: dict[type[JobError], str] = {
    ClusterNotFound: "Check the name, the namespace (--namespace) and the cluster (KUBECONFIG).",
    ClusterForbidden: "Ask for that right (manifests/launcher-role.yaml has all that Graft needs), or log in again.",
    ClusterConflict: "Take another name.",
    ClusterExpired: "Try again.",
    ClusterUnavailable: "Check the cluster's address (KUBECONFIG) and the network; what runs there goes on.",
    SettingsError: "Correct the template, or what was set, as the cluster says.",
}


@contextmanager
def translated(asked: str) -> Iterator[None]:
    """Let what the client raises leave as one of ours, with what was `asked` in its message.

    What is wrong on the way (no route, a broken answer) comes from urllib3; a certificate that
    cannot be trusted comes as an `ApiException` of status 0; what the server refuses comes by
    `refusal`.
    """
    from kubernetes.client import ApiException

    try:
        yield
    except HTTPError as error:
        raise ClusterUnavailable(
            f"Could not {asked}: {_innermost(error)}.", CURES[ClusterUnavailable]
        ) from error
    except ApiException as error:
        raise _error(
            error.status or 0, f"Could not {asked}: {_message(error.body) or error.reason}."
        ) from error


def refusal(status: int, body: bytes, asked: str) -> JobError:
    """The error for an answer of `status`; the server's own message names verb, resource and reason."""
    return _error(
        status, f"Could not {asked}: {_message(body) or f'the API server answered {status}'}."
    )


def _error(status: int, message: str) -> JobError:
    kind = _kind(status)
    return kind(message.replace("..", "."), CURES[kind])


def _kind(status: int) -> type[JobError]:
    match status:
        case 401 | 403:
            return ClusterForbidden
        case 404:
            return ClusterNotFound
        case 409:
            return ClusterConflict
        case 410:
            return ClusterExpired
    return ClusterUnavailable if status in BUSY or status >= 500 else SettingsError


def _message(body: Any) -> str:
    """The message of a `Status` object; anything else (a proxy's page) as it is, in short."""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body or "")
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text.strip()[:300]


def _innermost(error: BaseException) -> str:
    """The cause without urllib3's wrappings, which hold the addresses of Python objects."""
    reason = getattr(error, "reason", None)
    if isinstance(reason, BaseException):
        return _innermost(reason)
    cause = error.__cause__ or error.__context__
    return str(cause if isinstance(cause, OSError) else error)
