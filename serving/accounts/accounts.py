"""The accounts as the rest of the service calls them."""

from __future__ import annotations

from collections.abc import Collection

from serving.accounts import account_rows
from serving.accounts.access_check import MAX_EVENTS
from serving.accounts.identities import Role
from serving.accounts.passwords import MIN_PASSWORD_CHARS, check_password, hash_password, verify_password
from serving.accounts.records import Account, OwnedPerson
from serving.database import Database
from serving.errors import InvalidRequest, SignInFailed, UnknownAccount, UnknownPerson
from serving.registry.identifiers import (
    check_account_name,
    check_event_id,
    is_account_name,
    is_person_id,
)
from serving.registry.paging import check_limit, read_cursor
from serving.registry.records import Page

_MAX_ID_CHARS = 32


class Accounts:
    """The accounts of this service.

    Every method but `close` may raise StageUnavailable (no database) and, when it writes, Overloaded.

    Args:
        database: may be shared with others; `open` opens it and `close` closes it for all of them.
        min_password_chars: what a new password must have.
    """

    def __init__(self, database: Database, min_password_chars: int = MIN_PASSWORD_CHARS) -> None:
        self._database = database
        self._min_password_chars = min_password_chars

    async def open(self) -> None:
        """Connect and bring the tables up to date; nothing happens when the database is open."""
        await self._database.open()

    async def close(self) -> None:
        """Let go of the database."""
        await self._database.close()

    async def create(
        self,
        name: str,
        role: Role = Role.member,
        password: str | None = None,
        events: Collection[str] | None = (),
    ) -> Account:
        """Create an account, which without a password can only use tokens made for it.

        Args:
            events: ids of the events it reaches, at most MAX_EVENTS; None for all.

        Raises:
            InvalidRequest: the name or an event id breaks its rule, or there are too many events.
            WeakPassword: the password breaks its rule.
            AccountExists: the name is taken.
            UnknownEvent: there is no such event.
        """
        check_account_name(name)
        chosen = _check_events(events)
        password_hash = None if password is None else await self._hash(password, name)
        return await self._database.write(account_rows.create, name, role, password_hash, chosen)

    async def create_administrator(self, name: str, password: str | None = None) -> Account:
        """Create an administrator, who reaches every event; raises as `create`."""
        return await self.create(name, Role.administrator, password, None)

    async def find(self, name: str) -> Account | None:
        """The account of this name, disabled or not; None when there is none."""
        return await self._database.read(account_rows.find, name) if is_account_name(name) else None

    async def get(self, id: str) -> Account:
        """The account of this id, disabled or not; raises UnknownAccount."""
        return await self._database.read(account_rows.get, _check_id(id))

    async def list(self, after: str | None = None, limit: int = 100) -> Page[Account]:
        """A page of accounts in the order of their names, without their events.

        Args:
            after: `next` of the page before, or None for the first.
            limit: 1 to 1000.

        Raises:
            InvalidRequest: not a cursor of this list, or the limit is out of range.
        """
        after_name = read_cursor(account_rows.CURSOR_KIND, after)
        return await self._database.read(account_rows.list_page, after_name, check_limit(limit))

    async def has_administrator(self) -> bool:
        """Whether there is an administrator who is not disabled and reaches every event."""
        return await self._database.read(account_rows.has_administrator)

    async def change(
        self,
        id: str,
        *,
        role: Role | None = None,
        disabled: bool | None = None,
        all_events: bool | None = None,
        events: Collection[str] | None = None,
    ) -> Account:
        """Change what is given; it holds from the next request on, on every replica.

        Disabling ends every session and token for good; API keys work again with the account.

        Raises:
            UnknownAccount, UnknownEvent: there is no such thing.
            LastAdministrator: nobody would be left to administer.
            InvalidRequest: events that contradict `all_events`, break the rule or are too many.
        """
        if all_events and events is not None:
            raise InvalidRequest("give events, or all_events, not both", field="events")
        reach: list[str] | bool | None = _check_events(events)
        if all_events is not None and reach is None:
            reach = [] if not all_events else True
        return await self._database.write(account_rows.change, _check_id(id), role, disabled, reach)

    async def check_removable(self, id: str) -> None:
        """Raise LastAdministrator or UnknownAccount if `remove` would."""
        await self._database.read(account_rows.require_removable, _check_id(id))

    async def remove(self, id: str) -> bool:
        """Delete an account with its sessions and keys; False, and nothing happens, while it owns a person.

        Raises:
            UnknownAccount: there is none.
            LastAdministrator: nobody would be left to administer.
        """
        return await self._database.write(account_rows.remove, _check_id(id))

    async def change_password(
        self, account: Account, new: str, old: str | None, kept_session_id: str | None
    ) -> None:
        """Set a password; ends all other sessions, and every token that has none.

        Args:
            old: the password so far; None to set the new one without asking.
            kept_session_id: the session that goes on, or None.

        Raises:
            WeakPassword: the new one breaks its rule.
            SignInFailed: the old one is wrong.
            UnknownAccount: deleted meanwhile.
        """
        check_password(new, account.name, self._min_password_chars)
        stored = await self._database.read(account_rows.read_password_hash, account.id)
        if old is not None and not await verify_password(old, stored):
            raise SignInFailed
        password_hash = await hash_password(new)
        await self._database.write(
            account_rows.set_password, account.id, password_hash, stored, old is not None, kept_session_id
        )

    async def link_person(self, id: str, event_key: str, person_id: str) -> None:
        """Make an enrolled person the one the account owns; another it owned before is its own no more.

        Raises:
            UnknownAccount, UnknownPerson: there is no such thing.
            InvalidRequest: the person belongs to another account.
        """
        if not is_person_id(person_id):
            raise UnknownPerson
        await self._database.write(account_rows.link_person, _check_id(id), event_key, person_id)

    async def find_person(self, id: str) -> OwnedPerson | None:
        """The person the account owns, or None."""
        return await self._database.read(account_rows.find_person, _check_id(id))

    async def _hash(self, password: str, name: str) -> str:
        return await hash_password(check_password(password, name, self._min_password_chars))


def _check_id(id: str) -> str:
    if not (id.isascii() and id.isalnum() and len(id) <= _MAX_ID_CHARS):
        raise UnknownAccount
    return id


def _check_events(events: Collection[str] | None) -> list[str] | None:
    if events is None:
        return None
    if len(events) > MAX_EVENTS:
        raise InvalidRequest(
            f"An account is bound to at most {MAX_EVENTS} events, or reaches all.",
            field="events",
            max_events=MAX_EVENTS,
        )
    return [check_event_id(event_id) for event_id in events]
