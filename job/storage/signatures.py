"""Signatures of requests without a body or a query, by version 4 of AWS (SigV4).

botocore's own signer does the same for any request. It takes 0.15 ms of CPU, five times as long. A
test compares both.
"""

import hashlib
import hmac
import time
from typing import Any

EMPTY_SHA256 = hashlib.sha256().hexdigest()
# A server or proxy on the way may change it.
UNSIGNED = "user-agent"


def sign_headers(path: str, headers: dict[str, str], region: str, credentials: Any) -> None:
    """Add to the headers of a GET from S3 what makes its signature.

    Source: AWS, "Create a signed AWS API request".

    Args:
        path: encoded.
        headers: by names in lower case, `host` among them.
        region: of the bucket.
        credentials: frozen ones of botocore.
    """
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    headers |= {"x-amz-content-sha256": EMPTY_SHA256, "x-amz-date": now}
    if credentials.token:
        headers["x-amz-security-token"] = credentials.token

    names = sorted(headers.keys() - {UNSIGNED})
    signed_names = ";".join(names)
    lines = "".join(f"{name}:{headers[name]}\n" for name in names)
    request = f"GET\n{path}\n\n{lines}\n{signed_names}\n{EMPTY_SHA256}"
    digest = hashlib.sha256(request.encode()).hexdigest()
    scope = f"{now[:8]}/{region}/s3/aws4_request"
    key = f"AWS4{credentials.secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{digest}"
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope}, "
        f"SignedHeaders={signed_names}, Signature={signature}"
    )
