"""Accounts: sign-up, who they are, what they may, their passwords, and the person each may own."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response

from serving.accounts.identities import Identity, Permission, Role
from serving.accounts.records import Account
from serving.api.access import Allowed, IdentityOf, PossibleIdentityOf
from serving.api.deadlines import Deadline, DeadlineOf
from serving.api.envelope import problems
from serving.api.erasure import erase_person
from serving.api.json_body import read_json
from serving.api.openapi import json_body
from serving.api.paging import Cursor, Limit
from serving.api.schemas.accounts import (
    AccountChange,
    AccountPage,
    AccountSummary,
    AccountView,
    NewAccount,
    OwnPersonLink,
    OwnPersonView,
    PasswordChange,
)
from serving.api.services import Services, ServicesOf
from serving.errors import (
    AccountExists,
    BodyTooLarge,
    Forbidden,
    InvalidRequest,
    LastAdministrator,
    Overloaded,
    PackMismatch,
    RateLimited,
    SignInFailed,
    SignUpClosed,
    UnknownAccount,
    UnknownEvent,
    UnknownPerson,
    WeakPassword,
)

router = APIRouter(prefix="/v1/accounts", tags=["accounts"])

AccountId = Annotated[
    str, Path(description="The account's id, or `me` for the caller's own.", examples=["me"])
]

_REMOVAL_ATTEMPTS = 3


@router.post(
    "",
    status_code=201,
    summary="Sign up, or create an account",
    responses=problems(SignUpClosed, AccountExists, WeakPassword, UnknownEvent, BodyTooLarge, RateLimited),
    openapi_extra={
        "requestBody": json_body("The account.", NewAccount),
        "security": [{}],
    },
)
async def create_account(
    request: Request, services: ServicesOf, identity: PossibleIdentityOf, deadline: DeadlineOf
) -> AccountView:
    """Without credentials: a member who reaches no event until an administrator grants some.

    Administrators choose role and events, and may also do so where signing up is closed.
    """
    may_manage = identity is not None and identity.manages_accounts()
    if not may_manage and not services.settings.auth.sign_up:
        raise SignUpClosed
    new = await read_json(request, NewAccount, deadline.remaining_s())
    chosen = (new.role, new.all_events, new.events)
    if not may_manage:
        if any(each is not None for each in chosen):
            raise Forbidden(
                "Only administrators choose the role and events of an account.",
                needs=Role.administrator.value,
            )
        if new.password is None:
            raise InvalidRequest("password is needed to sign up", field="password")
        await services.rate_limiter.admit_sign_up(request)
    if new.all_events and new.events is not None:
        raise InvalidRequest("give events, or all_events, not both", field="events")
    created = await services.accounts.accounts.create(
        new.name,
        new.role or Role.member,
        new.password,
        None if new.all_events else new.events or (),
    )
    return _view(created)


@router.get("", summary="List accounts", responses=problems())
async def list_accounts(
    services: ServicesOf,
    identity: Annotated[Identity, Depends(Allowed(Permission.manage_accounts))],
    cursor: Cursor = None,
    limit: Limit = 100,
) -> AccountPage:
    """All accounts, by name; for administrators."""
    identity.require_account_management()
    page = await services.accounts.accounts.list(cursor, limit)
    return AccountPage(accounts=[_summarise(each) for each in page.items], next_cursor=page.next)


@router.get("/{account}", summary="Look at an account", responses=problems(UnknownAccount))
async def get_account(services: ServicesOf, identity: IdentityOf, account: AccountId) -> AccountView:
    """One's own account; administrators also look at others'."""
    return _view(await services.accounts.accounts.get(_resolve(identity, account)))


@router.patch(
    "/{account}",
    summary="Change an account's role, state or events",
    responses=problems(UnknownAccount, UnknownEvent, LastAdministrator, BodyTooLarge),
    openapi_extra={"requestBody": json_body("What to change.", AccountChange)},
)
async def change_account(
    request: Request,
    services: ServicesOf,
    identity: Annotated[Identity, Depends(Allowed(Permission.manage_accounts))],
    deadline: DeadlineOf,
    account: AccountId,
) -> AccountView:
    """For administrators. It holds from the next request on, for tokens and keys that exist already too."""
    identity.require_account_management()
    change = await read_json(request, AccountChange, deadline.remaining_s())
    if all(value is None for value in (change.role, change.disabled, change.all_events, change.events)):
        raise InvalidRequest("nothing to change is given")
    changed = await services.accounts.accounts.change(
        _resolve(identity, account),
        role=change.role,
        disabled=change.disabled,
        all_events=change.all_events,
        events=change.events,
    )
    return _view(changed)


@router.delete(
    "/{account}",
    status_code=204,
    summary="Delete an account and the person it owns",
    responses=problems(UnknownAccount, LastAdministrator),
)
async def delete_account(
    request: Request, services: ServicesOf, identity: IdentityOf, deadline: DeadlineOf, account: AccountId
) -> Response:
    """One's own, or as an administrator anybody's. Erases the account's person with every face first."""
    account_id = _resolve(identity, account)
    accounts = services.accounts.accounts
    await accounts.check_removable(account_id)
    for _ in range(_REMOVAL_ATTEMPTS):
        await _erase_owned(request, services, account_id, deadline)
        if await accounts.remove(account_id):  # unless it was given another person meanwhile
            return Response(status_code=204)
    raise Overloaded("The account is given new people as fast as they are erased.")


@router.put(
    "/{account}/password",
    status_code=204,
    summary="Change a password",
    responses=problems(UnknownAccount, WeakPassword, SignInFailed, RateLimited, BodyTooLarge),
    openapi_extra={"requestBody": json_body("The old password and the new.", PasswordChange)},
)
async def change_password(
    request: Request,
    services: ServicesOf,
    identity: IdentityOf,
    deadline: DeadlineOf,
    account: AccountId,
) -> Response:
    """One's own, by the old one; administrators change any without. All other sessions end."""
    account_id = _resolve(identity, account)
    change = await read_json(request, PasswordChange, deadline.remaining_s())
    found = await services.accounts.accounts.get(account_id)
    old = change.old
    if old is None and found.has_password and not identity.manages_accounts():
        raise InvalidRequest("old is needed: the password so far", field="old")
    kept_session_id = identity.session_id if account_id == identity.account_id else None
    async with AsyncExitStack() as stack:
        if old is not None:
            await stack.enter_async_context(services.rate_limiter.attempt_sign_in(request, found.name))
        await services.accounts.accounts.change_password(found, change.new, old, kept_session_id)
    return Response(status_code=204)


@router.put(
    "/{account}/person",
    summary="Say which enrolled person is an account's own",
    responses=problems(UnknownAccount, UnknownEvent, UnknownPerson, PackMismatch, BodyTooLarge),
    openapi_extra={"requestBody": json_body("The person.", OwnPersonLink)},
)
async def link_person(
    request: Request,
    services: ServicesOf,
    identity: Annotated[Identity, Depends(Allowed(Permission.enrol))],
    deadline: DeadlineOf,
    account: AccountId,
) -> OwnPersonView:
    """For operators and administrators who reach the event. A person belongs to one account at most.

    To another operator or an administrator only administrators give a person: whoever looks like it can sign
    in as that account, where signing in by face is on.
    """
    if identity.kind != "account":
        raise Forbidden("An API key gives people to no account.", needs="an account's own token")
    account_id = identity.account_id if account == "me" else account
    link = await read_json(request, OwnPersonLink, deadline.remaining_s())
    if account_id == identity.account_id:
        identity.require_account()
    elif (await services.accounts.accounts.get(account_id)).role is not Role.member:
        identity.require_account_management()
    identity.require_event(link.event_id)
    event = await services.registry.get_event(link.event_id)
    services.line_of(event)
    owned = await services.accounts.accounts.find_person(account_id)
    if owned is not None and identity.events is not None and owned.event_id not in identity.events:
        raise Forbidden("This account owns a person elsewhere already.", needs="reach of that event")
    await services.accounts.accounts.link_person(account_id, event.key, link.person_id)
    request.state.event = event
    request.state.audit_person_id = link.person_id
    return OwnPersonView(event_id=event.id, person_id=link.person_id)


@router.get(
    "/{account}/person",
    summary="Which enrolled person is the account's own?",
    responses=problems(UnknownAccount, UnknownPerson),
)
async def get_person(services: ServicesOf, identity: IdentityOf, account: AccountId) -> OwnPersonView:
    """One's own; administrators also see others'. `unknown_person` where there is none."""
    account_id = _resolve(identity, account)
    await services.accounts.accounts.get(account_id)
    owned = await services.accounts.accounts.find_person(account_id)
    if owned is None:
        raise UnknownPerson("This account owns no person.")
    return OwnPersonView(event_id=owned.event_id, person_id=owned.person_id)


@router.delete(
    "/{account}/person",
    status_code=204,
    summary="Erase the person an account owns",
    responses=problems(UnknownAccount, UnknownPerson),
)
async def delete_person(
    request: Request, services: ServicesOf, identity: IdentityOf, deadline: DeadlineOf, account: AccountId
) -> Response:
    """Erases the person and every face at the event; the account stays."""
    account_id = _resolve(identity, account)
    await services.accounts.accounts.get(account_id)
    if not await _erase_owned(request, services, account_id, deadline):
        raise UnknownPerson("This account owns no person.")
    return Response(status_code=204)


def _resolve(identity: Identity, account: str) -> str:
    """The id of the account in the path: the caller's own, or anybody's for who manages accounts."""
    if account in ("me", identity.account_id):
        identity.require_account()
        return identity.account_id
    identity.require_account_management()
    return account


async def _erase_owned(request: Request, services: Services, account_id: str, deadline: Deadline) -> bool:
    """Erase the person the account owns, whom the audit entry names with the event; whether there was one."""
    owned = await services.accounts.accounts.find_person(account_id)
    if owned is None:
        return False
    try:
        event = await services.registry.get_event(owned.event_id)
    except UnknownEvent:
        return False  # being deleted with everyone in it
    if event.key != owned.event_key:
        return False  # deleted, and another made under its id
    request.state.event, request.state.audit_person_id = event, owned.person_id
    await erase_person(services, owned.event_key, owned.person_id, deadline)
    return True


def _summarise(account: Account) -> AccountSummary:
    return AccountSummary(
        id=account.id,
        name=account.name,
        role=account.role,
        disabled=account.disabled_at is not None,
        has_password=account.has_password,
        all_events=account.all_events,
        created_at=account.created_at,
    )


def _view(account: Account) -> AccountView:
    return AccountView(**_summarise(account).model_dump(), events=list(account.events))
