"""Whatever the OpenAPI document allows, and much that it does not, gets a documented answer and never a 5xx.

Schemathesis makes the requests from docs/openapi.json and sends them to the real service.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from loadtest.service import Service

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLES = 8
WHOLE, THEN_EVERY = 30, 5
"""Of the systematic cases of an operation, some of which have hundreds: so many, then every fifth."""
EVENT, DOOMED_EVENT, PERSON = "fuzz", "fuzz-doomed", "guest"
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


def make_pictures() -> list[bytes]:
    """Files that are pictures without a face, or almost pictures."""
    noise = np.random.default_rng(7).integers(0, 256, (64, 64, 3), np.uint8)
    png, jpeg = (cv2.imencode(kind, noise)[1].tobytes() for kind in (".png", ".jpg"))
    return [png, jpeg, jpeg[: len(jpeg) // 2], png[:30], b"GIF89a", b"", b"\x00" * 100]


PICTURES = st.sampled_from(make_pictures())
schemathesis.openapi.format("binary", PICTURES)
for media_type in ("image/jpeg", "image/png", "image/webp"):
    schemathesis.openapi.media_type(media_type, PICTURES)

UPLOADS = ("application/zip", "application/x-tar", "application/gzip", "application/x-ndjson")
for media_type in UPLOADS:
    schemathesis.openapi.media_type(
        media_type, st.sampled_from([b"", b"PK\x03\x04", b"{}\n", b'{"person_id": 1}\n'])
    )


@schemathesis.serializer(*UPLOADS)
def send_upload(context: schemathesis.SerializationContext, value: Any) -> Any:
    return value if isinstance(value, bytes) else str(value).encode()


schema = schemathesis.openapi.from_path(REPOSITORY / "docs" / "openapi.json")


@schema.hook
def map_path_parameters(context: schemathesis.HookContext, value: dict[str, Any] | None) -> Any:
    """Mostly names that exist, so that more than the refusal of unknown ones is met."""
    if value is None or context.operation is None:
        return value
    method, path = context.operation.method.upper(), context.operation.path
    known = {"event": EVENT, "person": PERSON}
    if method == "DELETE" and path.endswith("{event}"):
        known = {"event": DOOMED_EVENT}
    elif method == "DELETE" and path.endswith("{person}"):
        known = {"event": EVENT}
    dice = random.Random(repr(value))
    return {
        name: known[name] if name in known and dice.random() < 0.8 else each for name, each in value.items()
    }


@pytest.fixture(scope="module")
def headers(service: Service, client: httpx.Client, samples: dict[str, Path]) -> dict[str, str]:
    """Of an administrator of its own, at a service with an event, a person and a face."""
    service.run_command("admin", "create", "fuzzer")
    for event in (EVENT, DOOMED_EVENT):
        assert client.post("/v1/events", json={"id": event}).status_code == 201
    enrolled = client.post(
        f"/v1/events/{EVENT}/people",
        params={"person_id": PERSON},
        files={"picture": samples["guest"].read_bytes()},
    )
    assert enrolled.status_code == 201, enrolled.text
    return {"Authorization": f"Bearer {service.run_command('token', 'fuzzer')}"}


cases_of: Counter[str] = Counter()


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_every_operation(case: schemathesis.Case, service: Service, headers: dict[str, str]) -> None:
    cases_of[case.operation.label] += 1
    met = cases_of[case.operation.label]
    if met > WHOLE and met % THEN_EVERY:
        return
    if case.headers is not None:
        case.headers.pop("X-Timeout-S", None)  # 504 is the right answer to a microsecond
    case.call_and_validate(base_url=service.url, headers=headers, checks=CHECKS, timeout=60)
