"""Values that fit a schema of the document, every optional member among them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MOMENT = "2026-05-01T18:02:11.482913Z"


def make_sample(schema: Mapping[str, Any], components: Mapping[str, Any]) -> Any:
    """One value that `schema` allows."""
    if "$ref" in schema:
        return make_sample(components[schema["$ref"].rpartition("/")[2]], components)
    for word in ("anyOf", "oneOf", "allOf"):
        if word in schema:
            return make_sample(schema[word][0], components)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][-1]
    return _KINDS[schema.get("type", "string")](schema, components)


def _make_object(schema: Mapping[str, Any], components: Mapping[str, Any]) -> Any:
    properties = schema.get("properties")
    if properties is None:
        return {"table": 4, "picture": "no-such-file.jpg"}
    return {name: make_sample(each, components) for name, each in properties.items()}


def _make_array(schema: Mapping[str, Any], components: Mapping[str, Any]) -> Any:
    if "prefixItems" in schema:
        return [make_sample(each, components) for each in schema["prefixItems"]]
    return [make_sample(schema.get("items", {}), components)] * max(schema.get("minItems", 1), 1)


def _make_string(schema: Mapping[str, Any], components: Mapping[str, Any]) -> str:
    return MOMENT if schema.get("format") == "date-time" else "a-word"


def _make_number(schema: Mapping[str, Any], components: Mapping[str, Any]) -> float:
    return 0.5


def _make_integer(schema: Mapping[str, Any], components: Mapping[str, Any]) -> int:
    return int(schema.get("minimum", 1)) + 1


_KINDS = {
    "object": _make_object,
    "array": _make_array,
    "string": _make_string,
    "number": _make_number,
    "integer": _make_integer,
    "boolean": lambda *_: True,
    "null": lambda *_: None,
}
