"""Pages for people: what a browser loads. They hold nothing secret and need no token; their calls do."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

from fastapi import APIRouter, Response

from serving.errors import NotFound

router = APIRouter(include_in_schema=False)

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "media-src 'self' blob:",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'self'",
    )
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
DOCS_HEADERS = HEADERS | {
    # Swagger UI writes styles into its elements, and icons into its style sheet.
    "Content-Security-Policy": CONTENT_SECURITY_POLICY.replace(
        "style-src 'self'", "style-src 'self' 'unsafe-inline'"
    ),
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
CONSOLE = files("serving") / "console"
KINDS = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
}


def _load(name: str) -> tuple[bytes, str]:
    return (CONSOLE / name).read_bytes(), KINDS[name.rpartition(".")[2]]


PAGE = "check_in.html"
LIVE_PAGE = "live.html"
PARTS = {
    name: _load(name)
    for name in (
        PAGE,
        "check_in.css",
        "check_in.js",
        "check_in_calls.js",
        "check_in_camera.js",
        "check_in_drawing.js",
    )
}
"""Read once: a page is a few kilobytes."""
LIVE_PARTS = {
    name: _load(name)
    for name in (LIVE_PAGE, "live.css", "live.js", "live_sound.js", "live_stream.js", "session.js")
}
DOCS_PAGE, DOCS_SCRIPT = "api_docs.html", "api_docs.js"
DOCS_PARTS = {name: _load(name) for name in (DOCS_PAGE, DOCS_SCRIPT)}


@router.get("/")
async def show_live() -> Response:
    """The console's first page: everyone in view of a camera, with a name."""
    return _answer(LIVE_PAGE, LIVE_PARTS)


@router.get("/console/{name}")
async def show_part_of_live(name: str) -> Response:
    """How the page looks and what it does."""
    if name not in LIVE_PARTS or name == LIVE_PAGE:
        raise NotFound
    return _answer(name, LIVE_PARTS)


@router.get("/check-in")
async def show_check_in() -> Response:
    """The camera at the door."""
    return _answer(PAGE, PARTS)


@router.get("/check-in/{name}")
async def show_part_of_check_in(name: str) -> Response:
    """How the page looks and what it does."""
    if name not in PARTS or name == PAGE:
        raise NotFound
    return _answer(name, PARTS)


@router.get("/docs")
async def show_docs() -> Response:
    """Every route, to read and to try. Its large parts come from `fastapi_swagger`."""
    content, kind = DOCS_PARTS[DOCS_PAGE]
    return Response(content, media_type=kind, headers=DOCS_HEADERS)


@router.get(f"/docs/{DOCS_SCRIPT}")
async def show_docs_script() -> Response:
    """What starts the page, in a file of its own so that the page needs no script of its own."""
    content, kind = DOCS_PARTS[DOCS_SCRIPT]
    return Response(content, media_type=kind, headers=DOCS_HEADERS)


def _answer(name: str, parts: Mapping[str, tuple[bytes, str]]) -> Response:
    content, kind = parts[name]
    return Response(content, media_type=kind, headers=HEADERS)
