"""Made by client_generator from docs/openapi.json: methods of accounts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rollcall_client.base_routes import Routes
from rollcall_client.bodies import UNSET, Unset
from rollcall_client.models import AccountPage, AccountSummary, AccountView, OwnPersonView, Role
from rollcall_client.requests import accounts as requests


class AccountsRoutes(Routes):
    """Routes of accounts."""

    def create(
        self,
        *,
        name: str,
        password: str | None = None,
        role: Role | None = None,
        all_events: bool | None = None,
        events: Sequence[str] | None = None,
        timeout_s: float | None = None,
    ) -> AccountView:
        """Sign up, or create an account.

        Without credentials: a member who reaches no event until an administrator grants some.

        Administrators choose role and events, and may also do so where signing up is closed.

        Args:
            name: Unique; an e-mail address will do.
            password: Who signs up gives one; of an administrator's making an account may have none.
            role: Default: member. Only administrators choose.
            all_events: Whether it reaches every event. Only administrators.
            events: The events it reaches. Only administrators choose.
            timeout_s: the most that all tries together take; the client's own by default
        """
        return self._performer.perform(
            requests.create_account(
                name=name, password=password, role=role, all_events=all_events, events=events
            ),
            timeout_s,
        )

    def page(
        self, *, cursor: str | None = None, limit: int | None = None, timeout_s: float | None = None
    ) -> AccountPage:
        """List accounts.

        All accounts, by name; for administrators.

        Args:
            cursor: `next_cursor` of the page before.
            limit: Entries in a page. (default: 100)
            timeout_s: the most that all tries together take; the client's own by default
        """
        return self._performer.perform(requests.list_accounts(cursor=cursor, limit=limit), timeout_s)

    def iterate(
        self, *, limit: int | None = None, timeout_s: float | None = None
    ) -> Iterator[AccountSummary]:
        """List accounts, page after page.

        A page is fetched when the one before is used up; `limit` is the most in one, and `timeout_s`
        holds for each.
        """
        for page in self._pages(
            lambda cursor: requests.list_accounts(cursor=cursor, limit=limit),
            lambda page: page.next_cursor,
            timeout_s,
        ):
            yield from page.accounts

    def get(self, account: str, *, timeout_s: float | None = None) -> AccountView:
        """Look at an account.

        One's own account; administrators also look at others'.

        Args:
            account: The account's id, or `me` for the caller's own.
            timeout_s: the most that all tries together take; the client's own by default
        """
        return self._performer.perform(requests.get_account(account), timeout_s)

    def change(
        self,
        account: str,
        *,
        role: Role | Unset | None = UNSET,
        disabled: bool | Unset | None = UNSET,
        all_events: bool | Unset | None = UNSET,
        events: Sequence[str] | Unset | None = UNSET,
        timeout_s: float | None = None,
    ) -> AccountView:
        """Change an account's role, state or events.

        For administrators. It holds from the next request on, for tokens and keys that exist already
        too.

        Args:
            account: The account's id, or `me` for the caller's own.
            disabled: Disabling ends its sessions and tokens at once.
            all_events: Whether it reaches every event.
            events: The only events it reaches from now on.
            timeout_s: the most that all tries together take; the client's own by default
        """
        return self._performer.perform(
            requests.change_account(
                account, role=role, disabled=disabled, all_events=all_events, events=events
            ),
            timeout_s,
        )

    def delete(self, account: str, *, timeout_s: float | None = None) -> None:
        """Delete an account and the person it owns.

        One's own, or as an administrator anybody's. Erases the account's person with every face first.

        Args:
            account: The account's id, or `me` for the caller's own.
            timeout_s: the most that all tries together take; the client's own by default
        """
        self._performer.perform(requests.delete_account(account), timeout_s)

    def change_password(
        self, account: str, *, new: str, old: str | None = None, timeout_s: float | None = None
    ) -> None:
        """Change a password.

        One's own, by the old one; administrators change any without. All other sessions end.

        Args:
            account: The account's id, or `me` for the caller's own.
            old: The password so far. Administrators may leave it out, and who has none yet.
            new: At least `auth.min_password_chars` characters, and not the name.
            timeout_s: the most that all tries together take; the client's own by default
        """
        self._performer.perform(requests.change_password(account, old=old, new=new), timeout_s)

    def link_person(
        self, account: str, *, event_id: str, person_id: str, timeout_s: float | None = None
    ) -> OwnPersonView:
        """Say which enrolled person is an account's own.

        For operators and administrators who reach the event. A person belongs to one account at most.

        To another operator or an administrator only administrators give a person: whoever looks like it
        can sign in as that account, where signing in by face is on.

        Args:
            account: The account's id, or `me` for the caller's own.
            person_id: The person's id; enrolled there.
            timeout_s: the most that all tries together take; the client's own by default
        """
        return self._performer.perform(
            requests.link_person(account, event_id=event_id, person_id=person_id), timeout_s
        )

    def get_person(self, account: str, *, timeout_s: float | None = None) -> OwnPersonView:
        """Which enrolled person is the account's own?

        One's own; administrators also see others'. `unknown_person` where there is none.

        Args:
            account: The account's id, or `me` for the caller's own.
            timeout_s: the most that all tries together take; the client's own by default
        """
        return self._performer.perform(requests.get_own_person(account), timeout_s)

    def delete_person(self, account: str, *, timeout_s: float | None = None) -> None:
        """Erase the person an account owns.

        Erases the person and every face at the event; the account stays.

        Args:
            account: The account's id, or `me` for the caller's own.
            timeout_s: the most that all tries together take; the client's own by default
        """
        self._performer.perform(requests.delete_own_person(account), timeout_s)
