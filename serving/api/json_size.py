"""How much a JSON text may become in memory, told before it is parsed."""

from __future__ import annotations

from serving.errors import InvalidRequest

MAX_PICTURE_VALUES = 20_000
"""Of a body that holds pictures: its options, and metadata of a few kilobytes."""
_MARKS = (b",", b"[", b"{")


def check_value_count(raw: bytes, most: int) -> None:
    """Raise InvalidRequest when `raw` could hold more than about `most` values; costs a nanosecond a byte.

    Three bytes of JSON can become a hundred of memory, and a microsecond in which nobody else is served.
    Each value but the first follows one of three characters. Base64 has none of them; other texts may, so
    `most` must leave room for what they hold.
    """
    values = sum(raw.count(mark) for mark in _MARKS)
    if values > most:
        raise InvalidRequest("the JSON body holds more values than any request has", max_values=most)
