"""The errors of the Kubernetes API as ours: whose fault they are, and whether a retry helps."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from urllib3.exceptions import HTTPError

from job.errors import JobError, SettingsError, TemporaryError


class ClusterNotFound(SettingsError):
    """There is no such object."""


class ClusterForbidden(SettingsError):
    """The API does not know our credentials, or they lack a right."""


class ClusterUnauthorized(ClusterForbidden):
    """The API does not know our credentials."""


class ClusterRefused(SettingsError):
    """An admission rule of the cluster does not let the object in."""


class ClusterTaken(JobError):
    """An object of that name exists already."""


class ClusterConflict(TemporaryError):
    """Somebody else changed something at that moment, such as a quota."""


class ClusterQuotaExceeded(TemporaryError):
    """The quota of the namespace leaves no room for the object now."""


class ClusterExpired(TemporaryError):
    """The API server has forgotten the version that a watch should go on from."""


class ClusterUnavailable(TemporaryError):
    """The API server is away or busy."""


CURES: dict[type[JobError], str] = {
    ClusterNotFound: "Check the name, the namespace (--namespace) and the cluster (KUBECONFIG).",
    ClusterForbidden: "Ask for that right (manifests/launcher-role.yaml has all that Graft needs), "
    "or log in again.",
    ClusterUnauthorized: "Log in again, or correct the credentials of the kubeconfig.",
    ClusterRefused: "Correct the template, or what was set, or ask the owner of that rule.",
    ClusterTaken: "Take another name.",
    ClusterConflict: "Try again.",
    ClusterQuotaExceeded: "Try again when other runs have ended or are deleted, or ask for a "
    "larger quota.",
    ClusterExpired: "Try again.",
    ClusterUnavailable: "Check the cluster's address (KUBECONFIG) and the network; "
    "what runs in the cluster goes on.",
    SettingsError: "Correct the template, or what was set, as the cluster says.",
}


@contextmanager
def translate_errors(action: str) -> Iterator[None]:
    """Raise our own errors in place of those of the Kubernetes client.

    Args:
        action: what was tried, in the infinitive: the message begins with "Could not {action}".
    """
    from kubernetes.client import ApiException

    try:
        yield
    # No route, or an answer that breaks off: the client lets these through from urllib3.
    except HTTPError as error:
        raise ClusterUnavailable(
            f"Could not {action}: {_find_cause(error)}.",
            CURES[ClusterUnavailable],
        ) from error
    # Above all a certificate that cannot be trusted, with a status of 0.
    except ApiException as error:
        raise build_error(error.status or 0, error.body, action, error.reason) from error


def build_error(
    status: int,
    body: bytes | str | None,
    action: str,
    reason: str | None = None,
) -> JobError:
    """Return the error for an answer with a status that is not 2xx.

    Args:
        status: of HTTP; 0 where there was no answer.
        body: of the answer. The API server names verb, resource and reason in it.
        action: what was tried, as in `translate_errors`.
        reason: takes the place of an empty body.
    """
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body or ""
    word = ""
    try:
        answered = json.loads(text)
        message, word = str(answered["message"]), str(answered.get("reason", ""))
    # The page of a proxy, for example, is not a `Status` object.
    except (ValueError, KeyError, TypeError, AttributeError):
        message = text.strip()[:300]

    kind: type[JobError]
    match status:
        case 401:
            kind = ClusterUnauthorized
        case 403:
            kind = _classify_refusal(message)
        case 404:
            kind = ClusterNotFound
        # A quota that several requests use at once answers 409, too.
        case 409:
            kind = ClusterTaken if word == "AlreadyExists" else ClusterConflict
        case 410:
            kind = ClusterExpired
        # Too slow, too many requests, or a fault of the server: a retry may help.
        case 408 | 429:
            kind = ClusterUnavailable
        case _:
            kind = ClusterUnavailable if status >= 500 else SettingsError
    message = message or reason or f"the API server answered {status}"
    return kind(f"Could not {action}: {message.rstrip('.')}.", CURES[kind])


def build_unreadable(text: str, action: str) -> JobError:
    """Return the error for a 2xx answer that is not JSON.

    Args:
        text: of the answer.
        action: what was tried, as in `translate_errors`.
    """
    kind: type[JobError] = ClusterUnavailable
    cure = CURES[kind]
    if text.lstrip().startswith("<"):
        kind, cure = ClusterForbidden, "Log in again: a proxy answers with a page in its place."
    beginning = " ".join(text.split())[:80]
    return kind(f"Could not {action}: expected JSON, received {beginning!r}.", cure)


def _classify_refusal(message: str) -> type[JobError]:
    """Return the error of an answer with status 403, by what the API server says in words.

    Its `reason` is `Forbidden` for all of these: a missing right, a quota, an admission rule.
    """
    # The second: the controller has not counted yet what a new quota has left.
    if "exceeded quota" in message or "status unknown for quota" in message:
        return ClusterQuotaExceeded
    # 'User "me" cannot create resource "jobs" …' is a missing right. What an admission plugin
    # refuses is '… is forbidden: …' without it, and a webhook says that it denied the request.
    is_admission = " is forbidden: " in message or " denied the request" in message
    if is_admission and " cannot " not in message:
        return ClusterRefused
    return ClusterForbidden


def _find_cause(error: BaseException) -> str:
    """Return the text of the innermost cause: that of urllib3 holds addresses of Python objects."""
    reason = getattr(error, "reason", None)
    if isinstance(reason, BaseException):
        return _find_cause(reason)
    cause = error.__cause__ or error.__context__
    return str(cause if isinstance(cause, OSError) else error)
