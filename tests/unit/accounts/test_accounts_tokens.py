from __future__ import annotations

import time
from typing import Any

import pytest

from serving.accounts import KeyRing, Role, TokenIssuer, TokenVerifier
from serving.accounts import tokens as tokens_module
from serving.errors import ConfigurationError, InvalidRequest, TokenExpired, TokenInvalid, TokenMissing
from tests.unit.accounts.forging import AUDIENCE, ISSUER, claims, header, sign


def test_a_token_comes_back_as_the_identity_it_was_issued_for(
    issuer: TokenIssuer, verifier: TokenVerifier
) -> None:
    before = int(time.time())
    token = issuer.issue("ada", Role.operator, ["gala", "fair"], 60)
    for _ in range(2):  # verified, then remembered
        identity = verifier.verify(token)
        assert (identity.subject, identity.role) == ("ada", Role.operator)
        assert identity.events == {"gala", "fair"}
        assert before + 60 <= identity.expires_at <= time.time() + 60
    assert verifier.verify(issuer.issue("ada", "member", None, 60)).events is None
    assert verifier.verify(issuer.issue("ada", "member", [], 60)).events == frozenset()
    assert verifier.verify(issuer.issue("ada", "member", None, 60)).token_id != identity.token_id


@pytest.mark.parametrize("token", [None, ""])
def test_no_token_is_missing(verifier: TokenVerifier, token: str | None) -> None:
    with pytest.raises(TokenMissing):
        verifier.verify(token)


def test_an_expired_token_is_expired(ring: KeyRing, verifier: TokenVerifier) -> None:
    now = int(time.time())
    with pytest.raises(TokenExpired):
        verifier.verify(sign(ring, header(ring), claims(iat=now - 60, nbf=now - 60, exp=now - 1)))


def test_a_remembered_token_expires_too(
    issuer: TokenIssuer, ring: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    verifier = TokenVerifier(ring, ISSUER, AUDIENCE, leeway_s=5)
    token = issuer.issue("ada", "member", None, 60)
    expires_at = verifier.verify(token).expires_at
    monkeypatch.setattr(tokens_module.time, "time", lambda: expires_at + 4.9)
    verifier.verify(token)
    monkeypatch.setattr(tokens_module.time, "time", lambda: expires_at + 5.0)
    with pytest.raises(TokenExpired):
        verifier.verify(token)


def test_leeway_covers_clocks_that_differ(ring: KeyRing) -> None:
    now = int(time.time())
    ahead = sign(ring, header(ring), claims(iat=now + 20, nbf=now + 20))
    assert TokenVerifier(ring, ISSUER, AUDIENCE, leeway_s=30).verify(ahead).subject == "ada"
    with pytest.raises(TokenInvalid):
        TokenVerifier(ring, ISSUER, AUDIENCE, leeway_s=10).verify(ahead)


def test_remembering_is_bounded_and_saves_the_signature_check(ring: KeyRing, issuer: TokenIssuer) -> None:
    verifier = TokenVerifier(ring, ISSUER, AUDIENCE, cache_size=3)
    checked: list[str] = []
    decode = verifier._decoder.decode

    def counting_decode(token: str, *args: Any, **kwargs: Any) -> Any:
        checked.append(token)
        return decode(token, *args, **kwargs)

    verifier._decoder.decode = counting_decode  # type: ignore[method-assign]
    tokens = [issuer.issue(f"u{n}", "member", None, 60) for n in range(4)]
    for token in tokens[:3] * 5:
        verifier.verify(token)
    assert checked == tokens[:3]
    verifier.verify(tokens[0])
    verifier.verify(tokens[3])  # crowds out the least recently used
    assert len(verifier._cache) == 3
    verifier.verify(tokens[0])
    verifier.verify(tokens[1])
    assert checked == [*tokens, tokens[1]]


@pytest.mark.parametrize("algorithms", [(), ("none",), ("HS256",), ("EdDSA", "HS256"), ("RS256",), "EdDSA"])
def test_only_eddsa_can_be_configured(ring: KeyRing, algorithms: Any) -> None:
    with pytest.raises(ConfigurationError):
        TokenVerifier(ring, ISSUER, AUDIENCE, algorithms)


@pytest.mark.parametrize(
    "arguments",
    [
        ("", "member", None, 60),
        ("a" * 129, "member", None, 60),
        ("ada", "god", None, 60),
        ("ada", "member", ["a/b"], 60),
        ("ada", "member", [f"event-{n}" for n in range(2000)], 60),
        ("ada", "member", None, 0),
        ("ada", "member", None, -5),
        ("ada", "member", None, 10**9),
    ],
)
def test_tokens_that_make_no_sense_are_not_issued(issuer: TokenIssuer, arguments: Any) -> None:
    with pytest.raises(InvalidRequest):
        issuer.issue(*arguments)


def test_answers_tell_nothing_of_the_token(issuer: TokenIssuer, verifier: TokenVerifier) -> None:
    token = issuer.issue("ada", "member", None, 60)
    with pytest.raises(TokenInvalid) as caught:
        verifier.verify(token[:-8])
    assert token[:20] not in str(caught.value)
    assert caught.value.context == {}
    assert caught.value.__cause__ is None
