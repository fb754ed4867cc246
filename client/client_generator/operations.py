"""The operations of the document, as the client sees them."""

from __future__ import annotations

import keyword
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from client_generator.names import CAN_REPEAT, GROUPS, METHODS, name_operation
from client_generator.types import Schema, Types

METRICS: dict[str, Any] = {
    "operationId": "get_metrics",
    "tags": ["operations"],
    "summary": "What Prometheus reads",
    "description": "The text format of Prometheus; needs `metrics.token`, or an administrator.",
    "responses": {"200": {"content": {"text/plain": {"schema": {"type": "string"}}}}},
}
"""`GET /metrics`, which the document leaves out."""
NEVER_TWICE = {"change_password"}
"""Not POST, and yet the second time is not as the first: the old password is wrong by then."""
TIMEOUT, KEY = "X-Timeout-S", "Idempotency-Key"


@dataclass
class Parameter:
    """What a method takes.

    Attributes:
        place: path, query, field (of the body), picture, pictures, upload, json_only or key.
        wire: its name in the request.
    """

    name: str
    wire: str
    place: str
    type: str
    is_required: bool = False
    default: str = "None"
    about: str = ""


@dataclass
class Operation:
    """One method of the client.

    Attributes:
        body: None, json, pictures or upload.
        answer: a model's name, `str`, `bytes` for what is streamed, or None.
        items: where the answer is a page, its field of items and their type.
    """

    name: str
    group: str
    method: str
    verb: str
    path: str
    summary: str
    about: str
    answer: str | None
    body: str | None = None
    content_type: str = "application/json"
    items: tuple[str, str] | None = None
    parameters: list[Parameter] = field(default_factory=list)
    can_repeat: bool = False
    takes_timeout: bool = False

    def at(self, *places: str) -> list[Parameter]:
        """Its parameters in these places."""
        return [each for each in self.parameters if each.place in places]


def read_operations(document: Mapping[str, Any], types: Types) -> list[Operation]:
    """All of them, in the document's order."""
    paths = {**document["paths"], "/metrics": {"get": METRICS}}
    return [
        _read_operation(document, types, verb, path, each)
        for path, operations in paths.items()
        for verb, each in operations.items()
    ]


def _read_operation(
    document: Mapping[str, Any], types: Types, verb: str, path: str, operation: Mapping[str, Any]
) -> Operation:
    name = name_operation(operation["operationId"], path, verb)
    tag = operation["tags"][0]
    group, method = METHODS.get(name, (GROUPS.get(tag, tag.replace(" ", "_").replace("-", "_")), name))
    answer = _read_answer(operation)
    made = Operation(
        name=name,
        group=group,
        method=method,
        verb=verb.upper(),
        path=path,
        summary=operation["summary"],
        about=operation.get("description", ""),
        answer=answer,
        items=_find_items(document["components"]["schemas"], answer),
        can_repeat=(verb != "post" or name in CAN_REPEAT) and name not in NEVER_TWICE,
    )
    headers = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "header"}
    assert headers <= {TIMEOUT, KEY}, f"{name} has headers that the client does not know: {headers}"
    made.takes_timeout = TIMEOUT in headers
    # In the order of the path, which is not always the document's.
    inside = [each for each in operation.get("parameters", ()) if each["in"] == "path"]
    for each in sorted(inside, key=lambda one: path.index("{" + one["name"] + "}")):
        made.parameters.append(
            Parameter(each["name"], each["name"], "path", "str", True, about=each.get("description", ""))
        )
    made.parameters += _read_body(made, operation, types)
    known = {each.wire for each in made.parameters}
    for each in operation.get("parameters", ()):
        if each["in"] == "query" and each["name"] not in known:
            made.parameters.append(_read_query(types, each))
    if KEY in headers:
        about = "makes the call the same request as an earlier one; each call has one of its own by default"
        made.parameters.append(Parameter("idempotency_key", KEY, "key", "str | None", about=about))
    return made


def _read_answer(operation: Mapping[str, Any]) -> str | None:
    [answer] = [each for status, each in operation["responses"].items() if status < "400"]
    content = answer.get("content")
    if not content:
        return None
    schema = next(iter(content.values()))["schema"]
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    return "str" if "text/plain" in content else "bytes"


def _find_items(components: Mapping[str, Schema], answer: str | None) -> tuple[str, str] | None:
    properties = components.get(answer or "", {}).get("properties", {})
    if "next_cursor" not in properties:
        return None
    [(name, schema)] = [(name, each) for name, each in properties.items() if each.get("type") == "array"]
    return name, Types(components).name(schema["items"])


def _read_query(types: Types, parameter: Mapping[str, Any]) -> Parameter:
    schema = parameter["schema"]
    return Parameter(
        name=_python_name(parameter["name"]),
        wire=parameter["name"],
        place="query",
        type=_optional(types.name(schema)),
        about=_describe(parameter.get("description") or schema.get("description", ""), schema),
    )


def _read_body(operation: Operation, request: Mapping[str, Any], types: Types) -> list[Parameter]:
    if "requestBody" not in request:
        return []
    content = request["requestBody"]["content"]
    if "multipart/form-data" in content:
        operation.body = "pictures"
        return list(_read_pictures(content, types))
    if all(each["schema"].get("format") == "binary" for each in content.values()):
        operation.body = "upload"
        kinds = ", ".join(f'"{each}"' for each in content)
        about = "what the upload is; not needed for a path that ends as it should"
        return [
            Parameter("upload", "", "upload", "Upload", True, about="what to send"),
            Parameter("content_type", "", "upload", f"Literal[{kinds}] | None", about=about),
        ]
    operation.body = "json"
    patch = "application/merge-patch+json"
    operation.content_type = patch if patch in content else "application/json"
    schema = content[operation.content_type]["schema"]
    is_change = operation.verb == "PATCH"
    return list(
        _read_fields(schema, types, "Unset" if is_change else "None", "UNSET" if is_change else "None")
    )


def _read_fields(schema: Schema, types: Types, absent: str, default: str) -> Iterator[Parameter]:
    required = set(schema.get("required", ()))
    for name, each in schema["properties"].items():
        kind = types.name(each)
        needed = name in required
        if not needed and absent not in kind.split(" | "):
            kind = f"{kind} | {absent}".replace("None | Unset", "Unset | None")
        about = _describe(each.get("description", ""), each)
        yield Parameter(_python_name(name), name, "field", kind, needed, default, about)


def _read_pictures(content: Mapping[str, Any], types: Types) -> Iterator[Parameter]:
    form, body = content["multipart/form-data"]["schema"], content["application/json"]["schema"]
    json_only = [
        name for name in body["properties"] if name not in {*form["properties"], "pictures", "picture"}
    ]
    if form["properties"]["picture"]["type"] == "array":
        kind = "Picture | Sequence[Picture]"
        about = "one file or several, each as its bytes, its path or open"
        needed = not json_only
        yield Parameter("pictures", "", "pictures", kind if needed else f"{kind} | None", needed, about=about)
    else:
        about = "the file: its bytes, its path or open"
        yield Parameter("picture", "", "picture", "Picture", True, about=about)
    required = set(form.get("required", ()))
    for name, each in form["properties"].items():
        if name != "picture":
            needed = name in required
            kind = types.name(each)
            about = _describe(each.get("description", ""), each)
            yield Parameter(
                _python_name(name), name, "field", kind if needed else _optional(kind), needed, about=about
            )
    for name in json_only:
        each = body["properties"][name]
        yield Parameter(
            name,
            name,
            "json_only",
            _optional(types.name(each)),
            about=_describe(each.get("description", ""), each),
        )


def _describe(about: str, schema: Schema) -> str:
    default = schema.get("default")
    if default is None:
        return about
    return f"{about} (default: {default})".strip()


def _optional(kind: str) -> str:
    return kind if kind.endswith("None") else f"{kind} | None"


def _python_name(name: str) -> str:
    return f"{name}_" if keyword.iskeyword(name) else name
