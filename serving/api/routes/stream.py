"""Live video: a WebSocket that takes frames and answers with the faces in them."""

from __future__ import annotations

import asyncio
import logging

from fastapi import APIRouter, WebSocket
from starlette.websockets import WebSocketDisconnect, WebSocketState

from serving.api.client_address import find_address, network_of
from serving.api.envelope import answer_error
from serving.api.services import Services
from serving.api.stream.caller import StreamCaller
from serving.api.stream.handshake import check_origin, read_offer
from serving.api.stream.limits import StreamPlaces
from serving.api.stream.report import PATH, StreamReport
from serving.api.stream.session import StreamSession, conceal
from serving.errors import InternalError, RollcallError

logger = logging.getLogger("ray.serve")

router = APIRouter()


@router.websocket(PATH)
async def stream(websocket: WebSocket, event: str) -> None:
    """Faces of a live video. docs/stream.md has the protocol, which OpenAPI has no words for."""
    services: Services = websocket.app.state.services
    report = StreamReport(websocket, services, event)
    try:
        await _serve(websocket, services, event, report)
    except WebSocketDisconnect:
        return
    finally:
        report.finish()


async def _serve(websocket: WebSocket, services: Services, event: str, report: StreamReport) -> None:
    places = _find_places(websocket, services)
    caller = StreamCaller(websocket, services, event)
    session = StreamSession(websocket, services, caller, report)
    try:
        check_origin(websocket, services.settings.web.cors_origins)
        address = find_address(websocket.scope, services.settings.web.trusted_proxies)
        with places.knock(None if address is None else network_of(address)):
            offer = read_offer(websocket)
            if offer.credential is not None and offer.protocol is None:
                await caller.enter(offer.credential)  # no browser: it understands an answer of HTTP
            await websocket.accept(subprotocol=offer.protocol)
            options = await session.read_start()
            if caller.identity is None:
                token = None if options.token is None else options.token.get_secret_value()
                await session.read_during(caller.enter(token or offer.credential))
        assert caller.identity is not None
        with places.enter(caller.identity.account_id):
            await session.run(options)
    except RollcallError as error:
        await _refuse(websocket, session, report, error)
    except (WebSocketDisconnect, asyncio.CancelledError):
        raise
    except Exception as error:
        logger.error("stream %r failed: %s", report.stream_id, type(error).__name__, exc_info=error)
        await _refuse(websocket, session, report, InternalError())


async def _refuse(
    websocket: WebSocket, session: StreamSession, report: StreamReport, error: RollcallError
) -> None:
    """End a stream with an error: by an HTTP answer, as long as it is not accepted."""
    if report.tally is None:
        await report.deny(error)
    report.error = error
    if websocket.application_state is WebSocketState.CONNECTING:
        shown = conceal(error, report.stream_id)
        await answer_error(websocket, shown)(websocket.scope, websocket.receive, websocket.send)
    else:
        await session.end(error)


def _find_places(websocket: WebSocket, services: Services) -> StreamPlaces:
    """Those of this application, made when the first stream comes."""
    state = websocket.app.state
    if getattr(state, "stream_places", None) is None or state.stream_places[0] is not services:
        settings = services.settings.stream
        state.stream_places = services, StreamPlaces(settings.max_open, settings.max_per_caller)
    places: StreamPlaces = state.stream_places[1]
    return places
