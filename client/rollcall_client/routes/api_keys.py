"""Made by client_generator from docs/openapi.json: methods of api_keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from rollcall_client.base_routes import Routes
from rollcall_client.models import ApiKeyPage, ApiKeyView, MadeApiKey, Scope
from rollcall_client.requests import api_keys as requests


class ApiKeysRoutes(Routes):
    """Routes of api keys."""

    def create(
        self,
        *,
        name: str,
        scopes: Sequence[Scope],
        events: Sequence[str] | None = None,
        all_events: bool | None = None,
        expires_at: datetime | None = None,
        timeout_s: float | None = None,
    ) -> MadeApiKey:
        """Make an API key.

        For a machine. The key is shown this once and can do no more than its maker, now and later.

        Args:
            name: For people to read.
            events: The events it is bound to, at least one; or all_events.
            all_events: Whether it reaches every event that its account reaches. (default: False)
            expires_at: Left out: never.
            timeout_s: the most that all tries together take; the client's own by default
        """
        return self._performer.perform(
            requests.create_api_key(
                name=name, scopes=scopes, events=events, all_events=all_events, expires_at=expires_at
            ),
            timeout_s,
        )

    def page(
        self, *, cursor: str | None = None, limit: int | None = None, timeout_s: float | None = None
    ) -> ApiKeyPage:
        """List API keys.

        One's own keys, administrators see all; to a caller bound to events, only the keys for no others.

        Args:
            cursor: `next_cursor` of the page before.
            limit: Entries in a page. (default: 100)
            timeout_s: the most that all tries together take; the client's own by default
        """
        return self._performer.perform(requests.list_api_keys(cursor=cursor, limit=limit), timeout_s)

    def iterate(self, *, limit: int | None = None, timeout_s: float | None = None) -> Iterator[ApiKeyView]:
        """List API keys, page after page.

        A page is fetched when the one before is used up; `limit` is the most in one, and `timeout_s`
        holds for each.
        """
        for page in self._pages(
            lambda cursor: requests.list_api_keys(cursor=cursor, limit=limit),
            lambda page: page.next_cursor,
            timeout_s,
        ):
            yield from page.api_keys

    def revoke(self, key: str, *, timeout_s: float | None = None) -> None:
        """Revoke an API key.

        Refused from now on, on every replica.

        Args:
            key: The key's id.
            timeout_s: the most that all tries together take; the client's own by default
        """
        self._performer.perform(requests.revoke_api_key(key), timeout_s)
