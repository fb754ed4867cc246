"""`rollcall admin` and `rollcall token`: the first administrator, and tokens signed with the local key."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated

import typer

from serving.accounts.accounts import Account, Accounts
from serving.accounts.identities import Role
from serving.accounts.keys import KeyRing
from serving.accounts.tokens import TokenIssuer
from serving.commands.console import console, messages
from serving.database import Database
from serving.errors import CommandError
from serving.settings import Settings, load_settings

admin = typer.Typer(help="Administrators.", no_args_is_help=True)


@admin.command("create")
def create_administrator(
    name: Annotated[str, typer.Argument(help="The account's name, for example an e-mail address.")],
) -> None:
    """Make an administrator. `rollcall token NAME` then prints tokens for the account."""

    async def create(accounts: Accounts) -> Account:
        return await accounts.create_administrator(name)

    account = _with_accounts(load_settings(), create)
    console.print(f"{account.name} is an administrator; get a token with: rollcall token {account.name}")


def print_token(
    name: Annotated[
        str | None, typer.Argument(help="Whose; may be left out when there is one administrator.")
    ] = None,
    role: Annotated[Role | None, typer.Option(help="A lesser role than the account's.")] = None,
    event: Annotated[
        list[str] | None, typer.Option(help="Bind the token to this event; may be repeated.")
    ] = None,
    hours: Annotated[float | None, typer.Option(min=0.02, max=24 * 90, help="How long it lasts.")] = None,
) -> None:
    """Print an access token. Needs to read the signing key, so it runs where the service's data lies."""
    settings = load_settings()

    async def find(accounts: Accounts) -> Account:
        if name is not None:
            found = await accounts.get(name)
            if found is None:
                raise CommandError(
                    f"there is no account {name!r}; make it with: rollcall admin create {name}"
                )
            return found
        enabled = [account for account in await accounts.list() if account.disabled_at is None]
        if not enabled:
            raise CommandError("there is no account yet; make one with: rollcall admin create NAME")
        if len(enabled) > 1:
            raise CommandError("there are several accounts; say whose token: rollcall token NAME")
        return enabled[0]

    account = _with_accounts(settings, find)
    if account.disabled_at is not None:
        raise CommandError(f"the account {account.name!r} is disabled")
    chosen = role or account.role
    if not chosen.permissions <= account.role.permissions:
        raise CommandError(f"{account.name} is {account.role.value} and may not act as {chosen.value}")
    keys = KeyRing(settings.keys_dir)
    keys.load_or_create()
    issuer = TokenIssuer(keys, settings.auth.issuer, settings.auth.audience)
    lifetime_s = int(hours * 3600) if hours is not None else settings.auth.token_lifetime_s
    if console.is_terminal:
        messages.print(f"[dim]{account.name}, {chosen.value}, {lifetime_s / 3600:g} hours[/]")
    print(issuer.issue(account.name, chosen, event or None, lifetime_s))


def _with_accounts(settings: Settings, work: Callable[[Accounts], Awaitable[Account]]) -> Account:
    async def run() -> Account:
        accounts = Accounts(Database(settings.registry_url))
        await accounts.open()
        try:
            return await work(accounts)
        finally:
            await accounts.close()

    return asyncio.run(run())
