"""The table of forged tokens (RFC 8725), each sent to a route: the verifier's own tests are beside it."""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from serving.accounts import KeyRing, VerificationKeys
from serving.accounts.keys import compute_thumbprint
from tests.unit.accounts import forging
from tests.unit.accounts.forging import encode, header, sign
from tests.unit.accounts.test_accounts_forgeries import BAD_CLAIMS, BAD_HEADERS, GARBAGE
from tests.unit.api.api_problems import check_problem
from tests.unit.api.conftest import AUDIENCE, ISSUER, TESTER_ID, Api

OURS = {"iss": ISSUER, "aud": AUDIENCE, "sub": TESTER_ID, "role": "administrator"}
NOW = int(time.time())


def claims(**changes: Any) -> dict[str, Any]:
    """Claims of an administrator's good token, but for the changes."""
    return forging.claims(**{**OURS, **changes})


async def refuse(api: Api, token: str, code: str = "token_invalid") -> None:
    headers = {b"Authorization": b"Bearer " + token.encode("utf-8", "surrogatepass")}
    check_problem(await api.anonymous().get("/v1/events", headers=headers), code)


async def test_the_hand_made_token_that_the_tables_vary_is_good(api: Api, ring: KeyRing) -> None:
    good = sign(ring, header(ring), claims())
    answer = await api.anonymous(Authorization=f"Bearer {good}").get("/v1/auth/whoami")
    assert (answer.status_code, answer.json()["name"]) == (200, "tester")


async def test_wrong_claims(api: Api, ring: KeyRing) -> None:
    for change in (*BAD_CLAIMS.values(), {"sid": 7}, {"sid": ["x"]}, {"exp": -1.5}):
        await refuse(api, sign(ring, header(ring), claims(**change)))


async def test_wrong_headers(api: Api, ring: KeyRing) -> None:
    for change in (*BAD_HEADERS.values(), {"typ": "refresh+jwt"}, {"kid": "%00" * 14 + "x"}):
        await refuse(api, sign(ring, header(ring, **change), claims()))


@pytest.mark.parametrize(
    "name", [name for name in GARBAGE if name not in ("nul", "very oversized", "spaces")]
)
async def test_garbage(api: Api, name: str) -> None:
    await refuse(api, GARBAGE[name])


async def test_no_signature_and_signatures_with_what_is_public(api: Api, ring: KeyRing) -> None:
    public = ring.signing_key.private.public_key()
    secrets = [
        public.public_bytes(Encoding.Raw, PublicFormat.Raw),
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        ring.signing_key.kid.encode(),
        b"",
    ]
    for algorithm in ("none", "None", "HS256", "EdDSA"):
        signed = f"{encode(header(ring, alg=algorithm))}.{encode(claims())}"
        await refuse(api, signed + ".")
        for secret in secrets:
            digest = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
            await refuse(api, f"{signed}.{encode(digest)}")


async def test_a_strangers_key_named_or_embedded(api: Api, ring: KeyRing) -> None:
    stranger = Ed25519PrivateKey.generate()
    own = compute_thumbprint(stranger.public_key())
    jwk = VerificationKeys({own: stranger.public_key()}).to_jwks()["keys"][0]
    for kid in (own, ring.signing_key.kid):
        for more in ({}, {"jwk": jwk}, {"jku": "https://evil.test/jwks.json"}):
            head = {"typ": "at+jwt", "kid": kid, **more}
            await refuse(api, jwt.encode(claims(), stranger, algorithm="EdDSA", headers=head))


async def test_duplicate_members(api: Api, ring: KeyRing) -> None:
    """The last one counts, and what counts is checked: no reader sees another than the verifier."""
    kid = ring.signing_key.kid
    head = f'{{"alg":"EdDSA","alg":"none","typ":"at+jwt","kid":"{kid}"}}'.encode()
    await refuse(api, sign(ring, head, claims()))
    body = f'{{"iss":"{ISSUER}","iss":"evil","aud":"{AUDIENCE}","sub":"{TESTER_ID}","jti":"1","iat":{NOW},'
    body += f'"nbf":{NOW},"exp":{NOW + 60},"role":"administrator"}}'
    await refuse(api, sign(ring, header(ring), body.encode()))


async def test_expired_and_unknown_subjects(api: Api, ring: KeyRing) -> None:
    old = claims(iat=NOW - 600, nbf=NOW - 600, exp=NOW - 300)
    await refuse(api, sign(ring, header(ring), old), "token_expired")
    for subject in ("ada", "tester", "f" * 32, "' OR 1=1 --", "\x00", "é", "x" * 1000):
        await refuse(api, sign(ring, header(ring), claims(sub=subject)), "token_revoked")
    for session in ("", "x", "f" * 32, "\x00"):
        await refuse(api, sign(ring, header(ring), claims(sid=session)), "token_revoked")


async def test_an_access_token_is_no_refresh_token(api: Api) -> None:
    answer = await api.anonymous().post("/v1/auth/refresh", json={"refresh_token": api.token_for()})
    check_problem(answer, "token_invalid")
