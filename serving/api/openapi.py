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
