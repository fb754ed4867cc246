"""Made by client_generator from docs/openapi.json: requests of authentication."""

from __future__ import annotations

from rollcall_client.bodies import JsonBody, Picture, make_picture_body
from rollcall_client.models import JsonWebKeySet, RotatedKey, Tokens, WhoAmI
from rollcall_client.request import Request, drop_none


def sign_in(*, name: str, password: str) -> Request[Tokens]:
    """Sign in with a password."""
    return Request(
        "POST",
        "/v1/auth/sign-in",
        Tokens,
        body=JsonBody(drop_none({"name": name, "password": password})),
        takes_timeout=True,
    )


def sign_in_by_face(picture: Picture, *, name: str | None = None) -> Request[Tokens]:
    """Sign in with a picture of one's own face."""
    return Request(
        "POST",
        "/v1/auth/sign-in/face",
        Tokens,
        body=make_picture_body(picture, {"name": name}),
        takes_timeout=True,
    )


def refresh(*, refresh_token: str) -> Request[Tokens]:
    """Exchange a refresh token for new tokens."""
    return Request(
        "POST",
        "/v1/auth/refresh",
        Tokens,
        body=JsonBody(drop_none({"refresh_token": refresh_token})),
        takes_timeout=True,
    )


def sign_out(*, everywhere: bool | None = None) -> Request[None]:
    """Sign out."""
    return Request(
        "POST",
        "/v1/auth/sign-out",
        None,
        query={"everywhere": everywhere},
    )


def who_am_i() -> Request[WhoAmI]:
    """Who am I?"""
    return Request(
        "GET",
        "/v1/auth/whoami",
        WhoAmI,
        can_repeat=True,
    )


def rotate_keys() -> Request[RotatedKey]:
    """Sign with a new key."""
    return Request(
        "POST",
        "/v1/auth/keys/rotate",
        RotatedKey,
    )


def get_jwks() -> Request[JsonWebKeySet]:
    """The public keys of the token signer."""
    return Request(
        "GET",
        "/.well-known/jwks.json",
        JsonWebKeySet,
        can_repeat=True,
    )
