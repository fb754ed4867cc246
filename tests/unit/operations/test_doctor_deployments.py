"""`rollcall doctor` has nothing to mend in the set-ups that the pages prescribe, and only in those."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from serving.commands.secret_files import make_secret_files
from serving.operations.doctor.checks import Subject
from tests.unit.operations.doctor_looks import look, touch, with_mount, with_settings, worst

SERVER = {"engine": "server", "url": "https://qdrant.internal:6333", "api_key": "k" * 32}
POSTGRESQL = f"postgresql://rollcall:{'p' * 32}@db.internal/rollcall?sslmode=verify-full"


def named(subject: Subject, variable: str, path: Path) -> Subject:
    return replace(subject, environment={variable: str(path)})


def in_folder(subject: Subject, folder_mode: int, file_mode: int) -> Subject:
    path = touch(subject.directory / "etc" / "token", file_mode)
    path.parent.chmod(folder_mode)
    return named(subject, "ROLLCALL_METRICS__TOKEN_FILE", path)


def mounted(subject: Subject) -> Subject:
    path = touch(subject.directory / "mounted" / "token", 0o644)
    path.parent.chmod(0o755)
    subject = replace(subject, mounted_secrets=path.parent)
    return named(subject, "ROLLCALL_METRICS__TOKEN_FILE", path)


def linked_from_mounted(subject: Subject) -> Subject:
    path = touch(subject.directory / "elsewhere", 0o644)
    link = subject.directory / "mounted" / "token"
    link.parent.mkdir()
    link.symlink_to(path)
    return named(replace(subject, mounted_secrets=link.parent), "ROLLCALL_METRICS__TOKEN_FILE", link)


def made_by_secrets_init(subject: Subject) -> Subject:
    folder = subject.directory / "secrets"
    make_secret_files(folder, ["faces.example.org"])
    assert (folder / "database_url").stat().st_mode & 0o004, "open for users within containers"
    return named(subject, "ROLLCALL_DATABASE_URL_FILE", folder / "database_url")


def authority(subject: Subject, section: str) -> Subject:
    return named(subject, f"ROLLCALL_{section}__CA_FILE", touch(subject.directory / "ca.pem", 0o644))


def on_nfs(subject: Subject, **sections: Any) -> Subject:
    return with_mount(with_settings(subject, **sections), "1 1 0:9 / / rw - nfs4 host:/ rw")


CASES: dict[str, tuple[str, Callable[[Subject], Subject], str]] = {
    "a mounted secret": ("secrets", mounted, "ok"),
    "a link out of the mounted ones": ("secrets", linked_from_mounted, "fail"),
    "secrets init": ("secrets", made_by_secrets_init, "ok"),
    "a closed folder": ("secrets", lambda s: in_folder(s, 0o700, 0o644), "ok"),
    "a folder for a group": ("secrets", lambda s: in_folder(s, 0o750, 0o644), "ok"),
    "a file for a group": ("secrets", lambda s: in_folder(s, 0o755, 0o640), "ok"),
    "a folder to pass through": ("secrets", lambda s: in_folder(s, 0o711, 0o644), "fail"),
    "the gallery's authority": ("secrets", lambda s: authority(s, "GALLERY"), "ok"),
    "the collector's authority": ("secrets", lambda s: authority(s, "TRACING"), "ok"),
    "NFS for keys and jobs": (
        "file system",
        lambda s: on_nfs(s, gallery=SERVER, database_url=POSTGRESQL),
        "ok",
    ),
    "NFS beneath SQLite": ("file system", lambda s: on_nfs(s, gallery=SERVER), "fail"),
    "NFS beneath a gallery": ("file system", lambda s: on_nfs(s, database_url=POSTGRESQL), "fail"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_the_pages_prescribe_is_in_order(subject: Subject, case: str) -> None:
    name, change, status = CASES[case]
    row = worst(look(name, change(subject)))
    assert row.status == status, row


@dataclass
class Said:
    """What a server answers to each path; 404 to the others."""

    answers: dict[str, tuple[int, bytes]]
    has_request_id: bool = True


@pytest.fixture
def start() -> Iterator[Callable[[Said], int]]:
    """Starts a server that says so; its port."""
    running: list[ThreadingHTTPServer] = []

    def begin(said: Said) -> int:
        class Answers(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = said.answers.get(self.path, (404, b"Path not found"))
                self.send_response(status)
                if said.has_request_id:
                    self.send_header("X-Request-ID", "1")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                return None

        server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        running.append(server)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return server.server_port

    yield begin
    for server in running:
        server.shutdown()
        server.server_close()


HEALTH = b'{"status":"ok"}'
NOT_READY = b'{"type":"urn:rollcall:error:stage_unavailable","status":503}'
OWN = Said({"/healthz": (200, HEALTH)})
STRANGER = Said({"/healthz": (200, b"<html>")})
PORTS = {
    "it is alive": (OWN, None, "ok"),
    "it is busy, and not ready": (Said({"/readyz": (503, NOT_READY)}), None, "ok"),
    "another's page": (STRANGER, None, "fail"),
    "another's health": (Said({"/healthz": (200, HEALTH)}, has_request_id=False), None, "fail"),
    "another's list": (Said({"/healthz": (200, b"[]")}), None, "fail"),
    "nothing at those paths": (Said({}), None, "fail"),
    "the URL that was named answers": (STRANGER, OWN, "ok"),
    "another answers at the URL": (STRANGER, STRANGER, "fail"),
}


@pytest.mark.parametrize("case", PORTS)
def test_the_port_of_a_service_that_serve_deploy_runs(
    subject: Subject, start: Callable[[Said], int], case: str
) -> None:
    here, there, status = PORTS[case]
    held = {"http_options": {"host": "0.0.0.0", "port": start(here)}}
    url = None if there is None else f"http://127.0.0.1:{start(there)}/"
    [row] = look("ports", replace(subject, proc=Path("/proc"), config=held, url=url))
    assert row.status == status, row


def test_the_port_of_measurements_is_not_judged_by_the_services(
    subject: Subject, start: Callable[[Said], int]
) -> None:
    own, other = start(OWN), start(STRANGER)
    held = with_settings(subject, metrics={"port": other})
    rows = look("ports", replace(held, proc=Path("/proc"), config={"http_options": {"port": own}}))
    assert [row.status for row in rows] == ["ok", "fail"]
