"""Everything that is refused, over real HTTP: its own code, one envelope, never a 5xx but for load."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import httpx
import numpy as np

from loadtest.service import Service
from serving.accounts.keys import KeyRing
from serving.accounts.tokens import TokenIssuer
from tests.service_fixtures import MAX_PENDING_REQUESTS

ENVELOPE = {"type", "title", "status", "detail", "code", "cure", "context", "request_id"}


def code_of(answer: httpx.Response) -> str:
    """The error's code, after checking the envelope."""
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert set(problem) == ENVELOPE
    assert problem["status"] == answer.status_code
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert "Traceback" not in answer.text
    return str(problem["code"])


def encode(picture: np.ndarray, suffix: str = ".jpg") -> bytes:
    return cv2.imencode(suffix, picture)[1].tobytes()


def blank(width: int, height: int) -> bytes:
    return encode(np.full((height, width, 3), 127, np.uint8), ".png")


def test_bad_pictures(client: httpx.Client, event: str, samples: dict[str, Path]) -> None:
    group = samples["group"].read_bytes()
    gif = b"GIF89a" + bytes(200)
    noise = np.random.default_rng(1).integers(0, 256, (2000, 2000, 3), np.uint8)
    cases = {
        "not_an_image": (b"hello, world" * 100, 400),
        "truncated_picture": (group[: len(group) // 2], 400),
        "unsupported_picture_type": (gif, 415),
        "picture_too_large": (encode(noise, ".png"), 413),
        "too_many_pixels": (blank(5000, 5000), 413),
        "picture_too_small": (blank(20, 20), 422),
    }
    for route in ("people", "recognise"):
        for code, (picture, status) in cases.items():
            for body in ({"content": picture}, {"files": {"picture": picture}}):
                answer = client.post(f"{event}/{route}", **body)
                assert (code_of(answer), answer.status_code) == (code, status), route
    assert code_of(client.post(f"{event}/people", content=blank(200, 200))) == "no_face"
    assert code_of(client.post(f"{event}/people", content=group)) == "several_faces"
    assert client.post(f"{event}/recognise", content=blank(200, 200)).json()["faces"] == []
    wrong_type = client.post(f"{event}/recognise", content=group, headers={"Content-Type": "text/csv"})
    assert (code_of(wrong_type), wrong_type.status_code) == ("unsupported_picture_type", 415)
    assert client.get(f"{event}/people").json()["people"] == []


def test_bad_requests(client: httpx.Client, event: str) -> None:
    cases = [
        (client.get("/v1/nowhere"), "not_found", 404),
        (client.put("/v1/events"), "method_not_allowed", 405),
        (client.get("/v1/events/no-such-event"), "unknown_event", 404),
        (client.post("/v1/events/no-such-event/recognise", content=b"x"), "unknown_event", 404),
        (client.get(f"{event}/people/nobody"), "unknown_person", 404),
        (client.post("/v1/events", json={"id": "no spaces"}), "invalid_request", 422),
        (client.post("/v1/events", json={"colour": "red"}), "invalid_request", 422),
        (client.post("/v1/events", json={"id": event.rsplit("/", 1)[1]}), "event_exists", 409),
        (
            client.post(f"{event}/recognise", json={"picture": "https://example.org/a.jpg"}),
            "invalid_request",
            422,
        ),
        (client.post(f"{event}/recognise", params={"top_k": 0}, content=b"x"), "invalid_request", 422),
        (client.post(f"{event}/recognise", content=b""), "not_an_image", 400),
    ]
    for answer, code, status in cases:
        assert (code_of(answer), answer.status_code) == (code, status), answer.text


def test_a_refusal_of_a_body_does_not_cost_the_next_request(service: Service) -> None:
    one = httpx.Limits(max_connections=1)
    with httpx.Client(base_url=service.url, timeout=60, limits=one) as stranger:
        for _ in range(20):
            answer = stranger.post("/v1/events", content=bytes(4 * 2**20))
            assert (code_of(answer), answer.status_code) == ("token_missing", 401)


def test_bad_tokens(
    service: Service, as_client: Callable[[str | None], httpx.Client], token: str, tmp_path: Path
) -> None:
    stranger = KeyRing(tmp_path / "keys")
    stranger.load_or_create()
    forged = TokenIssuer(stranger, "rollcall", "rollcall").issue("tester", "administrator", None, 3600)
    expired = service.run_command("token", "tester", "--hours", "0.02")
    header, payload, signature = token.split(".")
    cases = {
        "token_missing": [None],
        "token_invalid": [forged, "nonsense", f"{header}.{payload[:-2]}AA.{signature}", "x" * 10_000],
    }
    for code, tokens in cases.items():
        for bad in tokens:
            with as_client(bad) as client:
                answer = client.get("/v1/events")
                assert (code_of(answer), answer.status_code) == (code, 401)
                assert answer.headers["www-authenticate"] == "Bearer"
    with as_client(expired) as client:
        assert client.get("/v1/events").status_code == 200  # it lasts 72 s; the unit tests see it expire
    with as_client(service.run_command("token", "tester", "--role", "member")) as client:
        answer = client.post("/v1/events", json={})
        assert (code_of(answer), answer.status_code) == ("forbidden", 403)


def test_a_token_for_one_event_sees_no_other(
    service: Service, as_client: Callable[[str | None], httpx.Client], event: str
) -> None:
    bound = service.run_command("token", "tester", "--event", "somewhere-else")
    with as_client(bound) as client:
        assert code_of(client.get(event)) == "unknown_event"
        assert code_of(client.delete(event)) == "unknown_event"
        assert client.get("/v1/events").json()["events"] == []


def test_one_bad_picture_never_fails_the_others(
    client: httpx.Client, event: str, service: Service, token: str, samples: dict[str, Path]
) -> None:
    good = samples["portrait"].read_bytes()
    damaged = bytearray(samples["group"].read_bytes())
    damaged[2000:60000:7] = bytes(len(damaged[2000:60000:7]))
    bad = [bytes(damaged), good[: len(good) // 2], b"\xff\xd8\xff\xd9"]

    async def send_all() -> list[tuple[bool, httpx.Response]]:
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=service.url, headers=headers, timeout=60) as sender:
            jobs = []
            for place in range(20):
                is_good = place % 2 == 0
                content = good if is_good else bad[place % len(bad)]
                jobs.append((is_good, sender.post(f"{event}/recognise", content=content)))
            return [
                (is_good, answer)
                for (is_good, _), answer in zip(
                    jobs, await asyncio.gather(*(job for _, job in jobs)), strict=True
                )
            ]

    for is_good, answer in asyncio.run(send_all()):
        if is_good:
            assert answer.status_code == 200, answer.text
            assert len(answer.json()["faces"]) == 1
        else:
            assert answer.status_code in (200, 400), answer.text


def test_a_full_queue_answers_503_and_the_rest_is_served(
    service: Service, token: str, event: str, samples: dict[str, Path]
) -> None:
    picture = samples["group"].read_bytes()

    async def burst() -> list[httpx.Response]:
        headers = {"Authorization": f"Bearer {token}"}
        limits = httpx.Limits(max_connections=100)
        async with httpx.AsyncClient(
            base_url=service.url, headers=headers, timeout=120, limits=limits
        ) as sender:
            return list(
                await asyncio.gather(*(sender.post(f"{event}/recognise", content=picture) for _ in range(80)))
            )

    answers = asyncio.run(burst())
    statuses = Counter(answer.status_code for answer in answers)
    assert set(statuses) == {200, 503}, statuses
    assert statuses[200] >= MAX_PENDING_REQUESTS
    for answer in answers:
        if answer.status_code == 503:
            assert code_of(answer) == "overloaded"
            assert int(answer.headers["retry-after"]) >= 1
    time.sleep(0.5)
    with httpx.Client(
        base_url=service.url, headers={"Authorization": f"Bearer {token}"}, timeout=60
    ) as after:
        assert after.post(f"{event}/recognise", content=picture).status_code == 200
