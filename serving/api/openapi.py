"""The parts of the OpenAPI document that FastAPI cannot derive: picture bodies and their errors."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from serving.errors import (
    BodyTooLarge,
    InvalidRequest,
    NotAnImage,
    PictureTooLarge,
    PictureTooSmall,
    RollcallError,
    TooManyPixels,
    TruncatedPicture,
    UnsupportedPictureType,
)

PICTURE_ERRORS: tuple[type[RollcallError], ...] = (
    NotAnImage,
    TruncatedPicture,
    UnsupportedPictureType,
    BodyTooLarge,
    PictureTooLarge,
    TooManyPixels,
    PictureTooSmall,
    InvalidRequest,
)
"""What any route that takes a picture may answer."""

_BASE64 = "/9j/4AAQSkZJRgABAQAAAQABAAD..."
_RAW = {"schema": {"type": "string", "format": "binary"}}
_TEXT = {"type": "string"}


def _picture_body(description: str, form: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    as_json = {name: {"type": "array", "items": _TEXT} if name == "pictures" else _TEXT for name in example}
    return {
        "required": True,
        "description": description,
        "content": {
            "multipart/form-data": {"schema": {"type": "object", "properties": form}},
            "application/json": {
                "schema": {"type": "object", "properties": as_json, "required": list(example)[-1:]},
                "examples": {
                    "base64": {"value": example},
                    "data URI": {"value": _with_data_uri(example)},
                },
            },
            "image/jpeg": _RAW,
            "image/png": _RAW,
            "image/webp": _RAW,
        },
    }


def _with_data_uri(example: dict[str, Any]) -> dict[str, Any]:
    name = list(example)[-1]
    uri = f"data:image/jpeg;base64,{_BASE64}"
    return {**example, name: [uri] if isinstance(example[name], list) else uri}


_FILE = {"type": "string", "format": "binary"}

ENROLMENT_BODY = _picture_body(
    "Pictures of one person, one face in each: JPEG, PNG or WebP.",
    {"person_id": _TEXT, "name": _TEXT, "picture": {"type": "array", "items": _FILE}},
    {"person_id": "ada", "name": "Ada Lovelace", "pictures": [_BASE64]},
)


def inline_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of `model` without references, for places outside the document's own schemas."""
    schema = model.model_json_schema()
    return _resolve(schema, schema.pop("$defs", {}))  # type: ignore[no-any-return]


def _resolve(node: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(node, list):
        return [_resolve(each, definitions) for each in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target = definitions[node["$ref"].rpartition("/")[2]]
        return _resolve({**target, **{key: node[key] for key in node if key != "$ref"}}, definitions)
    return {key: _resolve(value, definitions) for key, value in node.items()}


def json_body(description: str, model: type[BaseModel]) -> dict[str, Any]:
    """The body of a route that takes JSON alone."""
    return {
        "required": True,
        "description": description,
        "content": {"application/json": {"schema": inline_schema(model)}},
    }
