"""Writes reference.md from the OpenAPI document: every route, what it takes and answers, every schema."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

Node = Mapping[str, Any]

REF = "#/components/schemas/"
JSON_TYPES = ("application/json", "application/problem+json")
OUTCOMES = {"200": "OK", "201": "created", "202": "accepted", "204": "no content", "207": "several outcomes"}


def write_reference(document: Node) -> str:
    """The page, as Markdown.

    Args:
        document: OpenAPI 3.1, as FastAPI makes it.
    """
    lines = [
        "# API reference",
        "",
        "Every route of [openapi.json](openapi.json). What they are for, and how they are used together, is",
        "in [api.md](api.md). Errors are `application/problem+json`; what each code means and what to do",
        "about it is in [errors.md](errors.md).",
        "",
    ]
    by_tag: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            tag = operation.get("tags", ["other"])[0]
            by_tag.setdefault(tag, []).extend(_describe_operation(method.upper(), path, operation))
    for tag, described in by_tag.items():
        lines += [f"## {tag.capitalize()}", "", *described]
    lines += ["## Schemas", ""]
    for name, schema in sorted(document["components"]["schemas"].items()):
        lines += _describe_schema(name, schema)
    return "\n".join(lines).rstrip() + "\n"


def _describe_operation(method: str, path: str, operation: Node) -> Iterator[str]:
    yield from (f"### `{method} {path}`", "", f"**{operation['summary']}.**", "")
    if operation.get("description"):
        yield from (operation["description"].strip(), "")
    if operation.get("security") is None:
        yield from ("Needs no token.", "")
    if operation.get("parameters"):
        yield from ("| parameter | in | type | |", "|---|---|---|---|")
        for each in operation["parameters"]:
            name = f"`{each['name']}`" + (" (required)" if each.get("required") else "")
            text = each.get("description") or each["schema"].get("description", "")
            yield f"| {name} | {each['in']} | {_name_type(each['schema'])} | {_inline(text)} |"
        yield ""
    bodies = operation.get("requestBody", {}).get("content", {})
    if bodies:
        forms = [f"`{media}`" for media, body in bodies.items() if not _has_fields(body)]
        if forms:
            yield from (f"Body: {', '.join(forms)}.", "")
        for media, body in bodies.items():
            schema = body.get("schema", {})
            if "$ref" in schema:
                yield from (f"Body, `{media}`: {_name_type(schema)}.", "")
            elif _has_fields(body):
                yield from (f"Body, `{media}`:", "", *_list_fields(schema), "")
    yield from ("| status | answer |", "|---|---|")
    for status, answer in operation["responses"].items():
        yield f"| {status} | {_name_answer(status, answer)} |"
    yield ""


def _name_answer(status: str, answer: Node) -> str:
    if not status.startswith("2"):
        return ", ".join(f"`{code}`" for code in re.split(r",\s*", answer["description"]))
    told = []
    for media, body in answer.get("content", {}).items():
        name = _name_type(body.get("schema", {}))
        told.append(name if media in JSON_TYPES else f"`{media}`")
    return ", ".join(told) or OUTCOMES.get(status, answer["description"])


def _has_fields(body: Node) -> bool:
    schema = body.get("schema", {})
    return "$ref" in schema or "properties" in schema


def _describe_schema(name: str, schema: Node) -> Iterator[str]:
    yield from (f"### {name}", "")
    if schema.get("description"):
        yield from (schema["description"].strip(), "")
    if "properties" not in schema:
        yield from (_name_type(schema), "")
        return
    yield from (*_list_fields(schema), "")


def _list_fields(schema: Node) -> Iterator[str]:
    yield from ("| field | type | |", "|---|---|---|")
    required = schema.get("required", ())
    for field, each in schema["properties"].items():
        told = f"`{field}`" + (" (required)" if field in required else "")
        yield f"| {told} | {_name_type(each)} | {_inline(each.get('description', ''))} |"


def _name_type(schema: Node) -> str:
    """A type in a few words, with its bounds; a link where it has a name."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(REF)
        return f"[{name}](#{name.lower()})"
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(_name_type(each) for each in schema[key]))
    if "enum" in schema:
        named = ", ".join(f"`{each}`" for each in schema["enum"])
        return named + _name_default(schema)
    if "const" in schema:
        return f"`{schema['const']}`"
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {_name_type(schema.get('items', {}))}" + _name_bounds(schema)
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_name_type(schema['additionalProperties'])}"
    shown = schema.get("format", kind) if kind == "string" else kind
    return f"{shown}{_name_bounds(schema)}{_name_default(schema)}"


_BOUNDS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "minLength": "{} characters or more",
    "maxLength": "{} characters or fewer",
    "minItems": "{} or more",
    "maxItems": "{} or fewer",
}


def _name_bounds(schema: Node) -> str:
    told = [text.format(schema[key]) for key, text in _BOUNDS.items() if key in schema]
    return f" ({', '.join(told)})" if told else ""


def _name_default(schema: Node) -> str:
    default = schema.get("default")
    return (
        ""
        if default is None
        else f"; default `{str(default).lower() if isinstance(default, bool) else default}`"
    )


def _inline(text: str) -> str:
    """One line of a table's cell."""
    return " ".join(text.split()).replace("|", "\\|")
