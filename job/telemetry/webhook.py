"""The outcome of a run as one CloudEvent, sent to a webhook by HTTP POST.

The event is in the structured JSON mode of CloudEvents 1.0, https://cloudevents.io.
"""

import base64
import hashlib
import hmac
import json
import logging
import socket
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPException
from urllib import request
from urllib.error import HTTPError, URLError
from urllib.parse import quote, unquote, urlsplit
from urllib.response import addinfourl

from job.settings import TelemetrySettings
from job.telemetry.metrics import package_version

logger = logging.getLogger(__name__)

EVENT_TYPE = "graft.run.finished"
CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
SIGNATURE_HEADER = "X-Graft-Signature-256"
ATTEMPTS = 4
# Before the second attempt. Each further pause is twice as long.
PAUSE_SECONDS = 0.5
# For each read from the receiver.
TIMEOUT_SECONDS = 5.0
# For all attempts together, the look-up of the receiver's name included.
DEADLINE_SECONDS = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished:
    """The event that tells how a run ended.

    Attributes:
        model: the model's name.
        result: the `Result.as_dict()` of the run.
        source: which process says so, as a relative URI with the name of the pod or machine.
        id: another one for each attempt of a run. All requests that tell of one end have the same.
        time: when the run ended, as RFC 3339 has it.
    """

    model: str
    result: Mapping[str, object]
    source: str = field(default_factory=lambda: f"/graft/{quote(socket.gethostname())}")
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    time: str = field(default_factory=lambda: datetime.now(UTC).isoformat())

    def to_json(self) -> bytes:
        """The event in the JSON format of CloudEvents 1.0."""
        event = {
            "specversion": "1.0",
            "type": EVENT_TYPE,
            "source": self.source,
            "id": self.id,
            "time": self.time,
            "subject": self.model,
            "datacontenttype": "application/json",
            "data": self.result,
        }
        return json.dumps(event, ensure_ascii=False, allow_nan=False).encode()


class Posting:
    """Sends an event in the background, and again where that may help.

    A receiver that is away, slow or refuses costs a warning. No message names its address, which
    may hold a password.

    Args:
        settings: the address of the receiver, and the secret that signs.
        event: what is sent.
    """

    def __init__(self, settings: TelemetrySettings, event: RunFinished) -> None:
        self._deadline = time.monotonic() + DEADLINE_SECONDS
        self._request = _compose_request(settings, event.to_json())
        self._failure = "no answer in time"
        # A thread, since looking up a name has no time limit of its own.
        self._thread = threading.Thread(target=self._post_until_taken, name="webhook", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait until the event is taken or given up, at most `DEADLINE_SECONDS` from its start."""
        self._thread.join(max(0.0, self._deadline - time.monotonic()))
        if failure := self._failure:
            logger.warning("the webhook has not taken the outcome: %s", failure)

    def _post_until_taken(self) -> None:
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(PAUSE_SECONDS * 2 ** (attempt - 1))
            try:
                with open_connection(self._request):
                    self._failure = ""
                    return
            except HTTPError as error:
                self._failure = describe_failure(error)
                error.close()
                if error.code != 429 and error.code < 500:
                    return
            except (OSError, HTTPException, ValueError) as error:
                self._failure = describe_failure(error)


def _compose_request(settings: TelemetrySettings, body: bytes) -> request.Request:
    """The signed request, with the user and the password of the address in a header."""
    parts = urlsplit(settings.webhook_url.get_secret_value())
    user_info, _, host = parts.netloc.rpartition("@")
    headers = {"Content-Type": CONTENT_TYPE, "User-Agent": f"graft/{package_version()}"}
    if user_info:
        token = base64.b64encode(unquote(user_info).encode()).decode()
        headers["Authorization"] = f"Basic {token}"
    if secret := settings.webhook_secret.get_secret_value():
        signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        headers[SIGNATURE_HEADER] = f"sha256={signature}"
    address = parts._replace(netloc=host, fragment="").geturl()
    return request.Request(address, body, headers, method="POST")


def describe_failure(error: Exception) -> str:
    """Why a request failed, in words that hold nothing of the address or of the other side."""
    if isinstance(error, HTTPError):
        # Not the reason in words: the receiver chooses it.
        return f"HTTP {error.code}"
    # Only the kind of error: its text may hold the address.
    cause = error.reason if isinstance(error, URLError) else error
    return type(cause).__name__


def open_connection(given: request.Request) -> addinfourl:
    """Send a request once, through the proxy of the environment if there is one.

    Raises:
        HTTPError: the answer is not one of success. A redirection is such an answer, because
            following it would turn the POST into a GET.
        OSError, HTTPException, ValueError: there is no answer.
    """
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler(),
        request.HTTPHandler(),
        request.HTTPSHandler(),
        request.HTTPDefaultErrorHandler(),
        request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    answer: addinfourl = opener.open(given, timeout=TIMEOUT_SECONDS)
    return answer
