"""`rollcall secrets init`: what it makes works with this Python's TLS, and running it again loses nothing."""

from __future__ import annotations

import datetime
import json
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest
from cryptography import x509
from sqlalchemy.engine import make_url
from typer.testing import CliRunner

from serving.cli import app
from serving.commands import secret_certificates
from serving.commands.secret_files import PROXY, SERVERS, Written, make_secret_files
from serving.errors import CommandError
from serving.settings import load_settings

STORE_HOSTS = {
    "postgres": ("db.internal", "10.0.0.5"),
    "qdrant": ("qdrant.internal",),
    "redis": ("10.0.0.7", "fd00::7"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "secrets"
    make_secret_files(made, ["rollcall.example.org", "192.0.2.7"])
    return made


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def written_anew(files: list[Written]) -> set[str]:
    return {written.name for written in files if written.made}


def notes_of(files: list[Written]) -> dict[str, str]:
    return {written.name: " ".join(written.notes) for written in files if written.notes}


def test_nobody_else_can_enter_the_folder(folder: Path, tmp_path: Path) -> None:
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "ca.key").stat().st_mode & 0o777 == 0o600
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o755)
    with pytest.raises(CommandError, match="chmod 700"):
        make_secret_files(open_to_all, ["localhost"])
    assert not list(open_to_all.iterdir())


def test_what_is_there_is_kept_and_what_follows_from_it_is_made_anew(folder: Path) -> None:
    before = contents(folder)
    again = make_secret_files(folder)
    assert {written.name for written in again} == set(before), "each file is named"
    assert not written_anew(again)
    assert not notes_of(again)
    assert contents(folder) == before
    (folder / "database_password").unlink()
    assert written_anew(make_secret_files(folder)) == {"database_password", "database_url"}
    assert (folder / "database_password").read_text().strip() in (folder / "database_url").read_text()


def make_for_own_machines(folder: Path, **asked: bool) -> list[Written]:
    return make_secret_files(folder, store_hosts=STORE_HOSTS, prefix=PurePosixPath("/etc/rollcall"), **asked)


def test_the_urls_name_the_hosts_and_the_authority_where_it_will_be(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir(mode=0o700)
    (tmp_path / "secrets" / "redis_password").write_text('p@ss "word"/#%\n')
    make_for_own_machines(tmp_path / "secrets")
    made = contents(tmp_path / "secrets")
    database = make_url(made["database_url"].strip())
    assert (database.host, database.port, database.password) == (
        "db.internal",
        5432,
        made["database_password"].strip(),
    )
    assert database.query == {"sslmode": "verify-full", "sslrootcert": "/etc/rollcall/ca.pem"}
    redis = make_url(made["redis_url"].strip())
    assert (redis.host, redis.password) == ("10.0.0.7", 'p@ss "word"/#%')
    assert redis.query == {"ssl_ca_certs": "/etc/rollcall/ca.pem"}
    assert made["redis_auth.conf"] == 'requirepass "p@ss \\"word\\"/#%"\n'


EDITED = (
    "postgresql://rollcall:{}@/faces?host=a.cloud:25060&host=b.cloud:25061&sslmode=verify-full"
    "&sslrootcert=/ca&target_session_attrs=read-write"
)


def test_a_url_that_was_edited_is_touched_where_it_was_asked_to_be(folder: Path) -> None:
    url = folder / "database_url"
    url.write_text(EDITED.format("their%20own"))
    url.chmod(0o640)
    for again in (make_secret_files(folder), make_for_own_machines(folder)):
        assert "database_url" not in written_anew(again)
        assert "has another password than database_password" in notes_of(again)["database_url"]
        assert "their" not in notes_of(again)["database_url"]
    assert "names a.cloud, b.cloud, not db.internal" in notes_of(again)["database_url"]
    assert "has /ca for the authority" in notes_of(again)["database_url"]
    assert url.read_text() == EDITED.format("their%20own")
    (folder / "database_password").write_text("new\n")
    assert "database_url" in written_anew(make_secret_files(folder, rewrite_urls=True))
    assert url.read_text().strip() == EDITED.format("new"), "its hosts stay, where none is given"
    make_for_own_machines(folder, rewrite_urls=True)
    options = "sslmode=verify-full&target_session_attrs=read-write&sslrootcert=/etc/rollcall/ca.pem"
    assert url.read_text().strip() == f"postgresql://rollcall:new@db.internal:25060/faces?{options}"
    assert url.stat().st_mode & 0o777 == 0o640
    assert not notes_of(make_for_own_machines(folder)), "and now it is what was asked for"
    url.write_text("sqlite:////srv/faces.sqlite3\n")
    again = make_secret_files(folder, rewrite_urls=True)
    assert "is not a postgresql URL" in notes_of(again)["database_url"]
    assert url.read_text() == "sqlite:////srv/faces.sqlite3\n"


def lose_the_key(folder: Path) -> None:
    (folder / "ca.key").unlink()
    (folder / "metrics_token").unlink()


def lose_the_authority(folder: Path) -> None:
    (folder / "ca.pem").unlink()
    (folder / "ca.key").unlink()


def change_the_authority(folder: Path) -> None:
    (folder / "ca.pem").write_text(secret_certificates.make_authority().pem)
    said = notes_of(make_secret_files(folder))
    assert "signed by another authority than ca.pem" in said["postgres.pem"]
    (folder / "redis.pem").unlink()


REFUSALS: dict[str, tuple[Callable[[Path], object], dict[str, tuple[str, ...]], str]] = {
    "no key to sign with": (
        lambda folder: [lose_the_key(folder), (folder / "qdrant.pem").unlink()],
        {},
        r"no ca\.key to sign qdrant\.pem",
    ),
    "no key to sign names with": (lose_the_key, STORE_HOSTS, r"to sign postgres\.pem, qdrant\.pem, redis"),
    "an authority that is gone": (lose_the_authority, {}, r"lost ca\.pem.* remove postgres\.pem, qdrant"),
    "half of it that is gone": (lambda folder: (folder / "ca.pem").unlink(), {}, r"remove ca\.key, postgres"),
    "a key of another": (
        change_the_authority,
        STORE_HOSTS,
        r"ca\.key is the key of no certificate in ca\.pem",
    ),
    "no such store": (lambda _: None, {"mongo": ("a",)}, "there are postgres, qdrant, redis"),
    "a port": (lambda _: None, {"redis": ("cache:6379",)}, "without scheme, port"),
    "a password of two lines": (
        lambda folder: (folder / "redis_password").write_text("a\nb"),
        {},
        "no password of one line",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_cannot_be_made_whole_changes_nothing(folder: Path, case: str) -> None:
    damage, store_hosts, words = REFUSALS[case]
    damage(folder)
    before = contents(folder)
    with pytest.raises(CommandError, match=words):
        make_secret_files(folder, store_hosts=store_hosts)
    assert contents(folder) == before


def test_the_authority_s_key_is_needed_for_nothing_but_certificates(folder: Path) -> None:
    lose_the_key(folder)
    (folder / "redis_password").unlink()
    again = make_secret_files(folder, ["rollcall.example.org"])
    assert written_anew(again) == {"metrics_token", "redis_password", "redis_url", "redis_auth.conf"}
    assert not (folder / "ca.key").exists()


def test_a_disk_that_is_full_leaves_all_as_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("database_password", "qdrant.key", "metrics_token"):
        (folder / name).unlink()
    before = contents(folder)
    synced: list[int] = []

    def sync(handle: int) -> None:
        synced.append(handle)
        if len(synced) == 4:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("serving.commands.secret_files.os.fsync", sync)
    with pytest.raises(CommandError, match="No space left"):
        make_secret_files(folder)
    assert contents(folder) == before


@pytest.mark.parametrize("server", SERVERS)
def test_the_certificates_are_what_their_names_say(folder: Path, server: str) -> None:
    with listen_with(folder / f"{server}.pem", folder / f"{server}.key") as port:
        assert shake_hands(port, server, folder / "ca.pem") == "TLSv1.3"
        for name in ("elsewhere", STORE_HOSTS[server][0]):
            with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
                shake_hands(port, name, folder / "ca.pem")
    make_for_own_machines(folder)
    with listen_with(folder / f"{server}.pem", folder / f"{server}.key") as port:
        for name in (server, "localhost", "127.0.0.1", *STORE_HOSTS[server]):
            assert shake_hands(port, name, folder / "ca.pem") == "TLSv1.3", name


def test_the_proxy_shows_the_names_that_clients_use(folder: Path) -> None:
    first = ("rollcall.example.org", "192.0.2.7")
    check_proxy(folder, first)
    again = make_secret_files(folder, ["door.example.org", "2001:db8::7"])
    assert written_anew(again) == {PROXY}
    assert "start proxy anew" in notes_of(again)[PROXY]
    check_proxy(folder, (*first, "door.example.org", "2001:db8::7"))


def check_proxy(folder: Path, names: tuple[str, ...]) -> None:
    with listen_with(folder / PROXY) as port:
        for name in names:
            assert shake_hands(port, name, folder / "ca.pem") == "TLSv1.3"
    key, leaf, *chain = (folder / PROXY).read_text().split("-----BEGIN ")[1:]
    assert key.startswith("PRIVATE KEY")
    assert len(chain) == 1
    parsed = x509.load_pem_x509_certificate(("-----BEGIN " + leaf).encode())
    assert (parsed.not_valid_after_utc - parsed.not_valid_before_utc).days <= 825


def test_a_certificate_of_another_authority_is_left_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secret_certificates, "AUTHORITY_NAME", "Somebody who signs for browsers")
    theirs = secret_certificates.make_authority()
    signed = secret_certificates.sign(theirs, ["*.example.org"])
    monkeypatch.undo()
    (folder / PROXY).write_text(signed.key_pem + signed.pem + theirs.pem)
    before = contents(folder)
    assert not notes_of(make_secret_files(folder, ["rollcall.example.org"])), "the wildcard holds it"
    again = make_secret_files(folder, ["rollcall.example.org", "faces.example.com"])
    assert "is not for faces.example.com, and was not signed here" in notes_of(again)[PROXY]
    assert contents(folder) == before


def test_what_is_about_to_expire_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_for_own_machines(folder)
    monkeypatch.setattr(secret_certificates, "CERTIFICATE_DAYS", 20)
    for server in ("postgres", "qdrant"):
        (folder / f"{server}.key").unlink()
    soon = make_for_own_machines(folder)
    assert not notes_of(make_secret_files(folder)).keys() & {"redis.pem", PROXY}
    assert written_anew(soon) == {"postgres.pem", "postgres.key", "qdrant.pem", "qdrant.key"}
    day = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=20)
    said = notes_of(make_secret_files(folder))["postgres.pem"]
    assert f"expires on {day:%Y-%m-%d}: remove postgres.pem and postgres.key" in said
    assert "with --store-host postgres=db.internal,10.0.0.5" in said, "or its names would be lost"


def test_the_service_takes_them(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name, file in {"DATABASE_URL": "database_url", "RATE_LIMITS__REDIS_URL": "redis_url"}.items():
        monkeypatch.setenv(f"ROLLCALL_{name}_FILE", str(folder / file))
    monkeypatch.setenv("ROLLCALL_GALLERY__API_KEY_FILE", str(folder / "gallery_api_key"))
    monkeypatch.setenv("ROLLCALL_METRICS__TOKEN_FILE", str(folder / "metrics_token"))
    settings = load_settings({"gallery": {"engine": "server", "url": "https://qdrant:6333"}})
    for secret in (settings.database_url, settings.rate_limits.redis_url, settings.gallery.api_key):
        assert secret is not None
        assert secret.get_secret_value() not in repr(settings)


def test_the_command_names_files_and_shows_no_secret(tmp_path: Path) -> None:
    command = ["secrets", "init", str(tmp_path / "s"), "--host", "door.example.org", "--host", "192.0.2.9"]
    command += ["--store-host", "redis=cache.internal,10.0.0.7", "--store-host", "redis=fd00::7"]
    done = CliRunner().invoke(app, [*command, "--prefix", "/etc/rollcall"])
    assert done.exit_code == 0
    said = done.stdout.replace("\n", "")
    for name, content in contents(tmp_path / "s").items():
        assert name in said
        assert content.strip() not in said
    assert "@cache.internal:6379/" in contents(tmp_path / "s")["redis_url"]
    command += ["--store-host", "qdrant=vectors.internal", "--json"]
    [anew, *others] = [row for row in json.loads(CliRunner().invoke(app, command).stdout) if row["made"]]
    assert anew["file"] == str(tmp_path / "s" / "qdrant.pem")
    assert anew["state"] == "changed"
    assert anew["notes"] == ["is now for qdrant, localhost, 127.0.0.1, vectors.internal: start qdrant anew"]
    assert [Path(row["file"]).name for row in others] == ["qdrant.key"]
    assert CliRunner().invoke(app, [*command, "--store-host", "redis"]).exit_code == 1


class listen_with:
    """A TLS server on loopback with this certificate, for as long as the block runs."""

    def __init__(self, certificate: Path, key: Path | None = None) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate, key)
        self._socket = socket.create_server(("127.0.0.1", 0))

    def __enter__(self) -> int:
        threading.Thread(target=self._serve, daemon=True).start()
        return int(self._socket.getsockname()[1])

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                try:
                    self._context.wrap_socket(connection, server_side=True).recv(1)
                except OSError:
                    continue


def shake_hands(port: int, name: str, authority: Path) -> str | None:
    context = ssl.create_default_context(cafile=str(authority))
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as connection,
        context.wrap_socket(connection, server_hostname=name) as secured,
    ):
        return secured.version()
