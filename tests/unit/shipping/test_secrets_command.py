"""`rollcall secrets init`: what it makes works with this Python's TLS, and running it again loses nothing."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

import pytest
from cryptography import x509
from typer.testing import CliRunner

from serving.cli import app
from serving.commands.secret_files import SERVERS, make_secret_files
from serving.errors import ConfigurationError
from serving.settings import load_settings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "secrets"
    make_secret_files(made, ["rollcall.example.org", "192.0.2.7"])
    return made


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_nobody_else_can_enter_the_folder(folder: Path, tmp_path: Path) -> None:
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "ca.key").stat().st_mode & 0o777 == 0o600
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o755)
    with pytest.raises(ConfigurationError, match="chmod 700"):
        make_secret_files(open_to_all, ["localhost"])
    assert not list(open_to_all.iterdir())


def test_what_is_there_is_kept_and_what_follows_from_it_is_made_anew(folder: Path) -> None:
    before = contents(folder)
    assert not any(written.made for written in make_secret_files(folder, ["another.example.org"]))
    assert contents(folder) == before
    (folder / "database_password").unlink()
    made = {written.name for written in make_secret_files(folder, ["localhost"]) if written.made}
    assert made == {"database_password", "database_url"}
    assert (folder / "database_password").read_text().strip() in (folder / "database_url").read_text()


def test_half_an_authority_signs_nothing(folder: Path) -> None:
    (folder / "ca.key").unlink()
    with pytest.raises(ConfigurationError, match=r"bring ca\.key back"):
        make_secret_files(folder, ["localhost"])


@pytest.mark.parametrize("server", SERVERS)
def test_the_certificates_are_what_their_names_say(folder: Path, server: str) -> None:
    with listen_with(folder / f"{server}.pem", folder / f"{server}.key") as port:
        assert shake_hands(port, server, folder / "ca.pem") == "TLSv1.3"
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            shake_hands(port, "elsewhere", folder / "ca.pem")


def test_the_proxy_shows_the_names_that_clients_use(folder: Path) -> None:
    with listen_with(folder / "proxy.pem") as port:
        for name in ("rollcall.example.org", "192.0.2.7"):
            assert shake_hands(port, name, folder / "ca.pem") == "TLSv1.3"
    key, leaf, *chain = (folder / "proxy.pem").read_text().split("-----BEGIN ")[1:]
    assert key.startswith("PRIVATE KEY")
    assert len(chain) == 1
    parsed = x509.load_pem_x509_certificate(("-----BEGIN " + leaf).encode())
    assert (parsed.not_valid_after_utc - parsed.not_valid_before_utc).days <= 825


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
    done = CliRunner().invoke(app, ["secrets", "init", str(tmp_path / "s"), "--host", "door.example.org"])
    assert done.exit_code == 0
    said = done.stdout.replace("\n", "")
    for name, content in contents(tmp_path / "s").items():
        assert name in said
        assert content.strip() not in said


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
