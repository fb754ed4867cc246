"""Pages for people: what a browser loads. They hold nothing secret and need no token; their calls do."""

from __future__ import annotations

from pathlib import Path

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
CONSOLE = Path(__file__).parents[2] / "console"
KINDS = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
}
CONSOLE_PAGE, DOOR_PAGE = "index.html", "check_in.html"
DOCS_PAGE, DOCS_SCRIPT = "api_docs.html", "api_docs.js"
FILES = {
    each.relative_to(CONSOLE).as_posix(): each.read_bytes()
    for each in CONSOLE.rglob("*")
    if each.suffix[1:] in KINDS
}
"""Every page, style sheet and script by its path below `serving/console`; read once, some 100 kB in all."""


@router.get("/")
async def show_console() -> Response:
    """The console: events, people, live video, and all else that the interface does."""
    return _answer(CONSOLE_PAGE, HEADERS)


@router.get("/check-in")
async def show_door() -> Response:
    """The camera at the door."""
    return _answer(DOOR_PAGE, HEADERS)


@router.get("/console/{name:path}")
async def show_part(name: str) -> Response:
    """How the pages look and what they do; the pages themselves have paths of their own."""
    if name not in FILES or name.endswith(".html"):
        raise NotFound
    return _answer(name, HEADERS)


@router.get("/docs")
async def show_docs() -> Response:
    """Every route, to read and to try. Its large parts come from `fastapi_swagger`."""
    return _answer(DOCS_PAGE, DOCS_HEADERS)


@router.get(f"/docs/{DOCS_SCRIPT}")
async def show_docs_script() -> Response:
    """What starts the page, in a file of its own so that the page needs no script of its own."""
    return _answer(DOCS_SCRIPT, DOCS_HEADERS)


def _answer(name: str, headers: dict[str, str]) -> Response:
    return Response(FILES[name], media_type=KINDS[name.rpartition(".")[2]], headers=headers)
