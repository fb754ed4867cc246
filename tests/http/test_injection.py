"""Text that looks like a command is text: in ids, names, filters, cursors and headers of the real service."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import unicodedata
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import pytest

from loadtest.service import Service
from tests.http.test_refusals import code_of

COMMANDS = [
    "' OR '1'='1",
    "'; DROP TABLE person; --",
    "%' ESCAPE '\\",
    "%",
    "_",
    "\\",
    '{"$gt": ""}',
    '{"must": [{"key": "event", "match": {"any": ["*"]}}]}',
    "*",
    "event\x1fperson",
    "../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "%00",
    "a\r\nX-Evil: 1",
    "\ufeffgala",
    "ga\u200bla",
    "ＧＡＬＡ",
    "gala\u0301",
    "🎉",
    "a" * 300,
    "-1",
]
NAMES = [
    "Zoë Ångström",
    "Zoe\u0308 A\u030angstro\u0308m",
    "Nguyễn Thị Ánh",
    "李小龙",
    "مُحَمَّد‎ الفاتح",
    "שָׁלוֹם",
    "שלום John‏",
    "👩‍👩‍👧‍👦 Family",
    "👍🏽",
    "Robert'); DROP TABLE person;--",
    "a\u200bb\u200dc",
    "\u202eevil\u202c",
    "İstanbul ıI",
    "ﬁnn",
    "ß ẞ",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢",
    "e" + "\u0301" * 40,
    "<script>alert(1)</script>",
    '"quoted" \\ %s %(name)s {0}',
    "\U0010fffd",
]
NO_NAMES = ['"\\ud800"', '"\\u0000"', '"a\\u0000b"', '"\\udc00\\ud800"']
"""As they stand in JSON: half a surrogate pair, and what no database keeps."""


@pytest.fixture
def guest(client: httpx.Client, event: str, samples: dict[str, Path]) -> str:
    """The URL of a person of the event."""
    picture = samples["guest"].read_bytes()
    enrolled = client.post(f"{event}/people", data={"person_id": "guest"}, files={"picture": picture})
    assert enrolled.status_code == 201, enrolled.text
    return f"{event}/people/guest"


def test_what_looks_like_a_command_is_only_text(client: httpx.Client, event: str, guest: str) -> None:
    """Nothing of it finds, changes or breaks anything."""
    before = client.get(guest).json()
    for text in COMMANDS:
        inside = quote(text, safe="")
        vector = {"pack_id": text, "vectors": [[0.0]]}
        asked = [
            *(
                client.get(path)
                for path in (f"/v1/events/{inside}", f"{event}/people/{inside}", f"{event}/jobs/{inside}")
            ),
            *(
                client.delete(path)
                for path in (f"/v1/events/{inside}", f"{event}/people/{inside}", f"{guest}/faces/{inside}")
            ),
            client.get(f"/v1/accounts/{inside}"),
            client.delete(f"/v1/api-keys/{inside}"),
            *(client.get(f"{event}/people", params={name: text}) for name in ("name", "cursor", "limit")),
            client.get(f"{event}/check-ins", params={"since": text}),
            *(
                client.get("/v1/audit", params={name: text})
                for name in ("event", "person", "actor", "action", "outcome", "from", "cursor")
            ),
            client.post("/v1/events", json={"id": text}),
            client.post(f"{event}/search", json=vector),
            client.post("/v1/auth/sign-in", json={"name": text, "password": text}),
            client.patch(guest, json={text: text}),
        ]
        for answer in asked:
            assert answer.status_code < 500, (text, answer.request.url, answer.text)
            assert "x-evil" not in answer.headers
            if answer.status_code >= 400:
                code_of(answer)
            elif answer.request.method != "GET" and answer.status_code == 201:
                assert answer.json()["id"] == text  # a harmless word is an id like any other
                client.delete(f"/v1/events/{inside}")
            elif "people" in answer.json():
                assert answer.json()["people"] == [], (text, answer.request.url)
    assert client.get(guest).json() == before
    assert [each["id"] for each in client.get(f"{event}/people").json()["people"]] == ["guest"]


def test_names_come_back_as_they_were_sent(client: httpx.Client, event: str, guest: str) -> None:
    for name in NAMES:
        changed = client.patch(guest, json={"name": name, "metadata": {"badge": name}})
        assert changed.status_code == 200, (name, changed.text)
        kept = client.get(guest).json()
        assert unicodedata.normalize("NFC", kept["name"]) == unicodedata.normalize("NFC", name)
        assert kept["metadata"] == {"badge": name}
        found = client.get(f"{event}/people", params={"name": kept["name"]}).json()["people"]
        assert [each["id"] for each in found] == ["guest"], name
    before = client.get(guest).json()
    for text in NO_NAMES:
        body = ('{"name": %s}' % text).encode()  # noqa: UP031 - braces of JSON
        answer = client.patch(guest, content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, code_of(answer)) == (422, "invalid_request"), text
    assert client.get(guest).json() == before


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 60_000,
        b'{"a":' * 10_000,
        b'{"id": ' + b"9" * 60_000 + b"}",
        b'{"id": 1e999999}',
        b'{"id": NaN}',
        b'{"id": "\xff\xfe"}',
        b"\xff\xfe{\x00}\x00",
        b"{" + b'"a": 1, ' * 7000 + b'"b": 1}',
        b"",
        b"\x00",
        b'"',
        b"{}{}",
    ],
    ids=range(12),
)
def test_json_that_is_deep_or_huge_or_none_is_refused(client: httpx.Client, event: str, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    for path in ("/v1/events", f"{event}/search", f"{event}/recognise", "/v1/auth/sign-in"):
        answer = client.post(path, content=body, headers=headers)
        assert answer.status_code in (413, 422), (path, answer.text[:200])
        assert len(answer.content) < 10_000
        code_of(answer)


def test_oversized_tokens_and_headers_are_refused(service: Service) -> None:
    with httpx.Client(base_url=service.url, timeout=60) as anyone:
        for size in (1000, 10_000, 60_000, 1_000_000):
            for headers in (
                {"Authorization": "Bearer " + "a" * size},
                {"X-API-Key": "rck_" + "a" * size},
                {"X-A": "a" * size},
            ):
                try:
                    answer = anyone.get("/v1/events", headers=headers)
                except httpx.HTTPError:
                    assert size > 10_000  # HAProxy has closed the connection
                    continue
                assert answer.status_code in (400, 401, 431)
        assert anyone.get("/healthz").status_code == 200


def test_a_body_that_stops_has_a_deadline(service: Service, token: str, event: str) -> None:
    """Through HAProxy: the service itself gives up on it, when the caller has said for how long to wait."""
    address = urlsplit(service.url)
    beginnings = {
        "image/jpeg": b"\xff\xd8\xff",
        "application/json": b'{"picture": "',
        "multipart/form-data; boundary=b": b"--b\r\n",
    }
    with contextlib.ExitStack() as stack:
        connections = []
        for kind, beginning in beginnings.items():
            head = (
                f"POST {event}/recognise HTTP/1.1\r\nHost: {address.netloc}\r\n"
                f"Authorization: Bearer {token}\r\nContent-Type: {kind}\r\n"
                "Content-Length: 100000\r\nX-Timeout-S: 1\r\n\r\n"
            )
            slow = stack.enter_context(socket.create_connection((address.hostname, address.port), timeout=60))
            slow.sendall(head.encode() + beginning)
            connections.append(slow)
        for kind, slow in zip(beginnings, connections, strict=True):
            answer = http.client.HTTPResponse(slow)
            answer.begin()
            problem = json.loads(answer.read())
            assert (answer.status, problem["code"]) == (504, "deadline_exceeded"), kind
