"""Making tokens that the issuer would not make."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

from serving.accounts import KeyRing

ISSUER, AUDIENCE = "https://rollcall.test", "rollcall-api"


def claims(**changes: Any) -> dict[str, Any]:
    """Claims that pass; a change to None removes one."""
    now = int(time.time())
    good = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "ada",
        "jti": "t1",
        "iat": now,
        "nbf": now,
        "exp": now + 60,
        "role": "operator",
    }
    return {key: value for key, value in {**good, **changes}.items() if value is not None}


def header(ring: KeyRing, **changes: Any) -> dict[str, Any]:
    good = {"alg": "EdDSA", "typ": "at+jwt", "kid": ring.signing_key.kid}
    return {key: value for key, value in {**good, **changes}.items() if value is not None}


def encode(part: object) -> str:
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def sign(ring: KeyRing, head: object, body: object) -> str:
    """A token of ours in every respect but the given header and claims, its signature correct."""
    signed = f"{encode(head)}.{encode(body)}"
    return f"{signed}.{encode(ring.signing_key.private.sign(signed.encode()))}"
