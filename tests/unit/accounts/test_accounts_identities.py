from __future__ import annotations

import pytest

from serving.accounts import Identity, Permission, Role, Scope
from serving.errors import Forbidden, UnknownEvent

EXPECTED = {
    Permission.recognise: Role.member,
    Permission.analyse: Role.member,
    Permission.read_events: Role.member,
    Permission.read_people: Role.operator,
    Permission.enrol: Role.operator,
    Permission.erase_people: Role.operator,
    Permission.manage_events: Role.operator,
    Permission.export_people: Role.operator,
    Permission.read_audit: Role.operator,
    Permission.manage_api_keys: Role.operator,
    Permission.read_operations: Role.administrator,
    Permission.manage_accounts: Role.administrator,
}
ORDER = [Role.member, Role.operator, Role.administrator]


def identity(role: Role, events: frozenset[str] | None = None) -> Identity:
    return Identity("ada", "account", "1", "1", role, role.permissions, events)


@pytest.mark.parametrize("permission", Permission)
@pytest.mark.parametrize("role", Role)
def test_what_each_role_may_do(role: Role, permission: Permission) -> None:
    least = EXPECTED[permission]
    if ORDER.index(role) >= ORDER.index(least):
        identity(role).require(permission)
        assert permission in role.permissions
    else:
        with pytest.raises(Forbidden) as caught:
            identity(role).require(permission)
        assert caught.value.context == {"needs": least.value, "permission": permission.value}


def test_a_bound_identity_cannot_tell_other_events_from_none() -> None:
    bound = identity(Role.administrator, frozenset({"gala"}))
    bound.require_event("gala")
    with pytest.raises(UnknownEvent) as caught:
        bound.require_event("fair")
    assert (caught.value.code, caught.value.status) == ("unknown_event", 404)
    assert caught.value.detail == UnknownEvent().detail
    with pytest.raises(UnknownEvent):
        identity(Role.administrator, frozenset()).require_event("gala")
    identity(Role.member).require_event("fair")


def test_only_who_is_bound_to_nothing_manages_accounts() -> None:
    identity(Role.administrator).require_account_management()
    identity(Role.administrator).require_account()
    for caller in (identity(Role.administrator, frozenset({"gala"})), identity(Role.operator)):
        assert not caller.manages_accounts()
        with pytest.raises(Forbidden):
            caller.require_account_management()


@pytest.mark.parametrize("scope", Scope)
def test_a_key_lacks_what_no_scope_allows(scope: Scope) -> None:
    key = Identity("ada", "api_key", "k", "1", None, scope.permissions, None, is_bound=True)
    for permission in Permission:
        if key.may(permission):
            key.require(permission)
            continue
        with pytest.raises(Forbidden) as caught:
            key.require(permission)
        assert caught.value.context["permission"] == permission.value
    assert not scope.permissions & {Permission.manage_accounts, Permission.manage_api_keys}
    with pytest.raises(Forbidden):
        key.require_account()
