"""Requests to any operation of the OpenAPI document, made of values that mean something by their names."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from serving.registry.paging import write_cursor
from tests.unit.api.api_fakes import picture, vector_of


@dataclass(frozen=True)
class Operation:
    """One method of one path; `document` is what the OpenAPI document says of it."""

    method: str
    path: str
    document: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True)
class Ids:
    """What one event holds: the values that a request may name."""

    events: Sequence[str]
    people: Sequence[str]
    names: Sequence[str]
    faces: Sequence[str]
    jobs: Sequence[str]
    keys: Sequence[str]
    looks: Sequence[str] = ()
    accounts: Sequence[str] = ("me",)
    idempotency_keys: Sequence[str] = ()

    def mixed_with(self, other: Ids) -> Ids:
        """All values of both."""
        names = [each.name for each in fields(self)]
        return Ids(**{name: (*getattr(self, name), *getattr(other, name)) for name in names})


@dataclass
class AnyRequest:
    """One request, and all the text that its sender chose."""

    method: str
    url: str
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return f"{self.url} {self.arguments}"


def list_operations(document: Mapping[str, Any]) -> Iterator[Operation]:
    """Every operation of the document."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield Operation(method.upper(), path, operation)


def make_request(
    rng: random.Random,
    operation: Operation,
    ids: Ids,
    components: Mapping[str, Any],
    *,
    minimal: bool = False,
) -> AnyRequest:
    """A request to the operation, its values drawn from `ids`; `minimal` leaves out what is optional."""
    values = _Values(rng, ids, components)
    url, query, headers = operation.path, {}, {}
    for parameter in operation.document.get("parameters", ()):
        name, place = parameter["name"], parameter["in"]
        if place == "path":
            url = url.replace("{" + name + "}", str(values.of(name, parameter["schema"])))
        elif minimal and not parameter.get("required"):
            continue
        elif place == "query" and rng.random() < 0.4:
            query[name] = values.of(name, parameter["schema"])
        elif place == "header" and name == "Idempotency-Key" and rng.random() < 0.5 and ids.idempotency_keys:
            headers[name] = rng.choice(ids.idempotency_keys)
    arguments: dict[str, Any] = {"params": query, "headers": headers}
    content = operation.document.get("requestBody", {}).get("content", {})
    if "image/png" in content:
        headers["Content-Type"] = "image/png"
        arguments["content"] = picture(rng.choice(ids.looks), salt=str(rng.randrange(5)))
    elif "application/json" in content:
        schema = content["application/json"]["schema"]
        arguments["json"] = values.object_of(schema, minimal=minimal)
    elif content:
        headers["Content-Type"] = rng.choice(list(content))
        arguments["content"] = b'{"id": "%s"}\n' % rng.choice(ids.people).encode()
    return AnyRequest(operation.method, url, arguments)


class _Values:
    """A value for each parameter or property, by its name first and by its schema else."""

    def __init__(self, rng: random.Random, ids: Ids, components: Mapping[str, Any]) -> None:
        self._rng = rng
        self._ids = ids
        self._components = components
        self._named = {
            "event": ids.events,
            "event_id": ids.events,
            "id": ids.events,
            "person": ids.people,
            "person_id": ids.people,
            "face": ids.faces,
            "job": ids.jobs,
            "key": ids.keys,
            "account": ids.accounts,
            "name": (*ids.names, *(name[:5] for name in ids.names)),
            "cursor": [
                write_cursor(kind, id)
                for kind, found in (("person", ids.people), ("event", ids.events), ("api_key", ids.keys))
                for id in found
            ],
        }

    def of(self, name: str, schema: Mapping[str, Any]) -> Any:
        schema = self._plain(schema)
        if "enum" in schema:
            return self._rng.choice(schema["enum"])
        if name == "events":
            return [self._rng.choice(self._ids.events)]
        if name == "pictures":
            return []
        if name in ("vectors", "vector", "query", "references"):
            vectors = [vector_of(look).tolist() for look in self._ids.looks]
            return vectors[:1] if schema.get("type") == "array" else vectors[0]
        if self._named.get(name):
            return self._rng.choice(self._named[name])
        return self._of_kind(schema)

    def object_of(self, schema: Mapping[str, Any], *, minimal: bool) -> Any:
        schema = self._plain(schema)
        required = set(schema.get("required", ()))
        return {
            name: self.of(name, each)
            for name, each in schema.get("properties", {}).items()
            if name in required or (not minimal and self._rng.random() < 0.5)
        }

    def _of_kind(self, schema: Mapping[str, Any]) -> Any:
        kind = schema.get("type")
        if kind == "integer":
            return schema.get("minimum", 1)
        if kind == "number":
            return self._rng.choice([schema.get("minimum", 0.5), schema.get("maximum", 0.5)])
        if kind == "boolean":
            return self._rng.random() < 0.5
        if kind == "array":
            return [self.of("", schema.get("items", {}))]
        if kind == "object":
            return {}
        return schema["examples"][0] if schema.get("examples") else "text"

    def _plain(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """Without references, and of several forms the first that is not null."""
        while True:
            if "$ref" in schema:
                schema = self._components[schema["$ref"].rpartition("/")[2]]
            elif "anyOf" in schema or "oneOf" in schema:
                forms = schema.get("anyOf") or schema["oneOf"]
                schema = next(form for form in forms if form.get("type") != "null")
            else:
                return schema
