"""Who may ask, how much, and what is remembered of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, SecretStr, field_validator

from serving.settings.section import Section

if TYPE_CHECKING:
    from limits import RateLimitItem


class AuthSettings(Section):
    """How callers prove who they are."""

    issuer: str = Field("rollcall", min_length=1)
    audience: str = Field("rollcall", min_length=1)
    token_lifetime_s: int = Field(
        12 * 3600, ge=60, le=90 * 86400, description="Of tokens that `rollcall token` makes."
    )
    access_lifetime_s: int = Field(900, ge=30, le=86400, description="Of access tokens of a sign-in.")
    session_lifetime_s: int = Field(
        30 * 86400, ge=300, le=366 * 86400, description="Of a sign-in without use of its refresh token."
    )
    sign_up: bool = Field(True, description="Whether people may make accounts for themselves.")
    face_sign_in: bool = Field(
        False, description="Whether a picture of the account's own person may stand in for its password."
    )
    min_password_chars: int = Field(10, ge=8, le=128)
    leeway_s: float = Field(
        10.0, ge=0, le=120, description="Clock difference forgiven when checking a token."
    )


class RateLimitSettings(Section):
    """How much one identity may ask: `10/minute`, several separated by `;`, empty for no limit."""

    redis_url: SecretStr | None = Field(
        None,
        description="Where the counts live (redis:// or rediss://); none: each ingress replica has its own.",
    )
    allow_insecure: bool = Field(
        False, description="Use a Redis beyond this machine without TLS: only on a network you trust."
    )
    recognition: str = Field("", description="Recognise, verify, search, detect, embed, compare.")
    enrolment: str = Field("", description="Enrol and import.")
    management: str = Field("1200/minute", description="All else that needs a token or key.")
    sign_in_per_account: str = Field("10/minute", description="Failed sign-ins, for each account name.")
    sign_in_per_address: str = Field("60/minute", description="Failed sign-ins, for each client address.")
    sign_up_per_address: str = Field("20/hour", description="Sign-ups, for each client address.")

    @field_validator(
        "recognition",
        "enrolment",
        "management",
        "sign_in_per_account",
        "sign_in_per_address",
        "sign_up_per_address",
    )
    @classmethod
    def _are_limits(cls, text: str) -> str:
        parse_limits(text)
        return text

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(("redis://", "rediss://")):
            raise ValueError("not a URL that begins with redis:// or rediss://")
        return url


def parse_limits(text: str) -> list[RateLimitItem]:
    """The limits in `text`, such as `10/minute;100/hour`; none when it is empty.

    Raises:
        ValueError: it is not of that form.
    """
    from limits import parse_many  # most replicas have settings and no limits

    if not text.strip():
        return []
    try:
        items = parse_many(text)
    except ValueError:
        raise ValueError(f"{text!r} is not of the form `10/minute` or `10/minute;100/hour`") from None
    if any(item.amount < 1 or item.get_expiry() < 1 for item in items):
        raise ValueError(f"{text!r} allows nothing; leave it empty for no limit")
    return items


class AuditSettings(Section):
    """What is remembered of who did what."""

    recognitions: bool = Field(True, description="Whether recognitions are in the audit trail too.")
    retention_days: int = Field(365, ge=1, le=3660)
