"""The client of commands that send much: patient with what passes, and clear about what ends the command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from rollcall_client import AsyncClient, ConnectionFailed, Retries, ServiceError
from rollcall_client import RollcallError as ServiceRefusal
from serving.commands.service_refusals import NOT_REACHED, explain_connection
from serving.errors import CommandError

PATIENCE = Retries(max_tries=12, first_pause_s=0.5, longest_pause_s=70.0)
"""The pause is beyond the minute that rate limits count by."""
ANSWER_TIMEOUT_S = 900.0
"""For one picture, all tries together: a service may restart meanwhile."""
_FATAL_CODES = frozenset({"unknown_event", "event_closed", "pack_mismatch", "forbidden", "too_many_jobs"})


class Refusal(Exception):
    """The service refused this one request, for what it holds; others may do better."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


def connect(url: str, token: str, transport: httpx.AsyncBaseTransport | None = None) -> AsyncClient:
    """A client of the service, as an account or API key sees it.

    Args:
        transport: for tests.

    Raises:
        CommandError: the URL or the token is none.
    """
    try:
        return AsyncClient(
            url, token=token, retries=PATIENCE, timeout_s=ANSWER_TIMEOUT_S, transport=transport
        )
    except ValueError as error:
        raise explain_connection(error) from None


@contextmanager
def explain_refusals() -> Iterator[None]:
    """What the client raises in this block, as commands tell it.

    Raises:
        Refusal: a 4xx that is about one request alone.
        CommandError: no request can succeed, or the service stays away.
    """
    try:
        yield
    except ServiceError as error:
        if error.status == 401:
            raise CommandError(
                f"{error.detail}; get a token with: rollcall token, and repeat the command"
            ) from None
        passes = error.status == 429 or error.status >= 500 or error.code == str(error.status)
        if passes or error.code in _FATAL_CODES:
            raise CommandError(
                f"the service says {error.code}: {error.detail} {error.cure}".strip()
            ) from None
        raise Refusal(error.code, error.detail) from None
    except ConnectionFailed as error:
        raise CommandError(f"{error}. {NOT_REACHED}") from None
    except ServiceRefusal as error:
        raise CommandError(f"{error}. {error.cure}") from None
