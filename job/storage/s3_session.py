"""What the stores of one client have in common: its requests, and what its errors mean."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import ClientError

from job.errors import JobError, SettingsError, StoreForbidden, StoreNotFound, StoreUnavailable
from job.storage.direct_gets import DirectGets
from job.storage.s3_errors import EXPIRED, translate_errors

# The ids of access keys with which a request has been granted.
WORKED: set[str | None] = set()


class Session:
    """A client, and what its requests have in common. Safe to share between threads.

    Args:
        client: of boto3.
        payer: what every request for objects says about its costs.
        direct: sends GETs past the client, if given.
    """

    def __init__(
        self, client: Any, payer: Mapping[str, str], direct: DirectGets | None = None
    ) -> None:
        self.client = client
        self.payer = payer
        self.direct = direct
        self._answered = False
        self._credentials = client._request_signer._credentials

    @contextmanager
    def translate_errors(self, address: str) -> Iterator[None]:
        """Raise one of our errors for one of the SDK's in the block.

        A token that expires in the middle is a matter of time: another attempt gets another one. A
        token that has never worked is a wrong setting.
        """
        try:
            with translate_errors(address):
                yield
        except StoreNotFound:
            # Whoever may not look is not told that there is nothing.
            self._note_answer()
            raise
        except (SettingsError, StoreForbidden) as error:
            if self._have_worked() and _is_expired(error):
                raise StoreUnavailable(
                    f"{address}: the credentials expired while they were used: {error.message}",
                    "Start again: it goes on with new credentials.",
                ) from error.__cause__
            raise
        self._note_answer()

    def _note_answer(self) -> None:
        if not self._answered:
            self._answered = True
            WORKED.add(self._key_id())

    def _have_worked(self) -> bool:
        """Whether any request of this process was granted with these credentials."""
        return self._answered or self._key_id() in WORKED

    def _key_id(self) -> str | None:
        # As it was used last: the attribute without the underscore would renew it.
        held = vars(self._credentials) if self._credentials else {}
        return held.get("_access_key") or held.get("access_key")


def _is_expired(error: JobError) -> bool:
    # An answer to HEAD has no body, so that its code is the status alone.
    cause = error.__cause__
    if isinstance(cause, ClientError) and cause.operation_name == "HeadObject":
        return read_error_code(error) == "400"
    return read_error_code(error) in EXPIRED


def read_error_code(error: JobError) -> str:
    """The S3 server's own code for the error, or nothing."""
    return read_error_answer(error).get("Error", {}).get("Code", "")


def read_error_answer(error: JobError) -> Any:
    """The answer of the S3 server that the error was made of, or nothing."""
    return getattr(error.__cause__, "response", {})
