"""Bodies and options of the routes that take pictures to recognise, for the OpenAPI document."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from serving.api.openapi import inline_schema, json_body
from serving.api.options import (
    ComparisonOptions,
    DetectionOptions,
    EmbeddingOptions,
    IdentificationOptions,
    RecognitionOptions,
    VerificationOptions,
)
from serving.api.schemas.recognition import VectorSearch
from serving.api.schemas.stateless import ComparisonRequest

_BASE64 = "/9j/4AAQSkZJRgABAQAAAQABAAD..."
_RAW = {"schema": {"type": "string", "format": "binary"}}
_FILE = {"type": "string", "format": "binary"}
_TEXT = {"type": "string"}


def options_body(
    description: str,
    options: type[BaseModel],
    example: dict[str, Any],
    *,
    several: bool = False,
    raw: bool = True,
) -> dict[str, Any]:
    """The body of a route that takes pictures with `options` beside them.

    Args:
        example: options of the JSON example.
        several: whether there may be more than one picture.
        raw: whether one picture may be the whole body.
    """
    beside = {name: _without_null(each) for name, each in inline_schema(options)["properties"].items()}
    name = "pictures" if several else "picture"
    file = _list_of(_FILE) if several else _FILE
    text = _list_of(_TEXT) if several else _TEXT
    uri = f"data:image/jpeg;base64,{_BASE64}"
    forms = {"base64": _BASE64, "data URI": uri}
    content: dict[str, Any] = {
        "multipart/form-data": {
            "schema": {"type": "object", "properties": {"picture": file, **beside}, "required": ["picture"]}
        },
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {name: text, **beside},
                "required": [name],
                "additionalProperties": False,
            },
            "examples": {
                form: {"value": {**example, name: [each] if several else each}}
                for form, each in forms.items()
            },
        },
    }
    if raw:
        content |= {"image/jpeg": _RAW, "image/png": _RAW, "image/webp": _RAW}
    return {"required": True, "description": description, "content": content}


def _list_of(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": schema, "minItems": 1}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A form cannot say null: an option that is not given is left out."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    if len(kinds) != 1:
        return schema
    rest = {key: value for key, value in schema.items() if key not in ("anyOf", "default")}
    return {**kinds[0], **rest}


def query_parameters(options: type[BaseModel]) -> list[dict[str, Any]]:
    """`options` as parameters of the query."""
    parameters = []
    for name, each in inline_schema(options)["properties"].items():
        schema = _without_null(each)
        description = schema.pop("description", "")
        parameters.append(
            {"name": name, "in": "query", "required": False, "description": description, "schema": schema}
        )
    return parameters


def picture_extra(
    description: str,
    options: type[BaseModel],
    example: dict[str, Any],
    *,
    several: bool = False,
    raw: bool = True,
) -> dict[str, Any]:
    """What the document says of a route that takes pictures and options; arguments as of `options_body`."""
    body = options_body(description, options, example, several=several, raw=raw)
    return {"parameters": query_parameters(options), "requestBody": body}


RECOGNITION_EXTRA = picture_extra(
    "One picture: JPEG, PNG or WebP.", RecognitionOptions, {"faces": "largest", "top_k": 3}
)
BATCH_EXTRA = picture_extra(
    "Pictures: JPEG, PNG or WebP.", RecognitionOptions, {"faces": "all", "quality": "standard"}, several=True
)
VERIFICATION_EXTRA = picture_extra(
    "Pictures of the one person who claims to be that person: JPEG, PNG or WebP.",
    VerificationOptions,
    {"strictness": "strict"},
    several=True,
)
IDENTIFICATION_EXTRA = picture_extra(
    "Pictures of one person: JPEG, PNG or WebP.", IdentificationOptions, {"top_k": 3}, several=True
)
DETECTION_EXTRA = picture_extra("One picture: JPEG, PNG or WebP.", DetectionOptions, {"quality": "strict"})
EMBEDDING_EXTRA = picture_extra(
    "Pictures: JPEG, PNG or WebP.", EmbeddingOptions, {"faces": "largest", "encoding": "base64"}, several=True
)
COMPARISON_EXTRA = picture_extra(
    "Two or more pictures, the first to be compared with each of the others; or, in JSON, a query and "
    "references, each a picture or a vector.",
    ComparisonOptions,
    {"strictness": "strict"},
    several=True,
    raw=False,
)
COMPARISON_EXTRA["requestBody"]["content"]["application/json"] = {"schema": inline_schema(ComparisonRequest)}
VECTOR_SEARCH_EXTRA = {"requestBody": json_body("Vectors to look for, and what decides.", VectorSearch)}
