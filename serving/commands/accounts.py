"""`rollcall admin`, `account` and `token`: what is done where the service's data lies."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer
from rich.markup import escape

from serving.accounts.accounts import Accounts
from serving.accounts.identities import Role
from serving.accounts.keys import KEY_FILES, KeyRing
from serving.accounts.records import Account
from serving.accounts.tokens import TokenIssuer
from serving.commands.console import AsJson, console, messages, print_json
from serving.database import Database
from serving.database.location import find_sqlite_file
from serving.errors import AccountExists, CommandError
from serving.settings import Settings, load_settings

T = TypeVar("T")

admin = typer.Typer(help="Administrators.", no_args_is_help=True)
account = typer.Typer(help="Accounts.", no_args_is_help=True)


@admin.command("create")
def create_administrator(
    name: Annotated[str, typer.Argument(help="The account's name, for example an e-mail address.")],
    as_json: AsJson = False,
) -> None:
    """Make an administrator. `rollcall token NAME` then prints tokens for the account."""

    async def create(accounts: Accounts) -> Account:
        try:
            return await accounts.create_administrator(name)
        except AccountExists:
            raise CommandError(
                f"there is an account {name!r} already; get a token with: rollcall token {name}"
            ) from None

    created = _with_accounts(load_settings(), create)
    if as_json:
        print_json(_describe(created))
        return
    shown = escape(created.name)
    console.print(f"{shown} is an administrator; get a token with: rollcall token {shown}")


@account.command("list")
def list_accounts(as_json: AsJson = False) -> None:
    """List the accounts: name, role, state, id."""
    settings = load_settings()
    _require_data(settings)
    found = _with_accounts(settings, _list_all)
    if as_json:
        print_json([_describe(each) for each in found])
        return
    for each in found:
        state = "disabled" if each.disabled_at is not None else "active"
        print(each.name, each.role.value, state, each.id, sep="\t")


@account.command("disable")
def disable_account(
    name: Annotated[str, typer.Argument(help="Whose.")],
    undo: Annotated[bool, typer.Option("--undo", help="Enable the account again.")] = False,
    as_json: AsJson = False,
) -> None:
    """Disable an account. Its tokens, sessions and API keys stop working at once, on every replica."""
    settings = load_settings()
    _require_data(settings)

    async def disable(accounts: Accounts) -> Account:
        found = await _find(accounts, name)
        return await accounts.change(found.id, disabled=not undo)

    changed = _with_accounts(settings, disable)
    if as_json:
        print_json(_describe(changed))
        return
    console.print(f"{escape(changed.name)} is {'active' if undo else 'disabled'}")


def print_token(
    name: Annotated[
        str | None, typer.Argument(help="Whose; may be left out when there is one account.")
    ] = None,
    role: Annotated[Role | None, typer.Option(help="A lesser role than the account's.")] = None,
    event: Annotated[
        list[str] | None,
        typer.Option(help="Bind the token to this event, which must exist already; may be repeated."),
    ] = None,
    hours: Annotated[float | None, typer.Option(min=0.02, max=24 * 90, help="How long it lasts.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print an access token. Needs to read the signing key, so it runs where the service's data lies."""
    settings = load_settings()
    _require_data(settings)

    async def find(accounts: Accounts) -> Account:
        if name is not None:
            return await _find(accounts, name)
        enabled = [each for each in await _list_all(accounts) if each.disabled_at is None]
        if not enabled:
            raise CommandError("there is no account yet; make one with: rollcall admin create NAME")
        if len(enabled) > 1:
            raise CommandError("there are several accounts; say whose token: rollcall token NAME")
        return enabled[0]

    found = _with_accounts(settings, find)
    if found.disabled_at is not None:
        raise CommandError(f"the account {found.name!r} is disabled")
    chosen = role or found.role
    if not chosen.permissions <= found.role.permissions:
        raise CommandError(f"{found.name} is {found.role.value} and may not act as {chosen.value}")
    key_ring = KeyRing(settings.keys_dir)
    if not list(settings.keys_dir.glob(KEY_FILES)) and find_sqlite_file(settings.registry_url) is None:
        messages.print(
            f"[yellow]this makes the first signing key, in {escape(str(settings.keys_dir))}[/]: the service "
            "refuses the token unless it shares that directory (ROLLCALL_DATA_DIR)"
        )
    key_ring.load_or_create()
    issuer = TokenIssuer(key_ring, settings.auth.issuer, settings.auth.audience)
    lifetime_s = int(hours * 3600) if hours is not None else settings.auth.token_lifetime_s
    token = issuer.issue(found.id, chosen, event or None, lifetime_s)
    if as_json:
        print_json({
            "token": token, "account": _describe(found), "role": chosen.value, "events": event or None,
            "expires_in_s": lifetime_s,
        })  # fmt: skip
        return
    if console.is_terminal:
        messages.print(f"[dim]{escape(found.name)}, {chosen.value}, {lifetime_s / 3600:g} hours[/]")
    print(token)


def _describe(found: Account) -> dict[str, object]:
    return {
        "id": found.id,
        "name": found.name,
        "role": found.role.value,
        "disabled": found.disabled_at is not None,
    }


async def _find(accounts: Accounts, name: str) -> Account:
    found = await accounts.find(name)
    if found is None:
        raise CommandError(f"there is no account {name!r}; make it with: rollcall admin create {name}")
    return found


async def _list_all(accounts: Accounts) -> list[Account]:
    found: list[Account] = []
    cursor: str | None = None
    while True:
        page = await accounts.list(cursor, 1000)
        found.extend(page.items)
        cursor = page.next
        if cursor is None:
            return found


def _require_data(settings: Settings) -> None:
    """Raise CommandError where a service never ran: a new, empty registry would help nobody."""
    path = find_sqlite_file(settings.registry_url)
    if path is not None and not path.exists():
        raise CommandError(
            f"there is no data of a service in {settings.data_dir}; "
            "change to its directory or set ROLLCALL_DATA_DIR, or begin with: rollcall admin create NAME"
        )


def _with_accounts(settings: Settings, work: Callable[[Accounts], Awaitable[T]]) -> T:
    async def run() -> T:
        accounts = Accounts(Database(settings.registry_url), settings.auth.min_password_chars)
        await accounts.open()
        try:
            return await work(accounts)
        finally:
            await accounts.close()

    return asyncio.run(run())
