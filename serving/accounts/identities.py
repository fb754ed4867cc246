"""Who calls, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

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


@dataclass(frozen=True, slots=True)
class Identity:
    """The caller of one request, as the verified token says.

    Attributes:
        subject: the name of the account.
        role: what the caller may do.
        events: ids of the events the token is bound to; None means all.
        token_id: the token's `jti`.
        expires_at: seconds since the epoch.
    """

    subject: str
    role: Role
    events: frozenset[str] | None
    token_id: str
    expires_at: int

    def may(self, permission: Permission) -> bool:
        """Whether the role allows this."""
        return permission in _PERMISSIONS[self.role]

    def require(self, permission: Permission) -> None:
        """Raise Forbidden, naming the least role that would do, unless the role allows this."""
        if self.may(permission):
            return
        needs = next(role for role in Role if permission in _PERMISSIONS[role])
        raise Forbidden(
            f"The role {self.role.value!r} may not {permission.value.replace('_', ' ')}.",
            needs=needs.value,
            permission=permission.value,
        )

    def require_event(self, event_id: str) -> None:
        """Raise UnknownEvent, as for an event that does not exist, unless the token reaches this one."""
        if self.events is not None and event_id not in self.events:
            raise UnknownEvent(event=event_id)
