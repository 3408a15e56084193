"""One way to tell another service something: in the background, and in nobody's way.

A service that is away, slow or refuses costs a warning. No warning names its address, which may
hold a password.
"""

import logging
import ssl
import threading
import time
from collections.abc import Callable
from http.client import HTTPException
from urllib import request
from urllib.error import HTTPError, URLError
from urllib.response import addinfourl

logger = logging.getLogger(__name__)

# For each read from a service.
TIMEOUT_SECONDS = 5.0
# For one delivery, the look-up of the service's name and all attempts included.
DEADLINE_SECONDS = 8.0
# Before the second attempt. Each further pause is twice as long.
PAUSE_SECONDS = 0.5
# How a service that is away, or answers something else, shows itself.
FAILURES = (OSError, HTTPException, ValueError, KeyError, TypeError)


class Delivery:
    """Tells a service something, and again where that may help.

    Args:
        complaint: what a warning says if it fails: "the webhook has not taken the outcome".
        deliver: does it once. It raises one of `FAILURES` if it fails.
        attempts: how often it is tried. A refusal is final.
        deadline: seconds for all of them. By default `DEADLINE_SECONDS`.
    """

    def __init__(
        self,
        complaint: str,
        deliver: Callable[[], object],
        *,
        attempts: int = 1,
        deadline: float | None = None,
    ) -> None:
        seconds = DEADLINE_SECONDS if deadline is None else deadline
        self._deadline = time.monotonic() + seconds
        self._complaint = complaint
        self._deliver = deliver
        self._attempts = attempts
        self._failure = "no answer in time"
        # A thread, since looking up a name has no time limit of its own.
        self._thread = threading.Thread(target=self._try_until_taken, name="tell", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait until it is delivered or given up, at most until the deadline."""
        self._thread.join(max(0.0, self._deadline - time.monotonic()))
        if failure := self._failure:
            logger.warning("%s: %s", self._complaint, failure)

    def _try_until_taken(self) -> None:
        for attempt in range(self._attempts):
            if attempt:
                time.sleep(PAUSE_SECONDS * 2 ** (attempt - 1))
            error = try_once(self._deliver)
            self._failure = describe_failure(error) if error else ""
            if error is None or is_final(error):
                return


def try_once(deliver: Callable[[], object]) -> Exception | None:
    """Tell a service something once. Returns the one of `FAILURES` that came of it, if any."""
    try:
        deliver()
    except FAILURES as error:
        if isinstance(error, HTTPError):
            error.close()
        return error
    return None


def is_final(error: Exception) -> bool:
    """Whether a service has refused a request, so that the same one would be refused again."""
    return isinstance(error, HTTPError) and error.code != 429 and error.code < 500


def describe_failure(error: Exception) -> str:
    """Why a request failed, in words that hold nothing of the address or of the other side."""
    if isinstance(error, HTTPError):
        # Not the reason in words: the receiver chooses it.
        return f"HTTP {error.code}"
    # Only the kind of error: its text may hold the address.
    cause = error.reason if isinstance(error, URLError) else error
    return type(cause).__name__


def open_connection(given: request.Request, context: ssl.SSLContext | None = None) -> addinfourl:
    """Send a request once, through the proxy of the environment if there is one.

    Args:
        given: the request.
        context: whom to trust. By default the authorities of this machine.

    Raises:
        HTTPError: the answer is not one of success. A redirection is such an answer, because
            following it would turn the POST into a GET.
        OSError, HTTPException, ValueError: there is no answer.
    """
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler(),
        request.HTTPHandler(),
        request.HTTPSHandler(context=context),
        request.HTTPDefaultErrorHandler(),
        request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    answer: addinfourl = opener.open(given, timeout=TIMEOUT_SECONDS)
    return answer
