"""The HTTP application: every route, its guards and its error answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi_swagger import patch_fastapi

import serving
from serving.api.audit_middleware import AuditMiddleware
from serving.api.callers import CallerWatch, settle
from serving.api.cors import CrossOrigin
from serving.api.early_refusal import EarlyRefusal
from serving.api.envelope import Problem, install_error_answers
from serving.api.host_check import HostCheck
from serving.api.middleware import AnswerHeaders
from serving.api.request_meter import RequestMeter
from serving.api.route_index import RouteIndex
from serving.api.routes import (
    accounts,
    api_keys,
    audit,
    authentication,
    batch,
    check_ins,
    comparison,
    events,
    faces,
    jobs,
    metrics,
    migration,
    operations,
    pages,
    people,
    recognition,
    search,
    stateless,
    stream,
    verification,
)
from serving.api.security_headers import make_answer_headers
from serving.api.services import Services
from serving.api.unread_bodies import BodyDrain
from serving.jobs.runner import JobRunner

DESCRIPTION = """
Who is in this picture, among the people enrolled for that event? How sure is that? And `unknown` when it
is nobody.

Most routes need `Authorization: Bearer <token or API key>`: sign in for a token, or let `rollcall token`
print one. Health, signing up and in, and the signer's public keys need none. Every error is one
`application/problem+json` document with a stable `code` and a `cure`.
"""


def create_app(services: Services, job_runner: JobRunner | None = None) -> FastAPI:
    """The application over `services`; it stops the runner of its background jobs when it ends itself."""
    unfinished: set[asyncio.Task[None]] = set()
    app = FastAPI(
        title="Rollcall",
        version=serving.__version__,
        description=DESCRIPTION,
        docs_url=None,  # the page is ours (`routes/pages.py`); it asks no third party for its parts
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        lifespan=_close_with(services, unfinished, job_runner),
    )
    app.state.services = services
    app.state.readiness = operations.Readiness(services)
    parts = (
        events,
        people,
        faces,
        recognition,
        batch,
        verification,
        search,
        stateless,
        comparison,
        audit,
        operations,
        metrics,
        accounts,
        authentication,
        api_keys,
        check_ins,
        jobs,
        migration,
        pages,
        stream,
    )
    for part in parts:
        app.include_router(part.router)
    index = RouteIndex.of(part.router for part in parts)
    patch_fastapi(app, redirect_from_root_to_docs=False, title="Rollcall API")
    install_error_answers(app)
    app.add_middleware(AuditMiddleware)
    app.add_middleware(EarlyRefusal)
    app.add_middleware(CallerWatch, index=index, unfinished=unfinished)
    web = services.settings.web
    answer_headers = make_answer_headers(web)
    if web.allowed_hosts:
        app.add_middleware(HostCheck, hosts=web.allowed_hosts)
    app.add_middleware(AnswerHeaders, headers=answer_headers)
    if web.cors_origins:
        app.add_middleware(CrossOrigin, settings=web, headers=answer_headers)
    app.add_middleware(BodyDrain)
    app.add_middleware(RequestMeter)
    app.openapi = _document_problems(app.openapi)  # type: ignore[method-assign]
    return app


def _close_with(
    services: Services, unfinished: set[asyncio.Task[None]], job_runner: JobRunner | None
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        if job_runner is not None:
            await job_runner.stop()
        await settle(unfinished)
        await services.accounts.api_keys.finish_notes()
        await services.statistics.stop()
        await services.audit.stop()
        await services.rate_limiter.close()
        await services.registry.close()

    return lifespan


def _document_problems(make: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    """Put `Problem` into the document in place of FastAPI's own forms of error."""

    def openapi() -> dict[str, Any]:
        document = make()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        if "Problem" in schemas:
            return document
        schemas["Problem"] = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        return document

    return openapi
