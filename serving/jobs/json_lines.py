"""Lines of JSON, one person in each, and the rules for what a line says of the person."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, NoReturn

from serving.errors import InvalidRequest
from serving.jobs.records import PersonFacts
from serving.registry.identifiers import check_person_id
from serving.registry.person_details import PersonDetails

MAX_LINE_BYTES = 8 * 2**20
"""A thousand faces of 512 numbers fit, as base64 or in short decimals."""


def parse_line(line: bytes, fields: Collection[str]) -> dict[str, Any]:
    """The object on a line.

    Raises:
        InvalidRequest: it is not a JSON object of these fields, or names one twice.
    """
    try:
        content = json.loads(line, object_pairs_hook=_make_object, parse_constant=_refuse_constant)
    except InvalidRequest:
        raise
    except (ValueError, RecursionError):
        raise InvalidRequest("the line is not valid JSON") from None
    if not isinstance(content, dict):
        raise InvalidRequest("the line is not a JSON object")
    for name in content:
        if name not in fields:
            raise InvalidRequest(f"unknown field {name[:80]!r}; the fields are {', '.join(sorted(fields))}")
    return content


def check_facts(content: Mapping[str, Any]) -> PersonFacts:
    """What a line says of its person; raises InvalidRequest."""
    person_id = content.get("person_id")
    if not isinstance(person_id, str):
        raise InvalidRequest("person_id is missing or no text", field="person_id")
    check_person_id(person_id)
    details = PersonDetails(content.get("name"), content.get("metadata"), content.get("consent_reference"))
    details.check()
    return PersonFacts(person_id, details)


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in pairs:
        if name in made:
            raise InvalidRequest(f"the field {name[:80]!r} is given twice")
        made[name] = value
    return made


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidRequest(f"{name} is not JSON")
