"""The OpenAPI document: complete, consistent, and true about errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from serving.errors import ALL_ERRORS
from tests.unit.api.conftest import Api

PICTURE_CODES = {
    "not_an_image", "truncated_picture", "unsupported_picture_type", "body_too_large", "picture_too_large",
    "too_many_pixels", "picture_too_small", "invalid_request", "overloaded", "deadline_exceeded",
    "stage_unavailable", "unknown_event",
}  # fmt: skip
DECISION_CODES = {
    "event_closed", "pack_mismatch", "policy_not_allowed", "false_match_rate_not_supported"
}  # fmt: skip
SINGLE_FACE_CODES = {"no_face", "several_faces", "quality_too_low"}
TOKEN_CODES = {"token_missing", "token_invalid", "token_expired", "forbidden"}
EVENT, PEOPLE = "/v1/events/{event}", "/v1/events/{event}/people"
CHECK_INS, JOBS = "/v1/events/{event}/check-ins", "/v1/events/{event}/jobs"
FACES = PEOPLE + "/{person}/faces"
ENROLMENT_CODES = PICTURE_CODES | {
    "no_face", "several_faces", "quality_too_low", "policy_not_allowed", "consent_required",
    "duplicate_person", "event_closed", "erased_meanwhile", "pack_changed", "idempotency_key_reused",
    "request_in_progress",
}  # fmt: skip
ACCOUNTS = "/v1/accounts"
NEEDS_NO_TOKEN = ("/v1/auth/sign-in", "/v1/auth/sign-in/face", "/v1/auth/refresh")
MET = {
    ("post", "/v1/events"): {
        "event_exists",
        "invalid_request",
        "pack_mismatch",
        "false_match_rate_not_supported",
    },
    ("get", "/v1/events"): {"invalid_request"},
    ("get", EVENT): {"unknown_event"},
    ("patch", EVENT): {"unknown_event", "invalid_request", "false_match_rate_not_supported"},
    ("post", EVENT + "/close"): {"unknown_event"},
    ("post", EVENT + "/reopen"): {"unknown_event"},
    ("get", EVENT + "/statistics"): {"unknown_event"},
    ("post", EVENT + "/migration"): {
        "unknown_event",
        "pack_mismatch",
        "migration_running",
        "false_match_rate_not_supported",
        "invalid_request",
    },
    ("get", EVENT + "/migration"): {"unknown_event", "no_migration", "invalid_request"},
    ("post", EVENT + "/migration/finish"): {
        "unknown_event",
        "pack_mismatch",
        "no_migration",
        "migration_incomplete",
        "false_match_rate_not_supported",
    },
    ("delete", EVENT + "/migration"): {"unknown_event", "no_migration"},
    ("delete", EVENT): {"unknown_event", "stage_unavailable"},
    ("post", PEOPLE): ENROLMENT_CODES,
    ("patch", PEOPLE + "/{person}"): {
        "unknown_event",
        "unknown_person",
        "consent_required",
        "body_too_large",
        "invalid_request",
    },
    ("post", FACES): ENROLMENT_CODES | {"unknown_person"},
    ("get", FACES): {"unknown_event", "unknown_person", "invalid_request"},
    ("delete", FACES + "/{face}"): {"unknown_event", "unknown_person", "unknown_face", "stage_unavailable"},
    ("get", PEOPLE): {"unknown_event", "invalid_request"},
    ("get", PEOPLE + "/{person}"): {"unknown_event", "unknown_person"},
    ("delete", PEOPLE + "/{person}"): {"unknown_event", "unknown_person", "stage_unavailable"},
    ("post", EVENT + "/recognise"): PICTURE_CODES | DECISION_CODES,
    ("post", EVENT + "/recognise/batch"): PICTURE_CODES | DECISION_CODES,
    ("post", EVENT + "/identify"): PICTURE_CODES | DECISION_CODES | SINGLE_FACE_CODES,
    ("post", PEOPLE + "/{person}/verify"): PICTURE_CODES
    | DECISION_CODES
    | SINGLE_FACE_CODES
    | {"unknown_person"},
    ("post", EVENT + "/search"): DECISION_CODES | {"body_too_large", "invalid_request", "unknown_event"},
    ("post", "/v1/detect"): PICTURE_CODES - {"unknown_event"},
    ("post", "/v1/embed"): PICTURE_CODES - {"unknown_event"},
    ("post", "/v1/compare"): PICTURE_CODES - {"unknown_event"}
    | SINGLE_FACE_CODES
    | {"pack_mismatch", "false_match_rate_not_supported"},
    ("post", CHECK_INS): PICTURE_CODES | {"event_closed", "policy_not_allowed"},
    ("get", CHECK_INS): {"unknown_event", "invalid_request"},
    ("get", CHECK_INS + "/summary"): {"unknown_event"},
    ("delete", CHECK_INS + "/{person}"): {"unknown_event", "unknown_person"},
    ("post", EVENT + "/imports"): {
        "unknown_event",
        "event_closed",
        "policy_not_allowed",
        "bad_archive",
        "body_too_large",
        "too_many_jobs",
        "deadline_exceeded",
        "invalid_request",
    },
    ("post", EVENT + "/exports"): {"unknown_event", "too_many_jobs"},
    ("get", JOBS): {"unknown_event", "invalid_request"},
    ("get", JOBS + "/{job}"): {"unknown_event", "unknown_job"},
    ("delete", JOBS + "/{job}"): {"unknown_event", "unknown_job", "job_finished"},
    ("get", JOBS + "/{job}/rejections"): {"unknown_event", "unknown_job"},
    ("get", JOBS + "/{job}/result"): {
        "unknown_event",
        "unknown_job",
        "job_not_finished",
        "not_found",
        "stage_unavailable",
    },
    ("get", "/v1/audit"): {"invalid_request", "unknown_event"},
    ("get", "/v1/audit/export"): {"invalid_request", "unknown_event"},
    ("get", "/v1/model"): set(),
    ("post", ACCOUNTS): {
        "sign_up_closed",
        "account_exists",
        "weak_password",
        "unknown_event",
        "rate_limited",
        "body_too_large",
    },
    ("get", ACCOUNTS): {"invalid_request"},
    ("get", ACCOUNTS + "/{account}"): {"unknown_account"},
    ("patch", ACCOUNTS + "/{account}"): {"unknown_account", "unknown_event", "last_administrator"},
    ("delete", ACCOUNTS + "/{account}"): {"unknown_account", "last_administrator"},
    ("put", ACCOUNTS + "/{account}/password"): {
        "unknown_account",
        "weak_password",
        "sign_in_failed",
        "rate_limited",
    },
    ("put", ACCOUNTS + "/{account}/person"): {"unknown_account", "unknown_event", "unknown_person"},
    ("get", ACCOUNTS + "/{account}/person"): {"unknown_account", "unknown_person"},
    ("delete", ACCOUNTS + "/{account}/person"): {"unknown_account", "unknown_person", "stage_unavailable"},
    ("post", "/v1/auth/sign-in"): {"sign_in_failed", "rate_limited", "invalid_request", "body_too_large"},
    ("post", "/v1/auth/sign-in/face"): PICTURE_CODES - {"unknown_event"}
    | SINGLE_FACE_CODES
    | {"sign_in_failed", "rate_limited", "forbidden"},
    ("post", "/v1/auth/refresh"): {"token_invalid", "token_expired", "token_revoked", "invalid_request"},
    ("post", "/v1/auth/sign-out"): set(),
    ("get", "/v1/auth/whoami"): set(),
    ("post", "/v1/auth/keys/rotate"): set(),
    ("get", "/.well-known/jwks.json"): set(),
    ("post", "/v1/api-keys"): {"unknown_event", "invalid_request", "body_too_large"},
    ("get", "/v1/api-keys"): {"invalid_request"},
    ("delete", "/v1/api-keys/{key}"): {"unknown_api_key"},
    ("get", "/readyz"): {"stage_unavailable"},
    ("get", "/healthz"): set(),
}
"""What the other tests here meet on each route."""

MET_EVERYWHERE = [
    ("get", "/readyz", "stage_unavailable"),
    ("delete", EVENT, "deadline_exceeded"),
    ("delete", PEOPLE + "/{person}", "deadline_exceeded"),
    ("post", "/v1/events", "overloaded"),  # the registry's write lock
    ("post", "/v1/events", "stage_unavailable"),  # the registry cannot be reached
    ("get", "/v1/events", "stage_unavailable"),
    ("get", PEOPLE, "stage_unavailable"),
    ("post", PEOPLE, "internal_error"),
    ("post", EVENT + "/recognise", "internal_error"),
]


def needs_token(path: str) -> bool:
    return path.startswith("/v1") and path not in NEEDS_NO_TOKEN


@pytest.fixture(scope="module")
def document(shared_app: Any) -> dict[str, Any]:
    return json.loads(json.dumps(shared_app.openapi()))


def codes(operation: dict[str, Any]) -> set[str]:
    """The error codes an operation documents, each under its own status."""
    known = {kind.code: kind.status for kind in ALL_ERRORS}
    found = set()
    for status, answer in operation["responses"].items():
        for code in answer["description"].split(", "):
            if code in known:
                assert known[code] == int(status)
                found.add(code)
    return found


def walk(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for child in node.values():
            yield from walk(child)
    elif isinstance(node, list):
        for child in node:
            yield from walk(child)


@pytest.mark.parametrize(("route", "expected"), MET.items(), ids=[f"{method} {path}" for method, path in MET])
def test_every_route_documents_its_errors(
    document: dict[str, Any], route: tuple[str, str], expected: set[str]
) -> None:
    method, path = route
    documented = codes(document["paths"][path][method])
    assert expected <= documented
    assert (documented >= TOKEN_CODES) == needs_token(path)


def test_no_route_is_missing_here(document: dict[str, Any]) -> None:
    assert {(method, path) for path, methods in document["paths"].items() for method in methods} == set(MET)


@pytest.mark.parametrize(("method", "path", "code"), MET_EVERYWHERE)
def test_codes_that_are_met(document: dict[str, Any], method: str, path: str, code: str) -> None:
    assert code in codes(document["paths"][path][method])


def test_every_error_answer_is_a_problem(document: dict[str, Any]) -> None:
    for path, methods in document["paths"].items():
        for operation in methods.values():
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    assert set(answer["content"]) == {"application/problem+json"}, (path, status)
                    schema = answer["content"]["application/problem+json"]["schema"]
                    assert schema == {"$ref": "#/components/schemas/Problem"}


def test_every_reference_resolves_and_every_schema_is_used(document: dict[str, Any]) -> None:
    used = set()
    for node in walk(document):
        if "$ref" in node:
            target: Any = document
            for step in node["$ref"].removeprefix("#/").split("/"):
                target = target[step]
            used.add(node["$ref"].rpartition("/")[2])
    assert used == set(document["components"]["schemas"])


def resolved(schema: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "components": document["components"]}


def test_examples_are_what_their_schemas_say(document: dict[str, Any]) -> None:
    checked = 0
    for node in walk(document):
        if "schema" in node and "examples" in node and isinstance(node["examples"], dict):
            for example in node["examples"].values():
                jsonschema.validate(example["value"], resolved(node["schema"], document))
                checked += 1
    for schema in document["components"]["schemas"].values():
        for example in schema.get("examples", []):
            jsonschema.validate(example, resolved(schema, document))
            checked += 1
    assert checked > 30


@pytest.mark.parametrize("path", [PEOPLE, EVENT + "/recognise"])
def test_picture_bodies_are_documented(document: dict[str, Any], path: str) -> None:
    body = document["paths"][path]["post"]["requestBody"]
    assert body["required"]
    assert set(body["content"]) >= {
        "multipart/form-data", "application/json", "image/jpeg", "image/png", "image/webp"
    }  # fmt: skip
    for kind in ("image/jpeg", "image/png", "image/webp"):
        assert body["content"][kind]["schema"]["format"] == "binary"
    form = body["content"]["multipart/form-data"]["schema"]["properties"]
    assert "picture" in form
    assert ("person_id" in form) == (path == PEOPLE)


def test_the_token_is_documented(document: dict[str, Any]) -> None:
    schemes = document["components"]["securitySchemes"]
    assert {scheme["type"] for scheme in schemes.values()} == {"http", "apiKey"}
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert ("security" in operation) == needs_token(path), path


def test_operations_have_summaries_and_ids_of_their_own(document: dict[str, Any]) -> None:
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]
    assert all(operation["summary"] for operation in operations)
    assert len({operation["operationId"] for operation in operations}) == len(operations)


async def test_the_document_is_served(api: Api) -> None:
    answer = await api.anonymous().get("/openapi.json")
    assert answer.status_code == 200
    assert answer.json()["info"]["title"] == "Rollcall"
    assert (await api.anonymous().get("/docs")).status_code == 200
    assert (await api.anonymous().get("/redoc")).status_code == 404
