"""Access tokens: JWTs of the RFC 9068 form, signed with Ed25519, checked as RFC 8725 asks."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from serving.accounts.identities import Role
from serving.accounts.keys import KeyRing, VerificationKeys
from serving.errors import ConfigurationError, InvalidRequest, TokenExpired, TokenInvalid, TokenMissing
from serving.registry.identifiers import check_event_id

MAX_TOKEN_CHARS = 4096
MAX_LIFETIME_S = 366 * 24 * 3600
_TYPE = "at+jwt"
_ALGORITHM = "EdDSA"
_HEADER_MEMBERS = frozenset({"alg", "typ", "kid"})
# Expiry is ours to check, last: only a token that is good in all else is told that it has expired.
_OPTIONS: Any = {
    "require": ["iss", "aud", "exp", "nbf", "iat", "sub", "jti"],
    "strict_aud": True,
    "verify_exp": False,
}
_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}")
_MAX_SUBJECT_CHARS = 128


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """What a token says, its signature and times checked. What has been revoked since it cannot say.

    Attributes:
        subject: the id of the account.
        role: the most its bearer may do.
        events: ids of the events the token is bound to; None means all that the account reaches.
        session_id: of the sign-in it comes from; None for a token that `rollcall token` made.
        token_id: `jti`.
        issued_at, expires_at: seconds since the epoch.
    """

    subject: str
    role: Role
    events: frozenset[str] | None
    session_id: str | None
    token_id: str
    issued_at: int
    expires_at: int


class TokenIssuer:
    """Signs tokens with the newest key of a ring.

    Args:
        key_ring: loaded, with a private key.
        issuer, audience: the `iss` and `aud` of every token, as the verifier expects them.
    """

    def __init__(self, key_ring: KeyRing, issuer: str, audience: str) -> None:
        self._key_ring = key_ring
        self._issuer = issuer
        self._audience = audience

    def issue(
        self,
        subject: str,
        role: Role | str,
        events: Iterable[str] | None,
        lifetime_s: int,
        session_id: str | None = None,
    ) -> str:
        """A new token.

        Args:
            subject: the id of the account, 1 to 128 characters.
            role: what the bearer may do.
            events: the ids of the events the token reaches, each of which must exist already: one that is
                created later is not meant. None means all, an empty list none.
            lifetime_s: 1 second to 366 days.
            session_id: of the sign-in whose end is the token's end too, or None.

        Raises:
            InvalidRequest: an argument is out of range, or so many events that no request could carry the
                token.
        """
        if not 1 <= len(subject) <= _MAX_SUBJECT_CHARS:
            raise InvalidRequest("A subject has 1 to 128 characters.", field="subject")
        if not 1 <= lifetime_s <= MAX_LIFETIME_S:
            raise InvalidRequest("A token lives 1 second to 366 days.", field="lifetime_s")
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": subject,
            "jti": secrets.token_urlsafe(16),
            "iat": now,
            "nbf": now,
            "exp": now + int(lifetime_s),
            "role": _read_role(role).value,
        }
        if events is not None:
            claims["events"] = sorted({check_event_id(event_id) for event_id in events})
        if session_id is not None:
            claims["sid"] = session_id
        key = self._key_ring.signing_key
        token = jwt.encode(claims, key.private, algorithm=_ALGORITHM, headers={"typ": _TYPE, "kid": key.kid})
        if len(token) > MAX_TOKEN_CHARS:
            raise InvalidRequest("The token is bound to too many events.", field="events")
        return token


class TokenVerifier:
    """Decides whether a token is one of ours.

    A token that passed is remembered by its hash until it expires, its key is withdrawn, or newer tokens
    crowd it out; its expiry is checked at every use.

    Args:
        keys: a loaded KeyRing, or VerificationKeys where no private key should be.
        issuer, audience: what `iss` and `aud` must equal.
        algorithms: what `alg` may be. Only EdDSA exists here; the list is a setting so that a key of
            another kind can never widen it by itself.
        leeway_s: how far clocks may differ.
        cache_size: how many passed tokens to remember.

    Raises:
        ConfigurationError: an algorithm other than EdDSA, or none.
    """

    def __init__(
        self,
        keys: VerificationKeys,
        issuer: str,
        audience: str,
        algorithms: Sequence[str] = (_ALGORITHM,),
        *,
        leeway_s: float = 10.0,
        cache_size: int = 4096,
    ) -> None:
        if list(algorithms) != [_ALGORITHM]:
            raise ConfigurationError(
                "The token algorithms must be exactly EdDSA.", algorithms=list(algorithms)
            )
        if not issuer or not audience:
            raise ConfigurationError("The token issuer and audience must not be empty.")
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._leeway_s = leeway_s
        self._cache_size = cache_size
        self._cache: OrderedDict[bytes, tuple[TokenClaims, str]] = OrderedDict()
        self._decoder = jwt.PyJWT(options=_OPTIONS)

    def verify(self, token: str | None) -> TokenClaims:
        """What a token says, once it is known to be ours.

        Raises:
            TokenMissing: None or empty.
            TokenExpired: one of ours, and over.
            TokenInvalid: anything else.
        """
        if not token:
            raise TokenMissing
        if len(token) > MAX_TOKEN_CHARS:
            raise TokenInvalid("The token is too long.")
        try:
            digest = hashlib.sha256(token.encode("ascii")).digest()
        except UnicodeEncodeError:
            raise TokenInvalid from None
        remembered = self._cache.get(digest)
        if remembered is not None:
            claims, kid = remembered
            if self._is_over(claims):
                self._cache.pop(digest, None)
                raise TokenExpired
            if self._keys.find(kid) is not None:
                self._cache.move_to_end(digest)
                return claims
            self._cache.pop(digest, None)
        claims, kid = self._verify_afresh(token)
        if self._is_over(claims):
            raise TokenExpired
        self._cache[digest] = claims, kid
        if len(self._cache) > self._cache_size:
            self._cache.popitem(last=False)
        return claims

    def _is_over(self, claims: TokenClaims) -> bool:
        return time.time() >= claims.expires_at + self._leeway_s

    def _verify_afresh(self, token: str) -> tuple[TokenClaims, str]:
        try:
            kid, key = self._select_key(jwt.get_unverified_header(token))
            claims = self._decoder.decode(
                token,
                key,
                algorithms=[_ALGORITHM],
                issuer=self._issuer,
                audience=self._audience,
                leeway=self._leeway_s,
            )
            return _read_claims(claims), kid
        except (jwt.PyJWTError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
            # The decoder's words would tell an attacker which check failed.
            raise TokenInvalid from None

    def _select_key(self, header: dict[str, Any]) -> tuple[str, Ed25519PublicKey]:
        """The key a header names. Members we never write (crit, jwk, jku, x5c, ...) are refused unread."""
        if header.keys() != _HEADER_MEMBERS or header["alg"] != _ALGORITHM or header["typ"] != _TYPE:
            raise TokenInvalid
        kid = header["kid"]
        if not isinstance(kid, str) or _THUMBPRINT.fullmatch(kid) is None:
            raise TokenInvalid
        key = self._keys.find(kid)
        if key is None:
            raise TokenInvalid
        return kid, key


def _read_role(role: Role | str) -> Role:
    try:
        return Role(role)
    except ValueError:
        raise InvalidRequest(
            "There is no such role.", field="role", roles=[each.value for each in Role]
        ) from None


def _read_claims(claims: dict[str, Any]) -> TokenClaims:
    """The verified claims; ValueError when one has the wrong form."""
    events = claims.get("events")
    if events is not None and not (
        isinstance(events, list) and all(isinstance(each, str) for each in events)
    ):
        raise ValueError
    for name in ("sub", "jti"):
        if not (isinstance(claims[name], str) and claims[name]):
            raise ValueError
    session_id = claims.get("sid")
    if session_id is not None and not isinstance(session_id, str):
        raise ValueError
    if not all(type(claims[name]) is int for name in ("exp", "nbf", "iat")):
        raise ValueError
    return TokenClaims(
        claims["sub"],
        Role(claims["role"]),
        None if events is None else frozenset(events),
        session_id,
        claims["jti"],
        claims["iat"],
        claims["exp"],
    )
