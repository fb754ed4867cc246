"""Signing in, staying signed in and signing out; who am I; the keys of the token signer."""

from __future__ import annotations

import asyncio
import uuid
from datetime import datetime, timezone
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from serving.accounts.identities import Identity, Permission, Role
from serving.accounts.records import OwnedPerson, SessionStart
from serving.api.access import Allowed, IdentityOf
from serving.api.bodies import read_pictures
from serving.api.deadlines import Deadline, DeadlineOf
from serving.api.envelope import problems
from serving.api.json_body import read_json
from serving.api.liveness import decide_sign_in_liveness, effective_mode
from serving.api.openapi import PICTURE_ERRORS, json_body
from serving.api.options import SingleFace
from serving.api.policies import decide_sign_in
from serving.api.probes import embed_faces, find_single_face
from serving.api.recognition_bodies import options_body
from serving.api.schemas.accounts import (
    FaceSignIn,
    JsonWebKeySet,
    Refresh,
    RotatedKey,
    SignIn,
    Tokens,
    WhoAmI,
)
from serving.api.services import Services, ServicesOf
from serving.errors import (
    BodyTooLarge,
    DeadlineExceeded,
    FalseMatchRateNotSupported,
    Forbidden,
    InternalError,
    InvalidRequest,
    NoFace,
    Overloaded,
    PresentationAttack,
    QualityTooLow,
    RateLimited,
    RollcallError,
    SeveralFaces,
    SignInFailed,
    StageUnavailable,
    TokenExpired,
    TokenInvalid,
    TokenRevoked,
    UnknownEvent,
)
from serving.vision.liveness_modes import LivenessMode
from serving.vision.quality_gates import QualityLevel

router = APIRouter(tags=["authentication"])

JWKS_HEADERS = {"Cache-Control": "public, max-age=60"}
"""Public keys may be kept; whoever meets an unknown kid asks again."""

_OPEN = (InvalidRequest, InternalError, Overloaded, StageUnavailable, DeadlineExceeded)
"""What a route for callers without credentials may answer."""


@router.post(
    "/v1/auth/sign-in",
    summary="Sign in with a password",
    responses=problems(SignInFailed, RateLimited, BodyTooLarge, common=_OPEN),
    openapi_extra={"requestBody": json_body("Name and password.", SignIn)},
)
async def sign_in(request: Request, services: ServicesOf, deadline: DeadlineOf) -> Tokens:
    """A short-lived access token, and a refresh token for the next.

    The answer to an unknown name, a wrong password and a disabled account is the same, and takes as long.
    """
    given = await read_json(request, SignIn, deadline.remaining_s())
    async with services.rate_limiter.attempt_sign_in(request, given.name):
        start = await services.accounts.sessions.sign_in(given.name, given.password)
    return _issue(request, services, start)


@router.post(
    "/v1/auth/sign-in/face",
    summary="Sign in with a picture of one's own face",
    responses=problems(
        *PICTURE_ERRORS,
        NoFace,
        SeveralFaces,
        QualityTooLow,
        PresentationAttack,
        Forbidden,
        SignInFailed,
        RateLimited,
        common=_OPEN,
    ),
    openapi_extra={
        "requestBody": options_body(
            "One picture with one face: JPEG, PNG or WebP.", FaceSignIn, {"name": "ada@example.org"}
        )
    },
)
async def sign_in_by_face(
    request: Request,
    services: ServicesOf,
    deadline: DeadlineOf,
    name: Annotated[str | None, Query(max_length=256, description="The account's name.")] = None,
) -> Tokens:
    """For an account that owns an enrolled person; off unless `auth.face_sign_in` is set.

    A photograph of somebody is not the person, so the token is a member's, for the event of the enrolment
    only, and cannot be renewed. The answer is the same whichever part did not fit.
    """
    if not services.settings.auth.face_sign_in:
        raise Forbidden("Signing in by face is switched off.", needs="the setting auth.face_sign_in")
    with services.gate.admit() as admission:
        body = await read_pictures(request, services, admission, deadline)
        name = _merge_name(name, body.fields)
        if len(body.pictures) != 1:
            raise InvalidRequest("signing in takes exactly one picture")
        # A picture that shows no face costs as much as one of the wrong face.
        async with services.rate_limiter.attempt_sign_in(request, name, failures=RollcallError):
            account_id, event_id = await _verify_face(services, name, body.pictures[0], deadline)
            start = await services.accounts.sessions.begin_by_face(
                account_id, services.settings.auth.access_lifetime_s
            )
    return _issue(request, services, start, event_id)


@router.post(
    "/v1/auth/refresh",
    summary="Exchange a refresh token for new tokens",
    responses=problems(TokenInvalid, TokenExpired, TokenRevoked, BodyTooLarge, common=_OPEN),
    openapi_extra={"requestBody": json_body("The refresh token.", Refresh)},
)
async def refresh(request: Request, services: ServicesOf, deadline: DeadlineOf) -> Tokens:
    """Each refresh token is good once. One that comes a second time may be stolen, and ends the session."""
    given = await read_json(request, Refresh, deadline.remaining_s())
    return _issue(request, services, await services.accounts.sessions.renew(given.refresh_token))


@router.post("/v1/auth/sign-out", status_code=204, summary="Sign out", responses=problems())
async def sign_out(
    services: ServicesOf,
    identity: IdentityOf,
    everywhere: Annotated[
        bool, Query(description="End every session of the account, and every token made for it.")
    ] = False,
) -> Response:
    """Ends the session that the token comes from: its tokens are refused at once, on every replica."""
    if everywhere:
        identity.require_account()
        await services.accounts.sessions.end_all(identity.account_id)
    elif identity.session_id is not None:
        await services.accounts.sessions.end(identity.session_id)
    else:
        raise Forbidden(
            "These credentials come from no sign-in, so there is no session to end.",
            needs="a token of a sign-in, or everywhere=true",
        )
    return Response(status_code=204)


@router.get("/v1/auth/whoami", summary="Who am I?", responses=problems())
async def who_am_i(identity: IdentityOf) -> WhoAmI:
    """What the credentials of this request stand for at this moment."""
    expires_at = identity.expires_at
    return WhoAmI(
        kind=identity.kind,
        id=identity.id,
        name=identity.subject,
        role=identity.role,
        permissions=[each for each in Permission if identity.may(each)],
        events=None if identity.events is None else sorted(identity.events),
        expires_at=None if expires_at is None else datetime.fromtimestamp(expires_at, timezone.utc),
    )


@router.post("/v1/auth/keys/rotate", summary="Sign with a new key", responses=problems())
async def rotate_keys(
    services: ServicesOf, identity: Annotated[Identity, Depends(Allowed(Permission.manage_accounts))]
) -> RotatedKey:
    """For administrators. Every replica accepts the new key at once; nobody is signed out."""
    identity.require_account_management()
    return RotatedKey(kid=await asyncio.to_thread(services.accounts.key_ring.rotate))


@router.get(
    "/.well-known/jwks.json",
    summary="The public keys of the token signer",
    responses=problems(InternalError, common=()),
)
async def get_jwks(services: ServicesOf, response: Response) -> JsonWebKeySet:
    """A JWK set (RFC 7517) of all keys whose tokens are accepted; needs no token."""
    response.headers.update(JWKS_HEADERS)
    return JsonWebKeySet.model_validate(services.accounts.key_ring.to_jwks())


def _issue(
    request: Request, services: Services, start: SessionStart, only_event: str | None = None
) -> Tokens:
    """The tokens of a session; a member's, at one event, where `only_event` is given."""
    lifetime_s = services.settings.auth.access_lifetime_s
    role = start.account.role if only_event is None else Role.member
    events = None if only_event is None else [only_event]
    request.state.identity = Identity(  # for the audit trail: from here on the caller is known
        subject=start.account.name,
        kind="account",
        id=start.account.id,
        account_id=start.account.id,
        role=role,
        permissions=role.permissions,
        events=None if events is None else frozenset(events),
        session_id=start.id,
    )
    token = services.accounts.issuer.issue(start.account.id, role, events, lifetime_s, start.id)
    return Tokens(access_token=token, expires_in_s=lifetime_s, refresh_token=start.refresh_token)


async def _verify_face(services: Services, name: str, picture: bytes, deadline: Deadline) -> tuple[str, str]:
    """The ids of the account whose own person the face is, and of the person's event; else SignInFailed.

    The same is done, in vain, for an account that does not exist or owns nobody, so that it takes as long as
    for a person of the default pack.
    """
    found = await services.accounts.sessions.find_face(name)
    account_id, owned = found or ("", OwnedPerson(uuid.uuid4().hex, "", "nobody"))
    line = services.lines.default
    threshold = line.calibration.default_threshold
    check = decide_sign_in_liveness(services)
    may_match, partition = False, ""
    try:
        event = await services.registry.get_event(owned.event_id or "nowhere")
        line = services.lines.find(event.pack_id) or line
        threshold = decide_sign_in(event, line.calibration, line.threshold)
        is_ours = event.key == owned.event_key and event.pack_id == line.pack.id
        # An event that enforces liveness may have lost its model.
        is_checked = check.enforces or effective_mode(services, event) is not LivenessMode.enforce
        may_match = is_ours and event.closed_at is None and is_checked
        partition = event.partition
    except (UnknownEvent, FalseMatchRateNotSupported):
        pass
    face = await find_single_face(line, picture, SingleFace.only, QualityLevel.standard, deadline, check)
    vectors = await embed_faces(line, [face], deadline)
    partition = partition if may_match else uuid.uuid4().hex
    decisions = await line.stages.search(
        partition, vectors, 1, threshold, deadline.remaining_s(), owned.person_id
    )
    enrolled = await services.registry.names_of(owned.event_key, [owned.person_id])
    if not (may_match and decisions[0].matched and owned.person_id in enrolled):
        raise SignInFailed
    return account_id, owned.event_id


def _merge_name(query: str | None, fields: dict[str, str]) -> str:
    unknown = sorted(set(fields) - {"name"})
    if unknown:
        raise InvalidRequest(f"unknown field {unknown[0][:80]!r}; the only one is name")
    names = {each for each in (query, fields.get("name")) if each is not None}
    if len(names) != 1:
        raise InvalidRequest("name is needed, once", field="name")
    return names.pop()
