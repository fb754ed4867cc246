"""Made by client_generator from docs/openapi.json: methods of authentication."""

from __future__ import annotations

from rollcall_client.base_routes import AsyncRoutes
from rollcall_client.bodies import Picture
from rollcall_client.models import JsonWebKeySet, RotatedKey, Tokens, WhoAmI
from rollcall_client.requests import authentication as requests


class AsyncAuthenticationRoutes(AsyncRoutes):
    """Routes of authentication."""

    async def sign_in(self, *, name: str, password: str, timeout_s: float | None = None) -> Tokens:
        """Sign in with a password.

        A short-lived access token, and a refresh token for the next.

        The answer to an unknown name, a wrong password and a disabled account is the same, and takes as
        long.

        Args:
            timeout_s: the most that all tries together take; the client's own by default
        """
        return await self._performer.perform(requests.sign_in(name=name, password=password), timeout_s)

    async def sign_in_by_face(
        self, picture: Picture, *, name: str | None = None, timeout_s: float | None = None
    ) -> Tokens:
        """Sign in with a picture of one's own face.

        For an account that owns an enrolled person; off unless `auth.face_sign_in` is set.

        A photograph of somebody is not the person, so the token is a member's, for the event of the
        enrolment only, and cannot be renewed. The answer is the same whichever part did not fit.

        Args:
            picture: the file: its bytes, its path or open
            name: The account's name.
            timeout_s: the most that all tries together take; the client's own by default
        """
        return await self._performer.perform(requests.sign_in_by_face(picture, name=name), timeout_s)

    async def refresh(self, *, refresh_token: str, timeout_s: float | None = None) -> Tokens:
        """Exchange a refresh token for new tokens.

        Each refresh token is good once. One that comes a second time may be stolen, and ends the
        session.

        Args:
            timeout_s: the most that all tries together take; the client's own by default
        """
        return await self._performer.perform(requests.refresh(refresh_token=refresh_token), timeout_s)

    async def sign_out(self, *, everywhere: bool | None = None, timeout_s: float | None = None) -> None:
        """Sign out.

        Ends the session that the token comes from: its tokens are refused at once, on every replica.

        Args:
            everywhere: End every session of the account, and every token made for it. (default: False)
            timeout_s: the most that all tries together take; the client's own by default
        """
        await self._performer.perform(requests.sign_out(everywhere=everywhere), timeout_s)

    async def whoami(self, *, timeout_s: float | None = None) -> WhoAmI:
        """Who am I?

        What the credentials of this request stand for at this moment.

        Args:
            timeout_s: the most that all tries together take; the client's own by default
        """
        return await self._performer.perform(requests.who_am_i(), timeout_s)

    async def rotate_keys(self, *, timeout_s: float | None = None) -> RotatedKey:
        """Sign with a new key.

        For administrators. Every replica accepts the new key at once; nobody is signed out.

        Args:
            timeout_s: the most that all tries together take; the client's own by default
        """
        return await self._performer.perform(requests.rotate_keys(), timeout_s)

    async def jwks(self, *, timeout_s: float | None = None) -> JsonWebKeySet:
        """The public keys of the token signer.

        A JWK set (RFC 7517) of all keys whose tokens are accepted; needs no token.

        Args:
            timeout_s: the most that all tries together take; the client's own by default
        """
        return await self._performer.perform(requests.get_jwks(), timeout_s)
