"""What was acknowledged survives; what was stopped leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import httpx
import psutil
import pytest

from loadtest.service import Service
from tests.http.encrypted_service import EncryptedService
from tests.service_fixtures import make_client

KILLS = 1


@pytest.mark.timeout(420)
def test_kill_9_right_after_an_enrolment_loses_nothing_and_ctrl_c_leaves_nothing(
    tmp_path: Path, repository: Path, samples: dict[str, Path], request: pytest.FixtureRequest
) -> None:
    """Once over HTTP, and after the kill over HTTPS, which `rollcall serve` speaks by itself."""
    config = repository / "config" / "laptop.yaml"
    service = Service(tmp_path / "data", config=config)
    request.addfinalizer(service.kill)  # should an assertion fail half way
    service.run_command("admin", "create", "tester")
    token = service.run_command("token")
    guest = {"picture": samples["guest"].read_bytes()}
    enrolled: list[str] = []

    def check_everyone(client: httpx.Client) -> None:
        listed = [person["id"] for person in client.get("/v1/events/gala/people").json()["people"]]
        assert listed == sorted(enrolled)
        answer = client.post("/v1/events/gala/recognise", params={"top_k": 20}, files=guest)
        assert answer.status_code == 200, answer.text
        face = answer.json()["faces"][0]
        assert face["outcome"] == "match"
        assert {candidate["person_id"] for candidate in face["candidates"]} == set(enrolled)

    for kill in range(KILLS):
        service.start()
        with make_client(service, token) as client:
            if kill == 0:
                assert client.post("/v1/events", json={"id": "gala"}).status_code == 201
            else:
                check_everyone(client)
            for place in range(3):
                person = f"guest-{kill}-{place}"
                answer = client.post(
                    "/v1/events/gala/people",
                    params={"person_id": person, "on_duplicate": "allow"},
                    files=guest,
                )
                assert answer.status_code == 201, answer.text
                enrolled.append(person)
        service.kill()

    service = EncryptedService(tmp_path / "data", config=config, secrets=tmp_path / "secrets")
    request.addfinalizer(service.kill)
    seconds = service.start()
    with make_client(service, token, service.trust) as client:
        assert client.get("/healthz").headers["strict-transport-security"].startswith("max-age=")
        check_everyone(client)
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"{service.url}/healthz")
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"http://127.0.0.1:{service.port}/healthz", timeout=10)
    processes = service.processes()
    assert len(processes) > 5
    assert service.stop() == []
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{service.url}/healthz", timeout=2)
    print(f"a start on prepared data took {seconds:.1f} s")
