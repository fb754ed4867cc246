from __future__ import annotations

import hashlib
import hmac
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from serving.accounts import KeyRing, TokenIssuer, TokenVerifier, VerificationKeys
from serving.accounts.keys import compute_thumbprint
from serving.accounts.tokens import MAX_TOKEN_CHARS
from serving.errors import TokenInvalid
from tests.unit.accounts.forging import AUDIENCE, ISSUER, claims, encode, header, sign


def test_the_hand_made_token_that_the_table_varies_is_good(ring: KeyRing, verifier: TokenVerifier) -> None:
    assert verifier.verify(sign(ring, header(ring), claims())).subject == "ada"


NOW = int(time.time())
BAD_CLAIMS: dict[str, dict[str, Any]] = {
    "no iss": {"iss": None},
    "other iss": {"iss": ISSUER + ".evil"},
    "iss list": {"iss": [ISSUER]},
    "no aud": {"aud": None},
    "other aud": {"aud": "other"},
    "aud list": {"aud": [AUDIENCE, "other"]},
    "no exp": {"exp": None},
    "exp text": {"exp": "tomorrow"},
    "exp infinite": {"exp": float("inf")},
    "exp nan": {"exp": float("nan")},
    "exp true": {"exp": True},
    "exp float": {"exp": NOW + 1e6 + 0.5},
    "no nbf": {"nbf": None},
    "not yet valid": {"nbf": NOW + 10**6},
    "nbf list": {"nbf": [NOW]},
    "no iat": {"iat": None},
    "issued in the future": {"iat": NOW + 10**6},
    "iat text": {"iat": "x"},
    "no sub": {"sub": None},
    "empty sub": {"sub": ""},
    "sub number": {"sub": 7},
    "no jti": {"jti": None},
    "jti list": {"jti": ["t1"]},
    "no role": {"role": None},
    "unknown role": {"role": "god"},
    "role list": {"role": ["administrator"]},
    "events text": {"events": "gala"},
    "events of numbers": {"events": [1]},
    "events object": {"events": {"gala": 1}},
}


@pytest.mark.parametrize("change", BAD_CLAIMS.values(), ids=BAD_CLAIMS.keys())
def test_well_signed_tokens_with_wrong_claims_are_refused(
    ring: KeyRing, verifier: TokenVerifier, change: dict[str, Any]
) -> None:
    with pytest.raises(TokenInvalid):
        verifier.verify(sign(ring, header(ring), claims(**change)))


BAD_HEADERS: dict[str, dict[str, Any]] = {
    "alg none": {"alg": "none"},
    "alg missing": {"alg": None},
    "alg HS256": {"alg": "HS256"},
    "alg RS256": {"alg": "RS256"},
    "alg ES256": {"alg": "ES256"},
    "alg in other case": {"alg": "eddsa"},
    "alg list": {"alg": ["EdDSA"]},
    "typ JWT": {"typ": "JWT"},
    "typ missing": {"typ": None},
    "kid missing": {"kid": None},
    "kid unknown": {"kid": "A" * 43},
    "kid empty": {"kid": ""},
    "kid number": {"kid": 1},
    "kid list": {"kid": ["x"]},
    "kid path": {"kid": "../../../../dev/null"},
    "kid file": {"kid": "signing-000001.pem"},
    "kid SQL": {"kid": "x' UNION SELECT 'key' --"},
    "kid NUL": {"kid": "\x00" * 43},
    "crit": {"crit": ["exp"]},
    "crit b64": {"crit": ["b64"], "b64": False},
    "b64": {"b64": False},
    "jku": {"jku": "https://evil.test/jwks.json"},
    "x5u": {"x5u": "https://evil.test/cert"},
    "x5c": {"x5c": ["AAAA"]},
    "zip": {"zip": "DEF"},
    "cty": {"cty": "JWT"},
}


@pytest.mark.parametrize("change", BAD_HEADERS.values(), ids=BAD_HEADERS.keys())
def test_well_signed_tokens_with_another_header_are_refused(
    ring: KeyRing, verifier: TokenVerifier, change: dict[str, Any]
) -> None:
    with pytest.raises(TokenInvalid):
        verifier.verify(sign(ring, header(ring, **change), claims()))


def test_alg_none_without_a_signature_is_refused(ring: KeyRing, verifier: TokenVerifier) -> None:
    for algorithm in ("none", "None", "NONE"):
        head = header(ring, alg=algorithm)
        for signature in ("", "AAAA"):
            with pytest.raises(TokenInvalid):
                verifier.verify(f"{encode(head)}.{encode(claims())}.{signature}")


def test_the_public_key_is_no_hmac_secret(ring: KeyRing, verifier: TokenVerifier) -> None:
    public = ring.signing_key.private.public_key()
    secrets = [
        public.public_bytes(Encoding.Raw, PublicFormat.Raw),
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        ring.signing_key.kid.encode(),
    ]
    for secret in secrets:
        for algorithm in ("HS256", "EdDSA"):
            signed = f"{encode(header(ring, alg=algorithm))}.{encode(claims())}"
            signature = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
            with pytest.raises(TokenInvalid):
                verifier.verify(f"{signed}.{encode(signature)}")


def test_tokens_of_other_algorithms_are_refused(ring: KeyRing, verifier: TokenVerifier) -> None:
    head = {"typ": "at+jwt", "kid": ring.signing_key.kid}
    for algorithm, key in (
        ("RS256", rsa.generate_private_key(65537, 2048)),
        ("ES256", ec.generate_private_key(ec.SECP256R1())),
    ):
        with pytest.raises(TokenInvalid):
            verifier.verify(jwt.encode(claims(), key, algorithm=algorithm, headers=head))


def test_another_services_key_is_refused_under_either_kid(ring: KeyRing, verifier: TokenVerifier) -> None:
    stranger = Ed25519PrivateKey.generate()
    for kid in (ring.signing_key.kid, compute_thumbprint(stranger.public_key())):
        token = jwt.encode(claims(), stranger, algorithm="EdDSA", headers={"typ": "at+jwt", "kid": kid})
        with pytest.raises(TokenInvalid):
            verifier.verify(token)


def test_a_key_inside_the_token_is_not_used(ring: KeyRing, verifier: TokenVerifier) -> None:
    stranger = Ed25519PrivateKey.generate()
    kid = compute_thumbprint(stranger.public_key())
    jwk = VerificationKeys({kid: stranger.public_key()}).to_jwks()["keys"][0]
    for named in (kid, ring.signing_key.kid):
        head = {"typ": "at+jwt", "kid": named, "jwk": jwk}
        with pytest.raises(TokenInvalid):
            verifier.verify(jwt.encode(claims(), stranger, algorithm="EdDSA", headers=head))


def test_every_changed_character_breaks_a_token(issuer: TokenIssuer, verifier: TokenVerifier) -> None:
    token = issuer.issue("ada", "member", None, 60)
    verifier.verify(token)
    # The last character of a part carries padding bits, which base64 decoders ignore: skip those three.
    ends = {index - 1 for index, character in enumerate(token + ".") if character == "."}
    for index in set(range(0, len(token), 7)) - ends:
        swapped = "A" if token[index] != "A" else "B"
        with pytest.raises(TokenInvalid):
            verifier.verify(token[:index] + swapped + token[index + 1 :])


NESTED = b"[" * 1400 + b"]" * 1400


def with_header(raw: bytes) -> str:
    return f"{encode(raw)}.{encode({})}.AAAA"


GARBAGE = {
    "word": "garbage",
    "dots": "..",
    "many dots": "a.b.c.d.e",
    "spaces": " . . ",
    "not ascii": "é.é.é",
    "surrogate": "\ud800",
    "nul": "\x00.\x00.\x00",
    "header not an object": with_header(b"[]"),
    "header not utf-8": with_header(b"\xff\xfe"),
    "header null": with_header(b"null"),
    "deeply nested": with_header(NESTED),
    "huge number": with_header(b'{"alg":' + b"9" * 2900 + b"}"),
    "oversized": "a" * (MAX_TOKEN_CHARS + 1),
    "very oversized": "a." * 5_000_000,
}


@pytest.mark.parametrize("token", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_is_invalid_and_cheap(verifier: TokenVerifier, token: str) -> None:
    start_s = time.thread_time()
    with pytest.raises(TokenInvalid):
        verifier.verify(token)
    assert time.thread_time() - start_s < 0.1


@given(st.text(min_size=1, max_size=300))
def test_no_text_is_a_token(text: str) -> None:
    verifier = TokenVerifier(VerificationKeys({}), ISSUER, AUDIENCE)
    with pytest.raises(TokenInvalid):
        verifier.verify(text)


@given(
    head=st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=9)),
    body=st.binary(max_size=99),
)
def test_no_structure_with_a_wrong_signature_is_a_token(head: dict[str, Any], body: bytes) -> None:
    verifier = TokenVerifier(VerificationKeys({}), ISSUER, AUDIENCE)
    with pytest.raises(TokenInvalid):
        verifier.verify(f"{encode(head)}.{encode(body)}.AAAA")


@pytest.mark.parametrize("payload", [b"[]", b"null", b"7", b"{", b"\xff", NESTED])
def test_well_signed_nonsense_is_invalid(ring: KeyRing, verifier: TokenVerifier, payload: bytes) -> None:
    with pytest.raises(TokenInvalid):
        verifier.verify(sign(ring, header(ring), payload))


def test_an_expired_token_that_is_not_ours_is_only_invalid(ring: KeyRing, verifier: TokenVerifier) -> None:
    old = claims(iat=NOW - 60, nbf=NOW - 60, exp=NOW - 1)
    with pytest.raises(TokenInvalid):
        verifier.verify(
            jwt.encode(old, Ed25519PrivateKey.generate(), algorithm="EdDSA", headers=header(ring))
        )


def test_refused_tokens_are_not_remembered(verifier: TokenVerifier) -> None:
    for n in range(50):
        with pytest.raises(TokenInvalid):
            verifier.verify(f"a.b.{n}")
    assert len(verifier._cache) == 0
