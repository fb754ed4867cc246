"""What an operator does beside a running service: back up through its Ray, look it over."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import httpx

from loadtest.service import Service
from serving.operations.doctor.answers import is_rollcall


def run(service: Service, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "serving.cli", *arguments],
        env={**service.environment, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_backup_beside_the_service_holds_every_vector(
    service: Service, client: httpx.Client, event: str, samples: dict[str, Path], tmp_path: Path
) -> None:
    guest = {"picture": samples["guest"].read_bytes()}
    assert client.post(f"{event}/people", params={"person_id": "guest"}, files=guest).status_code == 201
    safe = tmp_path / "safe"
    safe.mkdir(mode=0o700)
    keys = {"ROLLCALL_BACKUP__KEY_FILE": str(tmp_path / "keys")}
    assert run(service, "rotate-keys", "--backup", **keys).returncode == 0
    done = run(service, "backup", str(safe / "one"), "--json", **keys)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["encrypted"] is True
    assert (told["file"], told["without_vector"]) == (str(safe / "one"), 0)
    assert client.post(f"{event}/recognise", files=guest).json()["faces"][0]["outcome"] == "match"
    refused = run(service, "restore", str(safe / "one"), "--replace", **keys)
    assert refused.returncode == 1
    assert "a service runs on" in " ".join(refused.stderr.split())
    checked = run(service, "restore", str(safe / "one"), "--check", "--json", **keys)
    assert checked.returncode == 0, checked.stderr
    assert json.loads(checked.stdout)["vectors"] == told["vectors"] > 0

    elsewhere = {**keys, "ROLLCALL_DATA_DIR": str(tmp_path / "elsewhere")}
    restored = run(service, "restore", str(safe / "one"), "--without-list", **elsewhere)
    assert restored.returncode == 0, restored.stdout + restored.stderr
    assert "each found again by itself" in " ".join(restored.stdout.split())


def test_the_doctor_knows_the_running_service(service: Service) -> None:
    done = run(service, "doctor", "--json", "--url", service.url)
    rows = {row["check"]: row for row in json.loads(done.stdout)["rows"]}
    assert rows["service"]["status"] == "ok", rows["service"]
    assert is_rollcall(service.url, is_verified=False), "as it is told from what else holds its port"
    assert rows["registry"]["status"] == rows["gallery"]["status"] == "ok"
    assert os.path.exists(service.environment["ROLLCALL_DATA_DIR"] + "/service.json")


def key_of(token: str) -> str:
    head = token.split(".")[0]
    return str(json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))["kid"])


def test_keys_rotate_under_load_and_every_token_is_answered_rightly(
    service: Service, client: httpx.Client, as_client: Callable[[str | None], httpx.Client]
) -> None:
    person = {"name": f"rotating-{uuid.uuid4().hex}", "password": "correct horse battery staple"}
    assert client.post("/v1/accounts", json=person).status_code == 201

    def sign_in() -> dict[str, str]:
        answer = client.post("/v1/auth/sign-in", json=person)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    first = sign_in()
    head, claims, signature = first["access_token"].split(".")
    swapped = signature[:20] + signature[20:40].swapcase() + signature[40:]
    tokens = {"first": first["access_token"], "newest": first["access_token"]}
    tokens["forged"] = f"{head}.{claims}.{swapped}"
    statuses: dict[str, list[int]] = defaultdict(list)
    ended = threading.Event()

    def ask(kind: str) -> None:
        with as_client(None) as asking:
            while not ended.wait(0.2):  # well below rate_limits.management
                bearer = {"Authorization": f"Bearer {tokens[kind]}"}
                statuses[kind].append(asking.get("/v1/auth/whoami", headers=bearer).status_code)

    def wait_for_answers(count: int) -> None:
        already = {kind: len(statuses[kind]) for kind in tokens}
        give_up_at = time.monotonic() + 60
        while any(len(statuses[kind]) < already[kind] + count for kind in tokens):
            assert time.monotonic() < give_up_at
            time.sleep(0.05)

    def rotate_by_command() -> None:
        done = run(service, "rotate-keys")
        assert done.returncode == 0, done.stderr

    def rotate_by_route() -> None:
        assert client.post("/v1/auth/keys/rotate").status_code == 200

    askers = [threading.Thread(target=ask, args=(kind,)) for kind in tokens]
    for asker in askers:
        asker.start()
    try:
        used = [key_of(tokens["first"])]
        for rotate in (rotate_by_command, rotate_by_route):
            wait_for_answers(2)
            rotate()
            session = sign_in()
            tokens["newest"] = session["access_token"]
            used.append(key_of(tokens["newest"]))
            wait_for_answers(3)
        renewed = client.post("/v1/auth/refresh", json={"refresh_token": first["refresh_token"]})
        assert renewed.status_code == 200, "nobody is signed out"
        assert key_of(renewed.json()["access_token"]) == used[-1]
    finally:
        ended.set()
        for asker in askers:
            asker.join(60)
    assert len(set(used)) == 3, "each rotation's key signs at once"
    published = {key["kid"] for key in client.get("/.well-known/jwks.json").json()["keys"]}
    assert set(used) <= published
    right = {"first": {200}, "newest": {200}, "forged": {401}}
    assert {kind: set(seen) for kind, seen in statuses.items()} == right
