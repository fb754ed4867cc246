"""Every check fails for its reason, says what to do, and is in order where nothing is wrong."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from serving.accounts.keys import KeyRing
from serving.commands.secret_files import make_secret_files
from serving.database import Database
from serving.errors import InstallationConflict
from serving.operations.doctor import answers, checks, machine
from serving.operations.doctor.all_checks import ALL_CHECKS
from serving.operations.doctor.checks import Check, Subject, ok
from serving.operations.service_note import ServiceNote, write_note
from serving.runtime import find_free_port
from tests.unit.operations.doctor_looks import look, touch, with_mount, with_settings, worst


def make_registry(subject: Subject, *statements: str) -> Subject:
    database = Database(subject.settings.registry_url)
    asyncio.run(_open_and_close(database))
    with sqlite3.connect(subject.settings.data_dir / "registry.sqlite3") as connection:
        for statement in statements:
            connection.execute(statement)
    return subject


async def _open_and_close(database: Database) -> None:
    await database.open()
    await database.close()


def spoil_registry(subject: Subject) -> Subject:
    make_registry(subject, "PRAGMA wal_checkpoint(TRUNCATE)")
    path = subject.settings.data_dir / "registry.sqlite3"
    data = bytearray(path.read_bytes())
    data[4096 * 2 : 4096 * 6] = b"\xff" * 4096 * 4
    path.write_bytes(data)
    return subject


def with_wrong_counts(subject: Subject) -> Subject:
    event = "('k', 'gala', 'p', '2026-01-01', 'open')"
    return make_registry(
        subject,
        f"INSERT INTO event (key, id, pack_id, created_at, state) VALUES {event}",
        "UPDATE event_count SET faces = 3",
    )


def do(subject: Subject, *actions: Any) -> Subject:
    return subject


def away(scheme: str) -> str:
    """The URL of a server that is not there."""
    return f"{scheme}://127.0.0.1:{find_free_port()}/0"


def with_memory(subject: Subject, total_kb: int) -> Subject:
    (subject.proc / "meminfo").write_text(f"MemTotal: {total_kb} kB\nMemAvailable: 9 kB\n")
    return subject


def with_volume(subject: Subject, uuid: str) -> Subject:
    (subject.sys / "dev/block/253:0/dm/uuid").write_text(uuid)
    return subject


def with_secret_file(subject: Subject, mode: int) -> Subject:
    return replace(subject, environment={"ROLLCALL_X_FILE": str(touch(subject.directory / "x", mode))})


def with_backup_key(subject: Subject, mode: int) -> Subject:
    return with_settings(subject, backup={"key_file": touch(subject.directory / "k", mode, "x")})


def with_revision(subject: Subject, revision: str) -> Subject:
    return make_registry(subject, f"UPDATE alembic_version SET version_num='{revision}'")


CONFIG = {"applications": [{"deployments": [{"name": "D", "ray_actor_options": {"num_cpus": 1000}}]}]}
STALE_S = 5 * 3600

CASES: list[tuple[str, str, Callable[[Subject], Subject], str]] = [
    ("config", "fail", lambda s: replace(s, config_fault="args.picture: no such key"), "no such key"),
    ("packages", "warn", lambda s: s, "not at hand"),
    (
        "packages",
        "warn",
        lambda s: do(s, touch(s.directory / "config/locks/requirements.txt", text="numpy==0.1 \\\n")),
        "locked 0.1",
    ),
    ("processors", "fail", lambda s: replace(s, config=CONFIG), "1000"),
    ("memory", "fail", lambda s: with_memory(s, 900_000), "0.9"),
    ("memory", "warn", lambda s: with_memory(s, 9_000_000), "8.6"),
    ("shared memory", "fail", lambda s: replace(s, shared_memory=s.directory / "no"), "no /dev/shm"),
    ("gpu", "fail", lambda s: with_settings(s, pack={"providers": ("cuda",)}), "cuda"),
    ("data_dir", "fail", lambda s: do(s, s.settings.data_dir.chmod(0o755)), "everybody can look"),
    ("disk", "fail", lambda s: with_settings(s, gallery={"min_free_bytes": 2**60}), "writes are refused"),
    ("file system", "fail", lambda s: with_mount(s, "1 1 0:9 / / rw - nfs4 host:/ rw"), "nfs4"),
    ("file system", "warn", lambda s: with_mount(s, "1 1 0:9 / / rw - tmpfs tmpfs rw"), "tmpfs"),
    ("encryption at rest", "warn", lambda s: with_volume(s, "LVM-1"), "is not encrypted"),
    ("encryption at rest", "warn", lambda s: with_mount(s, "1 1 0:9 / / rw - zfs tank rw"), "cannot be seen"),
    ("signing keys", "fail", lambda s: do(s, make_key(s, 0o644)), "Others can read"),
    ("signing keys", "fail", lambda s: do(s, make_key(s), s.settings.keys_dir.chmod(0o755)), "look into"),
    ("signing keys", "warn", lambda s: do(s, make_key(s, age_days=400)), "400 days"),
    ("secrets", "fail", lambda s: do(s, touch(s.directory / ".env", 0o644)), ".env"),
    ("secrets", "fail", lambda s: with_secret_file(s, 0o604), "ROLLCALL_X_FILE"),
    ("secrets", "warn", lambda s: with_settings(s, metrics={"token": "short"}), "metrics.token"),
    (
        "secrets",
        "warn",
        lambda s: with_settings(s, database_url="postgresql://u:pw@127.0.0.1/x"),
        "database_url",
    ),
    ("secrets", "fail", lambda s: with_plain_config(s), "holds secrets under args"),
    ("backup key", "warn", lambda s: s, "not set"),
    ("backup key", "fail", lambda s: with_backup_key(s, 0o644), "chmod 600"),
    ("registry", "fail", spoil_registry, ""),
    ("registry", "fail", lambda s: make_registry(s, "DROP TABLE alembic_version"), "none that says"),
    ("registry", "warn", lambda s: do(s, touch(s.settings.data_dir / "registry.sqlite3")), "the first start"),
    ("registry", "warn", lambda s: with_revision(s, "0003"), "0003"),
    ("registry", "warn", with_wrong_counts, "1 events have other numbers"),
    ("registry", "fail", lambda s: with_revision(s, "9999"), "newer"),
    ("registry", "fail", lambda s: with_settings(s, database_url=away("postgresql")), "cannot be used"),
    ("gallery", "warn", lambda s: do(s, make_stale_mark(s)), "erased 5 hours ago"),
    (
        "gallery",
        "fail",
        lambda s: with_settings(s, gallery={"engine": "server", "url": away("http")}),
        "does not answer",
    ),
    (
        "redis",
        "fail",
        lambda s: with_settings(s, rate_limits={"redis_url": away("redis")}),
        "does not answer",
    ),
    ("packs", "fail", lambda s: with_settings(s, pack={"name": "nobody-knows-it"}), "nobody-knows-it"),
    ("packs", "warn", lambda s: s, "not fetched"),
    ("packs", "fail", lambda s: with_settings(s, pack={"name": "buffalo_s"}), "licence is not accepted"),
    ("models", "warn", lambda s: s, "not here"),
    ("service", "fail", lambda s: replace(s, url=away("http")), "does not answer"),
    ("clocks", "fail", lambda s: with_settings(s, database_url=away("postgresql")), "cannot be used"),
]


def make_key(subject: Subject, mode: int = 0o600, age_days: float = 0) -> None:
    KeyRing(subject.settings.keys_dir).load_or_create()
    path = subject.settings.keys_dir / "signing-000001.pem"
    path.chmod(mode)
    at = time.time() - age_days * 86400
    os.utime(path, (at, at))


def make_stale_mark(subject: Subject) -> None:
    (subject.settings.gallery_dir / "faces__x__8").mkdir(parents=True)
    mark = touch(subject.settings.gallery_dir / "faces__x__8.erased")
    os.utime(mark, (time.time() - STALE_S,) * 2)


def with_plain_config(subject: Subject) -> Subject:
    path = touch(subject.directory / "serve.yaml", 0o644)
    return replace(subject, config_path=path, config={"applications": [{"args": {"database_url": "x"}}]})


@pytest.mark.parametrize(("name", "status", "change", "words"), CASES, ids=[f"{c[0]}-{c[3]}" for c in CASES])
def test_a_check_finds_what_it_is_for(
    subject: Subject, name: str, status: str, change: Callable[[Subject], Subject], words: str
) -> None:
    row = worst(look(name, change(subject)))
    assert row.status == status, row
    assert words in row.seen + row.cure
    assert row.cure, "says what to do"


def test_every_check_has_a_case_that_is_not_in_order() -> None:
    elsewhere = {"certificates", "python", "open files", "ports", "backups"}
    assert {each.name for each in ALL_CHECKS} == {case[0] for case in CASES} | elsewhere
    assert len({each.name for each in ALL_CHECKS}) == len(ALL_CHECKS)


@pytest.mark.parametrize(
    "name", ["data_dir", "file system", "encryption at rest", "memory", "processors", "redis"]
)
def test_where_all_is_well_it_says_so(subject: Subject, name: str) -> None:
    assert [row.status for row in look(name, subject)] == ["ok"]


def test_python_that_is_too_old(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "LEAST_PYTHON", (9, 9))
    assert look("python", subject)[0].status == "fail"


def test_two_packages_that_install_one_module(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise InstallationConflict("onnxruntime and onnxruntime-gpu both install onnxruntime")

    monkeypatch.setattr(machine, "check_installation", refuse)
    assert look("packages", subject)[0].status == "fail"


@pytest.mark.parametrize(("limit", "status"), [(1024, "fail"), (20_000, "warn"), (1 << 20, "ok")])
def test_few_open_files(subject: Subject, monkeypatch: pytest.MonkeyPatch, limit: int, status: str) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limit, limit))
    assert look("open files", subject)[0].status == status


def test_a_port_is_held_and_by_whom(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "OWN_TIMEOUT_S", 0.2)  # this listener never answers
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        held = replace(subject, proc=Path("/proc"), config={"http_options": {"port": port}})
        [row] = look("ports", held)
        assert row.status == "fail"
        assert f"({os.getpid()})" in row.seen
        write_note(subject.settings.data_dir, ServiceNote(os.getpid(), "http://127.0.0.1:1", "x:1"))
        assert look("ports", held)[0].status == "ok"  # our own service
    assert look("ports", held)[0].status == "ok"


class _Answers(BaseHTTPRequestHandler):
    ahead_s = 0.0
    status = 200

    def do_GET(self) -> None:
        self.send_response_only(self.status)
        self.send_header("Date", self.date_time_string(time.time() + self.ahead_s))
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        return None


@pytest.fixture
def server() -> Iterator[str]:
    listening = HTTPServer(("127.0.0.1", 0), _Answers)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{listening.server_port}"
    listening.shutdown()
    listening.server_close()


@pytest.mark.parametrize(("ahead_s", "status"), [(0, "ok"), (5, "warn"), (-60, "fail")])
def test_a_clock_that_is_wrong(
    subject: Subject, server: str, monkeypatch: pytest.MonkeyPatch, ahead_s: float, status: str
) -> None:
    monkeypatch.setattr(_Answers, "ahead_s", ahead_s)
    assert worst(look("clocks", replace(subject, url=server))).status == status


@pytest.mark.parametrize(("answer", "status"), [(200, "ok"), (503, "fail")])
def test_a_service_that_is_not_ready(
    subject: Subject, server: str, monkeypatch: pytest.MonkeyPatch, answer: int, status: str
) -> None:
    monkeypatch.setattr(_Answers, "status", answer)
    assert look("service", replace(subject, url=server))[0].status == status


@pytest.fixture
def tls_server(tmp_path: Path) -> Iterator[str]:
    """One with a certificate for another name, of an authority that this machine does not know."""
    make_secret_files(tmp_path / "secrets", ["faces.example.org"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "secrets" / "proxy.pem")
    listening = HTTPServer(("127.0.0.1", 0), _Answers)
    listening.socket = context.wrap_socket(listening.socket, server_side=True)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    yield f"https://127.0.0.1:{listening.server_port}"
    listening.shutdown()
    listening.server_close()


@pytest.mark.parametrize("name", ["service", "clocks"])
def test_a_service_with_a_certificate_of_its_own(subject: Subject, tls_server: str, name: str) -> None:
    write_note(subject.settings.data_dir, ServiceNote(os.getpid(), tls_server, "x:1"))
    assert [row.status for row in look(name, subject)] == ["ok"], "its note is of this machine"
    [row] = look(name, replace(subject, url=tls_server))
    assert row.status == "fail", "a URL that is given is verified"
    assert "certificate verify failed" in row.seen
    assert row.cure


def test_real_models_run(subject: Subject) -> None:
    real = with_settings(subject, cache_dir=Path("~/.cache/rollcall"))
    assert look("packs", real)[0].status == "ok"
    assert look("models", real)[0].status == "ok"


def test_a_damaged_model(subject: Subject) -> None:
    from serving.packs.configured import find_served_packs, open_store

    real = open_store(with_settings(subject, cache_dir=Path("~/.cache/rollcall")).settings)
    store = open_store(subject.settings)
    [pack] = find_served_packs(subject.settings)
    for artefact in pack.artefacts:
        source, target = real.path_of(artefact), store.path_of(artefact)
        assert source is not None
        assert target is not None
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
        target.write_bytes(target.read_bytes()[:-1] + b"x")
    assert worst(look("packs", subject)).seen.endswith("a file is damaged")


@pytest.mark.parametrize("fault", ["crash", "hang", "nothing"])
def test_no_check_takes_the_others_with_it(subject: Subject, fault: str) -> None:
    release = threading.Event()

    def misbehave(_: Subject) -> Any:
        if fault == "crash":
            raise ZeroDivisionError("by zero")
        if fault == "hang":
            release.wait(60)
        return []

    rows = checks.run_checks(
        [Check("bad", "", misbehave, 0.2), Check("good", "", lambda _: [ok("fine")])], subject
    )
    release.set()
    assert [(row.check, row.status) for row in rows] == [("bad", "fail"), ("good", "ok")]
    assert {"crash": "ZeroDivisionError", "hang": "0.2 s", "nothing": "nothing"}[fault] in rows[0].seen


def test_the_command_says_what_fails_and_exits_with_it(tmp_path: Path) -> None:
    config = tmp_path / "serve.yaml"
    config.write_text(
        "http_options: {prot: 1}\napplications: [{import_path: 'serving.app:build', args: {}}]\n"
    )
    environment = {**os.environ, "ROLLCALL_DATA_DIR": str(tmp_path / "data")}
    done = subprocess.run(
        [sys.executable, "-m", "serving.cli", "doctor", "--json", "--config", str(config)],
        env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    shown = json.loads(done.stdout)
    [row] = [row for row in shown["rows"] if row["check"] == "config"]
    assert "http_options.prot" in row["seen"]
    assert shown["failed"] >= 1
    assert {each.name for each in ALL_CHECKS} <= {row["check"] for row in shown["rows"]}
