"""The outcome of a run as one CloudEvent, sent to a webhook by HTTP POST.

The event is in the structured JSON mode of CloudEvents 1.0, https://cloudevents.io.
"""

import base64
import hashlib
import hmac
import json
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote, unquote, urlsplit
from urllib.request import Request

from job.settings import TelemetrySettings
from job.telemetry.delivery import Delivery, open_connection
from job.telemetry.metrics import package_version

EVENT_TYPE = "graft.run.finished"
CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
SIGNATURE_HEADER = "X-Graft-Signature-256"
ATTEMPTS = 4


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


def post(settings: TelemetrySettings, event: RunFinished) -> Delivery:
    """Begin to send an event, and again where that may help.

    Args:
        settings: the address of the receiver, and the secret that signs.
        event: what is sent.
    """
    request = _compose_request(settings, event.to_json())
    complaint = "the webhook has not taken the outcome"
    return Delivery(complaint, lambda: open_connection(request).close(), attempts=ATTEMPTS)


def _compose_request(settings: TelemetrySettings, body: bytes) -> Request:
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
    return Request(address, body, headers, method="POST")
