"""People who call the API: signing keys, tokens, roles, accounts."""

from serving.accounts.accounts import Account, Accounts
from serving.accounts.identities import Identity, Permission, Role
from serving.accounts.keys import KeyRing, VerificationKeys
from serving.accounts.tokens import TokenIssuer, TokenVerifier

__all__ = [
    "Account",
    "Accounts",
    "Identity",
    "KeyRing",
    "Permission",
    "Role",
    "TokenIssuer",
    "TokenVerifier",
    "VerificationKeys",
]
