"""Accounts, sign-in, API keys."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, ConfigDict, Field

from serving.accounts.access_check import MAX_EVENTS
from serving.accounts.identities import Permission, Role, Scope
from serving.accounts.passwords import MAX_PASSWORD_CHARS
from serving.api.schemas.base import Schema

AccountName = Annotated[
    str, Field(description="Unique; an e-mail address will do.", examples=["ada@example.org"])
]
Password = Annotated[
    str,
    Field(
        max_length=MAX_PASSWORD_CHARS,
        description="At least `auth.min_password_chars` characters, and not the name.",
        examples=["correct horse battery staple"],
    ),
]
GivenPassword = Annotated[
    str, Field(max_length=MAX_PASSWORD_CHARS, examples=["correct horse battery staple"])
]
EventIds = Annotated[
    list[str], Field(max_length=MAX_EVENTS, description="Ids of events.", examples=[["gala-2026"]])
]


class NewAccount(Schema):
    """An account to create."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"name": "ada@example.org", "password": "correct horse battery staple"}]
        },
    )

    name: AccountName
    password: Password | None = Field(
        None, description="Who signs up gives one; of an administrator's making an account may have none."
    )
    role: Role | None = Field(None, description="Default: member. Only administrators choose.")
    all_events: bool | None = Field(None, description="Whether it reaches every event. Only administrators.")
    events: EventIds | None = Field(None, description="The events it reaches. Only administrators choose.")


class AccountChange(Schema):
    """What to change of an account; what is left out stays."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"role": "operator", "events": ["gala-2026"]}, {"disabled": True}]},
    )

    role: Role | None = None
    disabled: bool | None = Field(None, description="Disabling ends its sessions and tokens at once.")
    all_events: bool | None = Field(None, description="Whether it reaches every event.")
    events: EventIds | None = Field(None, description="The only events it reaches from now on.")


class AccountSummary(Schema):
    """An account in a list."""

    id: str = Field(description="Never changes.", examples=["0f8b7c52a1d94be2a6a3b0f2c4e85d17"])
    name: str = Field(examples=["ada@example.org"])
    role: Role
    disabled: bool
    has_password: bool = Field(description="Whether it can sign in with a password.")
    all_events: bool = Field(description="Whether it reaches every event.")
    created_at: datetime


class AccountView(AccountSummary):
    """An account."""

    events: list[str] = Field(description="The events it reaches, unless all.", examples=[["gala-2026"]])


class AccountPage(Schema):
    """One page of accounts."""

    accounts: list[AccountSummary]
    next_cursor: str | None = Field(description="Give it as `cursor` to get the next page; null at the end.")


class PasswordChange(Schema):
    """A new password."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"old": "correct horse battery staple", "new": "an even longer passphrase"}]
        },
    )

    old: GivenPassword | None = Field(
        None, description="The password so far. Administrators may leave it out, and who has none yet."
    )
    new: Password


class OwnPersonLink(Schema):
    """Which enrolled person is the account's own."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"event_id": "gala-2026", "person_id": "ada"}]}
    )

    event_id: str
    person_id: str = Field(description="The person's id; enrolled there.")


class OwnPersonView(Schema):
    """The enrolled person that an account owns."""

    event_id: str = Field(examples=["gala-2026"])
    person_id: str = Field(examples=["ada"])


class SignIn(Schema):
    """Name and password."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"name": "ada@example.org", "password": "correct horse battery staple"}]
        },
    )

    name: str = Field(max_length=256)
    password: GivenPassword


class FaceSignIn(Schema):
    """What is sent beside the picture."""

    name: str | None = Field(None, max_length=256, description="The account's name.")


class Refresh(Schema):
    """A refresh token, which is good once."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"refresh_token": "rcr_..."}]})

    refresh_token: str = Field(max_length=4096)


class Tokens(Schema):
    """What a sign-in or its renewal gives."""

    access_token: str = Field(description="Send it as `Authorization: Bearer <token>`.")
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105
    expires_in_s: int = Field(description="Seconds for which the access token is good.", examples=[900])
    refresh_token: str | None = Field(
        description="Exchange it for new tokens at /v1/auth/refresh, once; null after a sign-in by face."
    )


class WhoAmI(Schema):
    """What the credentials of this request stand for."""

    kind: Literal["account", "api_key"]
    id: str = Field(description="Of the account or the key.")
    name: str = Field(description="Of the account, or of the account that made the key.")
    role: Role | None = Field(description="What the account may do by this token; null for a key.")
    permissions: list[Permission]
    events: list[str] | None = Field(description="Ids of the events within reach; null for all.")
    expires_at: datetime | None = Field(description="Of these credentials.")


class NewApiKey(Schema):
    """A key to make."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"name": "door camera", "scopes": ["recognise"], "events": ["gala-2026"]}]
        },
    )

    name: str = Field(description="For people to read.")
    scopes: list[Scope] = Field(min_length=1, max_length=len(Scope))
    events: EventIds | None = Field(
        None, description="The events it is bound to, at least one; or all_events."
    )
    all_events: bool = Field(False, description="Whether it reaches every event that its account reaches.")
    expires_at: AwareDatetime | None = Field(None, description="Left out: never.")


class ApiKeyView(Schema):
    """A key, without its secret."""

    id: str = Field(examples=["5b0de8a9c70f4cc6b5f6a1f6f4c0c9d3"])
    name: str = Field(examples=["door camera"])
    account: str = Field(description="Name of the account that made it.", examples=["ada@example.org"])
    scopes: list[Scope]
    all_events: bool
    events: list[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None = Field(description="To the minute.")
    revoked_at: datetime | None


class MadeApiKey(ApiKeyView):
    """A key that was just made, with its text."""

    key: str = Field(description="Shown this once. Send it as `X-API-Key` or `Authorization: Bearer`.")


class ApiKeyPage(Schema):
    """One page of keys."""

    api_keys: list[ApiKeyView]
    next_cursor: str | None = Field(description="Give it as `cursor` to get the next page; null at the end.")


class JsonWebKey(Schema):
    """A public key of the token signer (RFC 7517, RFC 8037)."""

    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    x: str
    kid: str
    use: Literal["sig"]
    alg: Literal["EdDSA"]


class JsonWebKeySet(Schema):
    """Every key whose tokens are accepted."""

    keys: list[JsonWebKey]


class RotatedKey(Schema):
    """The key that signs from now on."""

    kid: str
