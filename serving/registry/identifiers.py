"""The rules for ids and names, and the making of new ids.

Ids are compared as they are: case counts, and nothing is normalised.
"""

from __future__ import annotations

import re
import secrets
import unicodedata
import uuid

from serving.errors import InvalidRequest

EVENT_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$"
"""1 to 128 ASCII letters, digits and `. _ : -`, the first a letter or digit; safe as a URL path segment."""

PERSON_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:@+-]{0,127}$"
"""As for events, and also `@` and `+`, so that an e-mail address will do."""

FACE_ID_PATTERN = EVENT_ID_PATTERN
ACCOUNT_NAME_PATTERN = PERSON_ID_PATTERN
MAX_NAME_CHARS = 200

_EVENT_ID = re.compile(EVENT_ID_PATTERN[1:-1], re.ASCII)
_PERSON_ID = re.compile(PERSON_ID_PATTERN[1:-1], re.ASCII)
# Controls, lone surrogates (no UTF-8 form), line and paragraph separators.
_FORBIDDEN_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})
# No 0 o 1 i l: they are mistaken for each other when read aloud or copied from paper.
_UNAMBIGUOUS = "23456789abcdefghjkmnpqrstuvwxyz"
_GENERATED_CHARS = 12  # 59 bits


def check_event_id(event_id: str) -> str:
    """Return the id; raise InvalidRequest when it is not one an event can have."""
    return _check(_EVENT_ID, event_id, "event id", EVENT_ID_PATTERN)


def check_person_id(person_id: str) -> str:
    """Return the id; raise InvalidRequest when it is not one a person can have."""
    return _check(_PERSON_ID, person_id, "person id", PERSON_ID_PATTERN)


def check_face_id(face_id: str) -> str:
    """Return the id; raise InvalidRequest when it is not one a face can have."""
    return _check(_EVENT_ID, face_id, "face id", FACE_ID_PATTERN)


def check_account_name(name: str) -> str:
    """Return the name; raise InvalidRequest when it is not one an account can have."""
    return _check(_PERSON_ID, name, "account name", ACCOUNT_NAME_PATTERN)


def check_name(name: str | None) -> str | None:
    """Return the name; raise InvalidRequest unless it is None or 1 to 200 printable characters."""
    if name is None:
        return None
    if not isinstance(name, str) or not name.strip() or len(name) > MAX_NAME_CHARS:
        raise InvalidRequest(
            f"A name has 1 to {MAX_NAME_CHARS} characters, not all blank.",
            field="name",
            max_chars=MAX_NAME_CHARS,
        )
    if any(unicodedata.category(character) in _FORBIDDEN_CATEGORIES for character in name):
        raise InvalidRequest("A name has no control characters or line breaks.", field="name")
    return name


def is_event_id(event_id: str) -> bool:
    """Whether an event could have this id at all."""
    return isinstance(event_id, str) and _EVENT_ID.fullmatch(event_id) is not None


def is_person_id(person_id: str) -> bool:
    """Whether a person could have this id at all."""
    return isinstance(person_id, str) and _PERSON_ID.fullmatch(person_id) is not None


def is_account_name(name: str) -> bool:
    """Whether an account could have this name at all."""
    return is_person_id(name)


def generate_id() -> str:
    """A new random id for an event or a person: 12 lower-case characters, none easily mistaken."""
    return "".join(secrets.choice(_UNAMBIGUOUS) for _ in range(_GENERATED_CHARS))


def generate_event_key() -> str:
    """A new partition key, 32 hexadecimal digits, never used before or again."""
    return uuid.uuid4().hex


def _check(pattern: re.Pattern[str], value: str, kind: str, documented_pattern: str) -> str:
    if not isinstance(value, str) or pattern.fullmatch(value) is None:
        raise InvalidRequest(
            f"This is not a valid {kind}.",
            field=kind.replace(" ", "_"),
            pattern=documented_pattern,
            max_chars=128,
        )
    return value
