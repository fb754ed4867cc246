"""All that has to do with who calls, built once for a process over one database and one key ring."""

from __future__ import annotations

from dataclasses import dataclass

from serving.accounts.access_check import AccessCheck
from serving.accounts.accounts import Accounts
from serving.accounts.api_keys import ApiKeys
from serving.accounts.keys import KeyRing
from serving.accounts.sessions import Sessions
from serving.accounts.tokens import TokenIssuer
from serving.database import Database
from serving.settings import AuthSettings


@dataclass(frozen=True, slots=True)
class AccountServices:
    """The parts behind the routes of accounts, sign-in and API keys."""

    accounts: Accounts
    sessions: Sessions
    api_keys: ApiKeys
    access: AccessCheck
    key_ring: KeyRing
    issuer: TokenIssuer


def make_account_services(database: Database, key_ring: KeyRing, auth: AuthSettings) -> AccountServices:
    """The parts over a database that is opened and closed by others, and a loaded key ring."""
    return AccountServices(
        accounts=Accounts(database, auth.min_password_chars),
        sessions=Sessions(database, auth.session_lifetime_s),
        api_keys=ApiKeys(database),
        access=AccessCheck(database),
        key_ring=key_ring,
        issuer=TokenIssuer(key_ring, auth.issuer, auth.audience),
    )
