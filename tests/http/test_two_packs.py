"""Two packs of different dimensions serve two events at once; one event then moves, under load."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from loadtest.service import Service, run_service
from tests.service_fixtures import make_client

OLD, NEW = "starter-int8-mirror", "buffalo_sc-int8"
PEOPLE = 6
CLIENTS = 3

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def two_packs(
    tmp_path_factory: pytest.TempPathFactory, repository: Path, shared_dir: Path
) -> Iterator[httpx.Client]:
    """A client of a service of its own, as its administrator."""
    models = shared_dir / "models"
    if not (models / "w600k_mbf_int8.onnx").is_file():
        pytest.skip(f"needs the models in {models}")
    environment = {"ROLLCALL_PACK__ALSO": f'["{NEW}"]', "ROLLCALL_PACK__ACCEPT_LICENCE": f'["{NEW}"]'}
    service = Service(
        tmp_path_factory.mktemp("two-packs") / "data",
        config=repository / "config" / "laptop.yaml",
        environment=environment,
    )
    service.run_command("packs", "add", str(models), "--pack", NEW)
    with run_service(service) as running:
        running.run_command("admin", "create", "tester")
        with make_client(running, running.run_command("token", "tester")) as client:
            yield client


@pytest.fixture(scope="module")
def pictures(shared_dir: Path) -> dict[str, list[bytes]]:
    """Two pictures of each of a few people, by their id."""
    found: dict[str, list[bytes]] = {}
    for folder in sorted((shared_dir / "lfw" / "images").iterdir()):
        files = sorted(folder.glob("*.jpg"))
        if len(files) >= 2:
            found[folder.name] = [path.read_bytes() for path in files[:2]]
        if len(found) == PEOPLE:
            return found
    raise AssertionError("too few people")


def enrol(client: httpx.Client, event: str, person: str, picture: bytes) -> None:
    files = {"picture": ("p.jpg", picture, "image/jpeg")}
    options = {"person_id": person, "face": "largest", "on_duplicate": "allow"}
    answer = client.post(f"/v1/events/{event}/people", files=files, data=options)
    assert answer.status_code == 201, answer.text


def recognise(client: httpx.Client, event: str, picture: bytes) -> dict:
    answer = client.post(
        f"/v1/events/{event}/recognise",
        content=picture,
        params={"faces": "largest"},
        headers={"Content-Type": "image/jpeg"},
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def who(answer: dict) -> str | None:
    [face] = answer["faces"]
    return face["person"] and face["person"]["person_id"]


def test_two_packs_serve_and_an_event_moves_under_load(
    two_packs: httpx.Client, pictures: dict[str, list[bytes]]
) -> None:
    client = two_packs
    model = client.get("/v1/model").json()
    dimensions = {pack["pack_id"]: pack["dimension"] for pack in model["packs"]}
    assert dimensions == {OLD: 128, NEW: 512}
    for event, pack_id in (("old", OLD), ("new", NEW)):
        made = client.post("/v1/events", json={"id": event, "pack_id": pack_id, "quality_level": "off"})
        assert made.status_code == 201, made.text
        for person, (first, _) in pictures.items():
            enrol(client, event, person, first)
    for event, pack_id in (("old", OLD), ("new", NEW)):
        for person, (first, _) in pictures.items():
            answer = recognise(client, event, first)
            assert (who(answer), answer["pack_id"]) == (person, pack_id)

    done, seen = threading.Event(), set()

    def look() -> int:
        """Ask for everybody until told to stop; each answer is right, by whichever pack."""
        asked = 0
        while not done.is_set():
            for person, (first, _) in pictures.items():
                answer = recognise(client, "old", first)
                assert who(answer) == person, answer["pack_id"]
                seen.add(answer["pack_id"])
                asked += 1
        return asked

    migration = "/v1/events/old/migration"
    with ThreadPoolExecutor(CLIENTS) as pool:
        looking = [pool.submit(look) for _ in range(CLIENTS)]
        try:
            assert client.post(migration, json={"pack_id": NEW}).status_code == 201
            refused = client.post(f"{migration}/finish")
            assert refused.json()["code"] == "migration_incomplete"
            for person, (first, second) in pictures.items():
                enrol(client, "old", person, first)
                enrol(client, "old", person, second)
            progress = client.get(migration).json()
            assert (progress["migrated_people"], progress["missing"]) == (PEOPLE, [])
            finished = client.post(f"{migration}/finish")
            assert finished.status_code == 200, finished.text
            for person, (_, second) in pictures.items():
                answer = recognise(client, "old", second)
                assert (who(answer), answer["pack_id"]) == (person, NEW)
        finally:
            done.set()
        assert all(each.result() >= PEOPLE for each in looking)
    assert seen == {OLD, NEW}
    counts = client.get("/v1/events/old").json()
    assert (counts["pack_id"], counts["people"], counts["faces"]) == (NEW, PEOPLE, 2 * PEOPLE)
