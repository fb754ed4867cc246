"""Who calls, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

from serving.errors import Forbidden, UnknownEvent


class Permission(str, Enum):
    """One thing that can be allowed."""

    recognise = "recognise"
    """Ask who is in a picture, at an event."""
    analyse = "analyse"
    """Detect faces in a picture or compare two, apart from any event."""
    read_events = "read_events"
    read_people = "read_people"
    """See who is enrolled, with names."""
    enrol = "enrol"
    erase_people = "erase_people"
    export_people = "export_people"
    """Take away everyone who is enrolled, with their vectors."""
    manage_events = "manage_events"
    """Create, change, close and delete events."""
    read_audit = "read_audit"
    """See who did what, at the events within reach."""
    manage_api_keys = "manage_api_keys"
    """Make keys that may do no more than their maker."""
    read_operations = "read_operations"
    """See the state of the service: load, packs, replicas."""
    manage_accounts = "manage_accounts"


class Role(str, Enum):
    """What an account is for; each role may do all that the ones before it may."""

    member = "member"
    operator = "operator"
    administrator = "administrator"

    @property
    def permissions(self) -> frozenset[Permission]:
        """All that this role allows."""
        return _PERMISSIONS[self]


_MEMBER = frozenset({Permission.recognise, Permission.analyse, Permission.read_events})
_OPERATOR = _MEMBER | {
    Permission.read_people,
    Permission.enrol,
    Permission.erase_people,
    Permission.export_people,
    Permission.manage_events,
    Permission.read_audit,
    Permission.manage_api_keys,
}
_PERMISSIONS = {
    Role.member: _MEMBER,
    Role.operator: _OPERATOR,
    Role.administrator: frozenset(Permission),
}


class Scope(str, Enum):
    """What an API key is for. No scope manages accounts or keys, so that a key never makes another."""

    recognise = "recognise"
    enrol = "enrol"
    read = "read"
    manage = "manage"

    @property
    def permissions(self) -> frozenset[Permission]:
        """All that this scope allows."""
        return _SCOPE_PERMISSIONS[self]


_SCOPE_PERMISSIONS = {
    Scope.recognise: frozenset({Permission.recognise, Permission.analyse, Permission.read_events}),
    Scope.enrol: frozenset({Permission.enrol, Permission.read_events}),
    Scope.read: frozenset({Permission.read_events, Permission.read_people}),
    Scope.manage: frozenset(
        {
            Permission.read_events,
            Permission.read_people,
            Permission.erase_people,
            Permission.export_people,
            Permission.manage_events,
            Permission.read_audit,
        }
    ),
}


@dataclass(frozen=True, slots=True)
class Identity:
    """The caller of one request, as the credentials and the database together say.

    Attributes:
        subject: the name of the account, or of the account that made the key.
        kind: "account" or "api_key".
        id: of the account or the key.
        account_id: of the account; a key's is its maker's.
        role: what the account may do by this token; None for a key.
        permissions: all that the caller may do.
        events: ids of the events within reach; None means all.
        is_bound: whether the credentials reach no more than certain events whatever the account does; such
            a caller changes nothing of the account itself. Always so for a key.
        session_id: of the sign-in that the token comes from, or None.
        token_id: the token's `jti`; None for a key.
        expires_at: seconds since the epoch, or None.
    """

    subject: str
    kind: Literal["account", "api_key"]
    id: str
    account_id: str
    role: Role | None
    permissions: frozenset[Permission]
    events: frozenset[str] | None
    is_bound: bool = False
    session_id: str | None = None
    token_id: str | None = None
    expires_at: int | None = None

    def may(self, permission: Permission) -> bool:
        """Whether the caller may do this, at an event within reach."""
        return permission in self.permissions

    def require(self, permission: Permission) -> None:
        """Raise Forbidden, naming the least role or a scope that would do, unless the caller may do this."""
        if self.may(permission):
            return
        words = permission.value.replace("_", " ")
        if self.role is None:
            scopes = [scope.value for scope in Scope if permission in scope.permissions]
            needs = f"the scope {scopes[0]}" if scopes else "an account's own token"
            raise Forbidden(f"This API key may not {words}.", needs=needs, permission=permission.value)
        least = next(role for role in Role if permission in _PERMISSIONS[role])
        raise Forbidden(
            f"The role {self.role.value!r} may not {words}.",
            needs=least.value,
            permission=permission.value,
        )

    def require_event(self, event_id: str) -> None:
        """Raise UnknownEvent, as for an event that does not exist, unless the caller reaches this one."""
        if self.events is not None and event_id not in self.events:
            raise UnknownEvent(event=event_id)

    def require_account(self) -> None:
        """Raise Forbidden unless the caller may act for the account itself: no key, no bound token."""
        if self.kind != "account" or self.is_bound:
            raise Forbidden(
                "Neither an API key nor a token bound to events acts for the account itself.",
                needs="a token of the account that is not bound to events",
            )

    def manages_accounts(self) -> bool:
        """Whether the caller administers accounts: an administrator who reaches every event."""
        return self.may(Permission.manage_accounts) and self.events is None

    def require_account_management(self) -> None:
        """Raise Forbidden unless the caller administers accounts: who is bound could else free themselves."""
        self.require(Permission.manage_accounts)
        if self.events is not None:
            raise Forbidden(
                "An administrator bound to events manages no accounts.", needs="reach of all events"
            )
