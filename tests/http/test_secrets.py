"""What must never be written down: sent through the real service in every way, and looked for everywhere."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import sqlite3
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from loadtest.service import Service

SETTLED_S = 2.0
"""Log lines, audit entries and counters are written within a quarter of a second; Ray's loggers at once."""
DIMENSION = 128


class Marks:
    """Secrets that occur nowhere else, by what they are."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}

    def make(self, kind: str) -> str:
        return self.note(kind, f"Zq{kind}{uuid.uuid4().hex}Zq")

    def note(self, kind: str, secret: str) -> str:
        self.known[kind] = secret
        return secret

    def find_in(self, text: bytes) -> set[str]:
        found = set()
        for kind, secret in self.known.items():
            forms = (secret.encode(), base64.b64encode(secret.encode()).rstrip(b"=")[:-2])
            if any(form in text for form in forms):
                found.add(kind)
        return found


@pytest.fixture
def marks() -> Marks:
    return Marks()


def find_ray_logs(service: Service) -> Path:
    """The folder of the service's own Ray session."""
    for process in service.processes():
        with contextlib.suppress(psutil.NoSuchProcess):
            for part in process.cmdline():
                name, _, value = part.partition("=")
                if name in ("--session-dir", "--session_dir") and value:
                    return Path(value) / "logs"
    raise AssertionError("no process of the service says where its session is")


@contextlib.contextmanager
def break_table(service: Service, table: str) -> Iterator[None]:
    """While it lasts every statement on the table fails, as nobody foresaw."""
    path = Path(service.environment["ROLLCALL_DATA_DIR"]) / "registry.sqlite3"

    def rename(one: str, other: str) -> None:
        connection = sqlite3.connect(path, timeout=30)
        with connection:
            connection.execute(f"ALTER TABLE {one} RENAME TO {other}")
        connection.close()

    rename(table, f"{table}_away")
    try:
        yield
    finally:
        rename(f"{table}_away", table)


def use_accounts(client: httpx.Client, anonymous: httpx.Client, marks: Marks) -> None:
    name, password = f"door-{uuid.uuid4().hex}", marks.make("password")
    made = client.post("/v1/accounts", json={"name": name, "password": password})
    assert made.status_code == 201, made.text
    assert (
        anonymous.post("/v1/auth/sign-in", json={"name": name, "password": marks.make("guess")}).status_code
        == 401
    )
    assert (
        anonymous.post(
            "/v1/auth/sign-in", json={"name": marks.make("typed-as-name"), "password": "x"}
        ).status_code
        == 401
    )
    session = anonymous.post("/v1/auth/sign-in", json={"name": name, "password": password}).json()
    marks.note("access", session["access_token"].rpartition(".")[2])
    marks.note("refresh", session["refresh_token"])
    for body in ({"refresh_token": session["refresh_token"]}, {"refresh_token": marks.make("no-refresh")}):
        anonymous.post("/v1/auth/refresh", json=body)
    key = client.post(
        "/v1/api-keys", json={"name": "door", "scopes": ["recognise"], "all_events": True}
    ).json()["key"]
    marks.note("api-key", key)
    for headers in (
        {"X-API-Key": key},
        {"Authorization": f"Bearer {marks.make('no-token')}"},
        {"X-API-Key": f"rck_{marks.make('no-key')}"},
    ):
        anonymous.get("/v1/events", headers=headers)
    anonymous.get("/v1/events", params={"token": key, "access_token": session["access_token"]})
    account = made.json()["id"]
    client.put(f"/v1/accounts/{account}/password", json={"password": marks.make("short")[:6]})
    client.put(f"/v1/accounts/{account}/password", json={"password": marks.make("new-password")})
    assert (
        client.post(
            "/v1/accounts", json={"name": name, "password": 1, "hint": marks.make("in-wrong-field")}
        ).status_code
        == 422
    )


def use_faces(client: httpx.Client, event: str, picture: bytes, marks: Marks) -> None:
    marked = (
        picture[:2]
        + b"\xff\xfe"
        + (2 + 80).to_bytes(2, "big")
        + marks.make("picture").encode().ljust(80)
        + picture[2:]
    )
    details = {"person_id": "guest", "name": marks.make("name")}
    files = {"picture": (marks.make("file-name") + ".jpg", marked, "image/jpeg")}
    enrolled = client.post(f"{event}/people", data=details, files=files)
    assert enrolled.status_code == 201, enrolled.text
    changed = {"name": marks.make("new-name"), "metadata": {"diet": marks.make("metadata")}}
    assert client.patch(f"{event}/people/guest", json=changed).status_code == 200
    recognised = client.post(f"{event}/recognise", json={"picture": base64.b64encode(marked).decode()})
    assert recognised.json()["faces"][0]["outcome"] == "match", recognised.text
    client.get(f"{event}/people", params={"name": marks.make("sought")})
    client.post(f"{event}/recognise", json={"picture": marks.make("no-base64") + "!"})
    client.post(f"{event}/recognise", content=marked[: len(marked) // 2])
    client.get(f"{event}/people/{marks.known['api-key']}")
    client.patch(f"{event}/people/guest", json={"name": [marks.make("name-in-list")], "metadata": 5})
    vector = client.post("/v1/embed", content=marked, headers={"Content-Type": "image/jpeg"}).json()
    numbers = vector["results"][0]["faces"][0]["vector"]
    for place in (0, len(numbers) // 2):
        marks.note(f"vector {place}", repr(numbers[place])[:9])
    body = {"pack_id": vector["pack_id"], "vectors": [numbers]}
    assert client.post(f"{event}/search", json=body).status_code == 200
    assert client.post(f"{event}/search", json={**body, "vectors": [[*numbers, 0.5]]}).status_code in (
        409,
        422,
    )


def import_people(client: httpx.Client, event: str, picture: bytes, marks: Marks) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("cyd.jpg", picture)
        archive.writestr("bad.jpg", b"\xff\xd8" + marks.make("broken-picture").encode())
        archive.writestr(
            "people.ndjson", json.dumps({"person_id": "cyd", "name": marks.make("imported-name")}) + "\n"
        )
    job = client.post(
        f"{event}/imports",
        content=out.getvalue(),
        headers={"Content-Type": "application/zip"},
        params={"on_duplicate": "allow"},
    ).json()
    for _ in range(300):
        seen = client.get(f"{event}/jobs/{job['id']}").json()
        if seen["state"] in ("done", "failed", "cancelled"):
            break
        time.sleep(0.1)
    results = json.dumps(seen) + client.get(f"{event}/jobs/{job['id']}/rejections").text
    assert marks.find_in(results.encode()) == set()


def fail_unforeseen(service: Service, client: httpx.Client, event: str, marks: Marks) -> None:
    with break_table(service, "api_key"):
        answer = client.post(
            "/v1/api-keys", json={"name": marks.make("key-name"), "scopes": ["read"], "all_events": True}
        )
        assert answer.status_code >= 500
        assert marks.find_in(answer.content) == set()
    with break_table(service, "person"):
        body = {"name": marks.make("name-lost"), "metadata": {"a": marks.make("metadata-lost")}}
        answer = client.patch(f"{event}/people/guest", json=body)
        assert answer.status_code >= 500
        assert marks.find_in(answer.content) == set()
    environment = {
        "ROLLCALL_DATABASE_URL": f"postgresql://rollcall:{marks.make('database')}@127.0.0.1:1/rollcall"
    }
    ailing = Service(Path(service.environment["ROLLCALL_DATA_DIR"]), environment=environment)
    with pytest.raises(RuntimeError) as told:
        ailing.run_command("account", "list")
    assert marks.find_in(str(told.value).encode()) == set()


def test_no_secret_and_no_face_is_written_down(
    service: Service,
    client: httpx.Client,
    as_client: Callable[[str | None], httpx.Client],
    token: str,
    event: str,
    samples: dict[str, Path],
    marks: Marks,
) -> None:
    marks.note("administrator", token.rpartition(".")[2])
    picture = samples["guest"].read_bytes()
    assert picture.startswith(b"\xff\xd8")
    with as_client(None) as anonymous:
        use_accounts(client, anonymous, marks)
        use_faces(client, event, picture, marks)
        import_people(client, event, picture, marks)
        fail_unforeseen(service, client, event, marks)
    time.sleep(SETTLED_S)
    data_dir = Path(service.environment["ROLLCALL_DATA_DIR"])
    places = [
        path
        for folder in (data_dir / "logs", find_ray_logs(service))
        for path in folder.rglob("*")
        if path.is_file()
    ]
    assert len(places) > 10
    texts = {str(path): path.read_bytes() for path in places}
    texts["what it printed"] = service.read_log().encode()
    texts["metrics"] = client.get("/metrics").content
    texts["audit"] = client.get("/v1/audit/export", params={"format": "ndjson"}).content
    assert b"people.enrol" in texts["audit"]
    assert any(b"v1/auth/sign-in" in text or b"authentication.sign_in" in text for text in texts.values())
    assert len(marks.known) > 25
    found = {place: kinds for place, text in texts.items() if (kinds := marks.find_in(text))}
    assert found == {}


def test_what_it_keeps_is_readable_by_its_own_user_alone(service: Service, client: httpx.Client) -> None:
    assert client.get("/readyz").status_code == 200
    data_dir = Path(service.environment["ROLLCALL_DATA_DIR"])
    open_to_others = {
        str(path.relative_to(data_dir)): oct(path.stat().st_mode & 0o777)
        for path in data_dir.rglob("*")
        if path.stat().st_mode & 0o077 and path.suffix != ".jpg"
    }
    assert open_to_others == {}


def test_the_proxy_listens_on_loopback_alone(service: Service) -> None:
    """The port that is served, its statistics and its metrics. Ray's own ports ask for its token."""
    places = []
    for process in service.processes():
        with contextlib.suppress(psutil.Error):
            if process.name().startswith("haproxy"):
                listening = [each.laddr for each in process.net_connections("tcp") if each.status == "LISTEN"]
                places += [(place.ip, place.port) for place in listening]
    assert len(places) >= 3
    assert {ip for ip, _ in places} <= {"127.0.0.1", "::1"}, places
