"""People and machines that call the API: signing keys, tokens, roles, accounts, sessions, API keys."""

from serving.accounts.accounts import Accounts
from serving.accounts.identities import Identity, Permission, Role, Scope
from serving.accounts.keys import KeyRing, VerificationKeys
from serving.accounts.records import Account
from serving.accounts.tokens import TokenClaims, TokenIssuer, TokenVerifier

__all__ = [
    "Account",
    "Accounts",
    "Identity",
    "KeyRing",
    "Permission",
    "Role",
    "Scope",
    "TokenClaims",
    "TokenIssuer",
    "TokenVerifier",
    "VerificationKeys",
]
