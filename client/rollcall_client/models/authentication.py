"""Made by client_generator from docs/openapi.json: answers of authentication."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from rollcall_client.models.common import Permission, Role
from rollcall_client.request import Answer


class JsonWebKey(Answer):
    """A public key of the token signer (RFC 7517, RFC 8037)."""

    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    x: str
    kid: str
    use: Literal["sig"]
    alg: Literal["EdDSA"]


class JsonWebKeySet(Answer):
    """Every key whose tokens are accepted."""

    keys: list[JsonWebKey]


class RotatedKey(Answer):
    """The key that signs from now on."""

    kid: str


class Tokens(Answer):
    """What a sign-in or its renewal gives."""

    access_token: str = Field(repr=False)
    """Send it as `Authorization: Bearer <token>`."""
    token_type: Literal["Bearer"] = "Bearer"
    expires_in_s: int
    """Seconds for which the access token is good."""
    refresh_token: str | None = Field(repr=False)
    """Exchange it for new tokens at /v1/auth/refresh, once; null after a sign-in by face."""


class WhoAmI(Answer):
    """What the credentials of this request stand for."""

    kind: Literal["account", "api_key"] | str
    id: str
    """Of the account or the key."""
    name: str
    """Of the account, or of the account that made the key."""
    role: Role | str | None
    """What the account may do by this token; null for a key."""
    permissions: list[Permission | str]
    events: list[str] | None
    """Ids of the events within reach; null for all."""
    expires_at: datetime | None
    """Of these credentials."""
