"""Cursors: the last id of a page, wrapped so that callers treat it as opaque.

A page continues behind an id rather than at a position, so rows that come or go between two calls neither
repeat nor hide the others.
"""

from __future__ import annotations

import base64
import binascii

from serving.errors import InvalidRequest

MAX_LIMIT = 1000
_MAX_CURSOR_CHARS = 256


def check_limit(limit: int) -> int:
    """Return the limit; raise InvalidRequest unless it is 1 to 1000."""
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidRequest(f"A page has 1 to {MAX_LIMIT} items.", field="limit", max_limit=MAX_LIMIT)
    return limit


def write_cursor(kind: str, last_id: str) -> str:
    """The cursor behind this id in a list of this kind."""
    return base64.urlsafe_b64encode(f"{kind}/{last_id}".encode()).decode().rstrip("=")


def read_cursor(kind: str, cursor: str | None) -> str:
    """The id a cursor stands behind, or the empty string, which precedes all ids, for None.

    Raises:
        InvalidRequest: not a cursor of this kind of list.
    """
    if cursor is None:
        return ""
    try:
        if len(cursor) > _MAX_CURSOR_CHARS:
            raise ValueError
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        found_kind, separator, last_id = (
            base64.b64decode(padded, b"-_", validate=True).decode("ascii").partition("/")
        )
        if not separator or found_kind != kind or not last_id.isprintable():
            raise ValueError
    except (ValueError, binascii.Error):
        raise InvalidRequest(
            "This is not a cursor of this list; take it from the page before.", field="cursor"
        ) from None
    return last_id
