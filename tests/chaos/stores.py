"""PostgreSQL and Redis of a test's own, from Debian's packages: started, killed, filled and started again."""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

START_TIMEOUT_S = 60.0
FILL_ATTEMPTS = 1000
FILL_STEP_BYTES = 16 * 2**20
"""What does not fit is taken back by the kernel; that costs less for less."""
FULL_BYTES = 64 * 1024
"""So little left counts as nothing."""
LOG_FILES = 20
"""More than PostgreSQL prepares ahead, on a disk of a few hundred MB."""


def find_postgres() -> Path | None:
    """The directory of PostgreSQL's programs; None where it is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    return found[-1] if found else None


def find_port() -> int:
    """A port of 127.0.0.1 that is free now, and that the kernel gives to nobody who does not ask for it.

    A server that is started again needs the same one; an outgoing connection could have taken it meanwhile.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until something listens there."""
    give_up_at = time.monotonic() + START_TIMEOUT_S
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert process.poll() is None, f"{process.args!r} ended"
        assert time.monotonic() < give_up_at, f"{process.args!r} does not listen"
        time.sleep(0.05)


@contextlib.contextmanager
def make_open_directory() -> Iterator[Path]:
    """A directory that other users may pass through, deleted when the block ends.

    pytest's own will not do: each session of it, also one beside this, closes them to others when it begins.
    """
    with tempfile.TemporaryDirectory(prefix="rollcall-chaos-") as directory:
        Path(directory).chmod(0o711)
        yield Path(directory)


class PostgresServer:
    """One cluster in a directory; its database is `rollcall`. The test is skipped where it cannot be had.

    Args:
        disk: an empty directory to live in, which other users may pass through; None: one of its own.
        tls: a directory of `rollcall secrets init`: speaks TLS too, with the certificate there.
        options: more of its settings.
    """

    def __init__(self, disk: Path | None = None, *, tls: Path | None = None, **options: str) -> None:
        programs = find_postgres()
        if programs is None:
            pytest.skip("PostgreSQL's server is not installed")
        self._programs = programs
        self._user: str | None = None
        if os.getuid() == 0:  # which PostgreSQL refuses to run as
            try:
                pwd.getpwnam("postgres")
            except KeyError:
                pytest.skip("there is no user postgres to run PostgreSQL as")
            self._user = "postgres"
        self._cleanup = contextlib.ExitStack()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `__exit__`
        self._cleanup.callback(self._log.close)
        self._directory = (disk or self._cleanup.enter_context(make_open_directory())) / "cluster"
        self._directory.mkdir()
        self._options = {"unix_socket_directories": str(self._directory)} | options
        self._tls = tls
        self.port = find_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Of its database, by its own port."""
        return self.url_at(self.port)

    def url_at(self, port: int) -> str:
        """Of its database, by a proxy's port."""
        return f"postgresql://rollcall@127.0.0.1:{port}/rollcall"

    def __enter__(self) -> PostgresServer:
        if self._user is not None:
            shutil.chown(self._directory, self._user)
        data = str(self._directory / "data")
        arguments = ["-D", data, "-A", "trust", "-U", "rollcall", "--no-sync", "--no-locale", "-E", "UTF8"]
        self._run("initdb", *arguments)
        if self._tls is not None:
            self._offer_tls(self._tls)
        self.start()
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "rollcall", "rollcall")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._cleanup.close()

    def start(self) -> None:
        """Start it on its port, and wait until it answers."""
        options = {"listen_addresses": "127.0.0.1", "fsync": "off"} | self._options
        chosen = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        data = str(self._directory / "data")
        give_up_at = time.monotonic() + START_TIMEOUT_S
        while True:
            self._process = self._popen("postgres", "-D", data, "-p", str(self.port), *chosen)
            try:
                wait_for_port(self.port, self._process)
                break
            except AssertionError:
                # A child of one that was killed may hold its memory for a moment.
                if time.monotonic() > give_up_at:
                    self._log.seek(0)
                    raise AssertionError(self._log.read()[-2000:].decode(errors="replace")) from None
                time.sleep(0.2)
        while self._try("pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)):
            assert time.monotonic() < give_up_at
            time.sleep(0.05)

    @property
    def has_ended(self) -> bool:
        """Whether it is not there, by itself or because it was stopped."""
        return self._process is None or self._process.poll() is not None

    def stop(self, sign: int = signal.SIGINT) -> None:
        """End it: SIGINT for a shut-down that cuts connections, SIGQUIT for one without a checkpoint."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(sign)
            process.wait(START_TIMEOUT_S)

    def kill(self) -> None:
        """kill -9 of every process of it."""
        process, self._process = self._process, None
        assert process is not None
        children = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True
        ).stdout.split()
        process.kill()
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)
        process.wait(START_TIMEOUT_S)

    def ask(self, statement: str) -> str:
        """What psql prints for a statement."""
        arguments = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "rollcall", "-d", "rollcall"]
        return self._run("psql", *arguments, "-XAtq", "-c", statement).strip()

    def use_up_log(self) -> None:
        """Have it begin new files of its log until it cannot: on a full disk it gives up then."""
        for _ in range(LOG_FILES):
            try:
                self.ask("SELECT pg_logical_emit_message(true, 'chaos', 'chaos'); SELECT pg_switch_wal()")
            except AssertionError:
                return
        raise AssertionError("PostgreSQL found room for its log")

    def _offer_tls(self, secrets: Path) -> None:
        self._options["ssl"] = "on"
        for option, suffix in (("ssl_cert_file", "pem"), ("ssl_key_file", "key")):
            file = self._directory / f"server.{suffix}"
            shutil.copyfile(secrets / f"postgres.{suffix}", file)
            file.chmod(0o600)
            if self._user is not None:
                shutil.chown(file, self._user)
            self._options[option] = str(file)

    def _run(self, program: str, *arguments: str) -> str:
        ended = subprocess.run([str(self._programs / program), *arguments], **self._how(), timeout=120)
        assert ended.returncode == 0, ended.stderr.decode()
        return str(ended.stdout.decode())

    def _try(self, program: str, *arguments: str) -> int:
        return subprocess.run(
            [str(self._programs / program), *arguments], **self._how(), timeout=60
        ).returncode

    def _popen(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        how = self._how() | {"stdout": self._log, "stderr": self._log}
        return subprocess.Popen([str(self._programs / program), *arguments], **how)

    def _how(self) -> dict[str, Any]:
        how: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": "/"}
        return how | ({"user": self._user, "group": self._user, "extra_groups": []} if self._user else {})


class RedisServer:
    """A Redis that keeps nothing on the disk. The test is skipped where it is not installed.

    Args:
        tls: a directory of `rollcall secrets init`: speaks TLS and nothing else, with the certificate there.
    """

    def __init__(self, tls: Path | None = None) -> None:
        self._tls = tls
        self._program = shutil.which("redis-server")
        if self._program is None:
            pytest.skip("redis-server is not installed")
        self.port = find_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """By its own port."""
        return f"{'rediss' if self._tls else 'redis'}://127.0.0.1:{self.port}"

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self.kill()

    def start(self) -> None:
        """Start it, empty, on its port."""
        assert self._program is not None
        arguments = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        if self._tls is not None:
            arguments[:2] = ["--port", "0", "--tls-port", str(self.port), "--tls-auth-clients", "no"]
            arguments += ["--tls-cert-file", str(self._tls / "redis.pem")]
            arguments += ["--tls-key-file", str(self._tls / "redis.key")]
            arguments += ["--tls-ca-cert-file", str(self._tls / "ca.pem")]
        self._process = subprocess.Popen([self._program, *arguments], stdout=subprocess.DEVNULL)
        wait_for_port(self.port, self._process)

    def kill(self) -> None:
        """kill -9."""
        process, self._process = self._process, None
        assert process is not None
        process.kill()
        process.wait(START_TIMEOUT_S)


@contextlib.contextmanager
def mount_small_disk(size_mib: int) -> Iterator[Path]:
    """A file system of that size; the test is skipped where it may not be mounted."""
    with make_open_directory() as parent:
        directory = parent / "disk"
        directory.mkdir()
        options = f"size={size_mib}m,mode=711"
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(directory)], capture_output=True
        )
        if mounted.returncode != 0:
            pytest.skip(f"a file system cannot be mounted here: {mounted.stderr.decode().strip()}")
        try:
            yield directory
        finally:
            subprocess.run(["umount", "-l", str(directory)], check=True)


def fill_disk(directory: Path, leave_mib: int = 0) -> Path:
    """A file that takes what is free on the disk, but for so much; delete it to make room again."""
    ballast = directory / "ballast"
    with ballast.open("wb") as file:
        for _ in range(FILL_ATTEMPTS):
            state = os.statvfs(directory)
            more_bytes = state.f_bavail * state.f_frsize - leave_mib * 2**20
            if more_bytes < FULL_BYTES:
                break
            size_bytes = os.fstat(file.fileno()).st_size
            with contextlib.suppress(OSError):  # whoever works on the disk was there before
                os.posix_fallocate(file.fileno(), size_bytes, min(more_bytes, FILL_STEP_BYTES))
        else:
            raise AssertionError(f"{directory} does not fill up")
    return ballast
