"""The client against docs/openapi.json: every operation, parameter, body and answer, both ways."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import re
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from pydantic import BaseModel

import rollcall_client
import serving
from client_generator.files import find_stale, make_files
from client_generator.names import to_class
from rollcall_client import Client, problems
from rollcall_client import requests as request_modules
from rollcall_client.async_routes import AllAsyncRoutes
from rollcall_client.errors import find_family
from rollcall_client.request import Request
from rollcall_client.routes import AllRoutes
from tests.unit.client.schema_samples import make_sample

DOCUMENT = json.loads((Path(__file__).parents[3] / "docs" / "openapi.json").read_text())
COMPONENTS = DOCUMENT["components"]["schemas"]
OPERATIONS = {
    f"{verb.upper()} {path}": operation
    for path, each in DOCUMENT["paths"].items()
    for verb, operation in each.items()
}
UNDOCUMENTED = "GET /metrics"
AWKWARD = "a/b c?é"
"""An id that must be escaped."""


def find_functions() -> dict[str, Any]:
    found = {}
    for module in pkgutil.iter_modules(request_modules.__path__):
        loaded = importlib.import_module(f"{request_modules.__name__}.{module.name}")
        for name, each in inspect.getmembers(loaded, inspect.isfunction):
            if each.__module__ == loaded.__name__:
                found[f"{module.name}.{name}"] = each
    return found


def call(function: Any, **given: Any) -> Request[Any]:
    """The request of `function` with a path, a picture or an upload where it wants one, and `given`."""
    arguments: dict[str, Any] = {}
    for name, each in inspect.signature(function).parameters.items():
        if name in ("picture", "pictures"):
            arguments[name] = b"\xff\xd8a" if name == "picture" else [b"\xff\xd8a", b"\xff\xd8b"]
        elif name == "upload":
            arguments |= {"upload": b"PK", "content_type": "application/zip"}
        elif each.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD:
            arguments[name] = AWKWARD
    return function(**{**arguments, **given})


def fits(request: Request[Any], key: str) -> bool:
    verb, template = key.split(" ", 1)
    pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template))
    return request.method == verb and re.fullmatch(pattern, request.path) is not None


def describe_minimum(function: Any) -> dict[str, Any]:
    """Values for keyword arguments that must be given."""
    return {
        name: "a-word"
        for name, each in inspect.signature(function).parameters.items()
        if each.kind is inspect.Parameter.KEYWORD_ONLY and each.default is inspect.Parameter.empty
    }


def match_operations() -> dict[str, Any]:
    """Function by operation; more literal paths first, since an id could read like a word."""
    keys = sorted([*OPERATIONS, UNDOCUMENTED], key=lambda key: (key.count("{"), key))
    found: dict[str, Any] = {}
    for name, function in find_functions().items():
        request = call(function, **describe_minimum(function))
        [key, *_] = [key for key in keys if fits(request, key)] or [f"none for {name}"]
        assert key not in found, f"{name} and another are both {key}"
        found[key] = function
    return found


FUNCTIONS = match_operations()


def test_generated_files_are_up_to_date() -> None:
    made = make_files()
    package = Path(rollcall_client.__file__).parent
    for name, text in made.items():
        assert (package / name).read_text() == text, f"{name} is out of date: run `make client`"
    assert find_stale(made) == []


def test_every_operation_has_its_function_and_every_function_its_operation() -> None:
    assert set(FUNCTIONS) == {*OPERATIONS, UNDOCUMENTED}


def send(request: Request[Any], answer: httpx.Response | None = None) -> tuple[httpx.Request, Any]:
    seen: list[httpx.Request] = []

    def handle(sent: httpx.Request) -> httpx.Response:
        sent.read()
        seen.append(sent)
        return answer or httpx.Response(200, json={})

    with Client("http://rollcall", token="t", transport=httpx.MockTransport(handle)) as client:
        if answer is None:
            with pytest.raises(rollcall_client.UnexpectedAnswer) if request.answers else nothing():
                client.perform(request)
            return seen[0], None
        answered = client.perform(request)
        return seen[0], answered


class nothing:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def read_form(request: httpx.Request) -> dict[str, list[bytes]]:
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    fields: dict[str, list[bytes]] = {}
    for part in BytesParser().parsebytes(head + request.content).get_payload():
        name = re.search('name="([^"]+)"', part["Content-Disposition"])[1]  # type: ignore[index]
        fields.setdefault(name, []).append(part.get_payload(decode=True))
    return fields


def python_name(name: str) -> str:
    return "from_" if name == "from" else name


@pytest.mark.parametrize("key", OPERATIONS)
def test_everything_documented_is_sent_and_nothing_else(key: str) -> None:
    operation, function = OPERATIONS[key], FUNCTIONS[key]
    parameters = operation.get("parameters", [])
    given: dict[str, Any] = {}
    query = {each["name"]: each["schema"] for each in parameters if each["in"] == "query"}
    headers = {each["name"] for each in parameters if each["in"] == "header"}
    content = operation.get("requestBody", {}).get("content", {})
    forms = {kind: content[kind]["schema"] for kind in ("multipart/form-data",) if kind in content}
    body: dict[str, Any] = {}
    if forms:
        body = dict(forms["multipart/form-data"]["properties"])
        body.pop("picture")
        query = {name: schema for name, schema in query.items() if name not in body}
    elif "application/json" in content:
        body = content["application/json"]["schema"]["properties"]
    for name, schema in {**query, **body}.items():
        given[python_name(name)] = make_sample(schema, COMPONENTS)
    request = call(function, **given)
    sent, _ = send(request, httpx.Response(200) if request.answers in (None, bytes) else None)

    assert sent.url.raw_path.decode().split("?")[0].count("/") == key.count("/") - (key == UNDOCUMENTED)
    assert set(sent.url.params) == set(query)
    assert ("X-Timeout-S" in sent.headers) == ("X-Timeout-S" in headers)
    assert ("Idempotency-Key" in sent.headers) == ("Idempotency-Key" in headers)
    kind = sent.headers.get("content-type", "").split(";")[0]
    if not content:
        assert sent.content == b""
        return
    assert kind in content, f"sent as {kind}"
    if forms:
        fields = read_form(sent)
        assert set(fields) == set(forms["multipart/form-data"]["properties"])
    elif kind.endswith("json"):
        told = json.loads(sent.content)
        assert set(told) == set(body)
        jsonschema.validate(told, {**content[kind]["schema"], "components": {"schemas": COMPONENTS}})


def test_what_no_form_can_hold_travels_as_json(tmp_path: Path) -> None:
    path = tmp_path / "face.jpg"
    path.write_bytes(b"\xff\xd8a")
    request = call(
        FUNCTIONS["POST /v1/compare"],
        pictures=None,
        query={"picture": path},
        references=[{"picture": b"\xff\xd8b", "id": "b"}, {"vector": [0.5, 0.5]}],
        pack_id="starter-int8",
    )
    sent, _ = send(request)
    told = json.loads(sent.content)
    content = OPERATIONS["POST /v1/compare"]["requestBody"]["content"]
    jsonschema.validate(told, content["application/json"]["schema"])
    assert told["query"] == {"picture": "/9hh"}
    assert told["references"] == [{"picture": "/9hi", "id": "b"}, {"vector": [0.5, 0.5]}]


def read_success(operation: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    [(status, answer)] = [each for each in operation["responses"].items() if each[0] < "400"]
    return int(status), answer.get("content", {})


@pytest.mark.parametrize("key", OPERATIONS)
def test_every_answer_comes_back_whole(key: str) -> None:
    status, content = read_success(OPERATIONS[key])
    request = call(FUNCTIONS[key], **describe_minimum(FUNCTIONS[key]))
    schema = content.get("application/json", {}).get("schema")
    if schema is None:
        assert request.answers is (bytes if content else None)
        return
    sample = make_sample(schema, COMPONENTS)
    _, answer = send(request, httpx.Response(status, json={**sample, "of_a_newer_service": 1}))
    assert isinstance(answer, BaseModel)
    assert answer.model_dump(mode="json", by_alias=True) == sample


def test_both_clients_have_the_same_methods_and_each_sends_what_it_is_named_after() -> None:
    sync, awaited = AllRoutes(None), AllAsyncRoutes(None)  # type: ignore[arg-type]
    assert set(vars(sync)) == set(vars(awaited))
    count = 0
    for group, routes in vars(sync).items():
        other = getattr(awaited, group)
        methods = {name for name in dir(routes) if not name.startswith("_")}
        assert methods == {name for name in dir(other) if not name.startswith("_")}
        count += len({name for name in methods if not name.startswith("iterate")})
        for name in methods:
            ours, theirs = (inspect.signature(getattr(each, name)) for each in (routes, other))
            assert ours.parameters == theirs.parameters, f"{group}.{name}"
    assert count == len(FUNCTIONS)


def test_every_documented_error_has_its_class() -> None:
    for operation in OPERATIONS.values():
        for status, answer in operation["responses"].items():
            for content in answer.get("content", {}).values():
                for example in content.get("examples", {}).values():
                    value = example["value"]
                    if status >= "400":
                        kind = getattr(problems, to_class(value["code"]))
                        assert problems.PROBLEMS[value["code"]] is kind
    page = (Path(__file__).parents[3] / "docs" / "errors.md").read_text()
    listed = re.findall(r"^\| `(\w+)` \| (\d+)", page, re.MULTILINE)
    assert set(problems.PROBLEMS) == {code for code, _ in listed}
    assert {"storage_full", "unknown_host", "method_not_allowed"} <= set(problems.PROBLEMS)
    for code, status in listed:
        assert issubclass(problems.PROBLEMS[code], find_family(int(status)))


def test_the_versions_are_in_step(repository: Path) -> None:
    project = (repository / "client" / "pyproject.toml").read_text()
    assert f'version = "{serving.__version__}"' in project
    assert rollcall_client.__version__ == serving.__version__
