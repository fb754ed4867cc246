"""Who asks: a token, an API key, or a session that is renewed before it ends."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from rollcall_client.models import Tokens

RENEW_BEFORE = timedelta(seconds=20)
"""So long before its end a token is renewed: clocks differ, and a request takes its time."""


@dataclass(frozen=True, slots=True)
class Session:
    """What a sign-in gave; keep it as secret as a password.

    Attributes:
        access_token: what requests carry.
        expires_at: when that ends, in UTC.
        refresh_token: gives a new session, once; None where there is none, as after a sign-in by face.
    """

    access_token: str
    expires_at: datetime
    refresh_token: str | None

    def __repr__(self) -> str:
        return f"Session(expires_at={self.expires_at!r})"

    def is_ending(self, now: datetime) -> bool:
        """Whether it is time to renew it."""
        return now >= self.expires_at - RENEW_BEFORE


def make_session(tokens: Tokens, now: datetime) -> Session:
    """The session of an answer that came at `now`."""
    return Session(tokens.access_token, now + timedelta(seconds=tokens.expires_in_s), tokens.refresh_token)
