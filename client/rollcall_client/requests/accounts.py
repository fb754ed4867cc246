"""Made by client_generator from docs/openapi.json: requests of accounts."""

from __future__ import annotations

from collections.abc import Sequence

from rollcall_client.bodies import UNSET, JsonBody, Unset
from rollcall_client.models import AccountPage, AccountView, OwnPersonView, Role
from rollcall_client.request import Request, drop_none, fill_path


def create_account(
    *,
    name: str,
    password: str | None = None,
    role: Role | None = None,
    all_events: bool | None = None,
    events: Sequence[str] | None = None,
) -> Request[AccountView]:
    """Sign up, or create an account."""
    return Request(
        "POST",
        "/v1/accounts",
        AccountView,
        body=JsonBody(
            drop_none(
                {"name": name, "password": password, "role": role, "all_events": all_events, "events": events}
            )
        ),
        takes_timeout=True,
    )


def list_accounts(*, cursor: str | None = None, limit: int | None = None) -> Request[AccountPage]:
    """List accounts."""
    return Request(
        "GET",
        "/v1/accounts",
        AccountPage,
        query={"cursor": cursor, "limit": limit},
        can_repeat=True,
    )


def get_account(account: str) -> Request[AccountView]:
    """Look at an account."""
    return Request(
        "GET",
        fill_path("/v1/accounts/{account}", account=account),
        AccountView,
        can_repeat=True,
    )


def change_account(
    account: str,
    *,
    role: Role | Unset | None = UNSET,
    disabled: bool | Unset | None = UNSET,
    all_events: bool | Unset | None = UNSET,
    events: Sequence[str] | Unset | None = UNSET,
) -> Request[AccountView]:
    """Change an account's role, state or events."""
    return Request(
        "PATCH",
        fill_path("/v1/accounts/{account}", account=account),
        AccountView,
        body=JsonBody(
            {"role": role, "disabled": disabled, "all_events": all_events, "events": events},
            "application/json",
        ),
        can_repeat=True,
        takes_timeout=True,
    )


def delete_account(account: str) -> Request[None]:
    """Delete an account and the person it owns."""
    return Request(
        "DELETE",
        fill_path("/v1/accounts/{account}", account=account),
        None,
        can_repeat=True,
        takes_timeout=True,
    )


def change_password(account: str, *, new: str, old: str | None = None) -> Request[None]:
    """Change a password."""
    return Request(
        "PUT",
        fill_path("/v1/accounts/{account}/password", account=account),
        None,
        body=JsonBody(drop_none({"old": old, "new": new})),
        takes_timeout=True,
    )


def link_person(account: str, *, event_id: str, person_id: str) -> Request[OwnPersonView]:
    """Say which enrolled person is an account's own."""
    return Request(
        "PUT",
        fill_path("/v1/accounts/{account}/person", account=account),
        OwnPersonView,
        body=JsonBody(drop_none({"event_id": event_id, "person_id": person_id})),
        can_repeat=True,
        takes_timeout=True,
    )


def get_own_person(account: str) -> Request[OwnPersonView]:
    """Which enrolled person is the account's own?"""
    return Request(
        "GET",
        fill_path("/v1/accounts/{account}/person", account=account),
        OwnPersonView,
        can_repeat=True,
    )


def delete_own_person(account: str) -> Request[None]:
    """Erase the person an account owns."""
    return Request(
        "DELETE",
        fill_path("/v1/accounts/{account}/person", account=account),
        None,
        can_repeat=True,
        takes_timeout=True,
    )
