"""What a load generator does so that it measures the service and not itself."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from loadtest import bench
from loadtest.service import Service

AUTOGROUP = Path("/proc/self/autogroup")
ASK = """
import pathlib
from loadtest.machine import take_niceness
session = pathlib.Path("{autogroup}")
print(take_niceness({niceness}), session.read_text().split()[-1] if session.exists() else None)
"""


@pytest.mark.parametrize("niceness", [-10, 19])
def test_a_generator_and_its_session_take_the_niceness_they_are_told_or_keep_their_own(niceness: int) -> None:
    ask = f"import os; os.setpriority(os.PRIO_PROCESS, 0, {niceness})"
    may = subprocess.run([sys.executable, "-c", ask], stderr=subprocess.DEVNULL).returncode == 0
    command = [sys.executable, "-c", ASK.format(niceness=niceness, autogroup=AUTOGROUP)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=60, start_new_session=True
    )
    took, of_session = done.stdout.split()
    assert int(took) == (niceness if may else os.getpriority(os.PRIO_PROCESS, 0))
    if may and os.geteuid() == 0 and os.access(AUTOGROUP, os.W_OK):
        assert int(of_session) == niceness


def test_options_of_a_load_are_kept_from_the_service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROLLCALL_LOAD_NICENESS", "0")
    monkeypatch.setenv("ROLLCALL_LOAD__MAX_PENDING_REQUESTS", "64")
    environment = Service(tmp_path).environment
    assert "ROLLCALL_LOAD_NICENESS" not in environment
    assert environment["ROLLCALL_LOAD__MAX_PENDING_REQUESTS"] == "64"


GENERATOR = """#!{python}
import os, pathlib, signal, time
worker = os.fork()
if worker == 0:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        time.sleep(0.05)
def stop(*_):
    pathlib.Path("stopped").touch()
    os._exit(0)
signal.signal(signal.SIGINT, stop)
pathlib.Path("begun.new").write_text(f"{{os.getpid()}} {{worker}}")
pathlib.Path("begun.new").rename("begun")
while True:
    time.sleep(0.05)
"""
"""In place of Locust: it stops when it is told to, and has a worker that never does."""

COMMAND = """
import signal, sys
from loadtest import endings, local
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.executable = "./generator"
with endings.unwind_when_ended():
    local.run_locust(local.Target("http://127.0.0.1:1", "token"), [])
"""


def is_running(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def wait_for(file: Path) -> None:
    give_up_at = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < give_up_at, file
        time.sleep(0.02)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_what_ends_the_command_ends_its_generator_and_all_workers(
    tmp_path: Path, repository: Path, how: signal.Signals
) -> None:
    generator = tmp_path / "generator"
    generator.write_text(GENERATOR.format(python=sys.executable))
    generator.chmod(0o700)
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    with subprocess.Popen([sys.executable, "-c", COMMAND], cwd=tmp_path, env=environment) as command:
        wait_for(tmp_path / "begun")
        command.send_signal(how)
        assert command.wait(60) != 0
    assert (tmp_path / "stopped").exists(), "it was told, and waited for"
    pids = [int(each) for each in (tmp_path / "begun").read_text().split()]
    give_up_at = time.monotonic() + 10
    while left := [pid for pid in pids if is_running(pid)]:
        assert time.monotonic() < give_up_at, left
        time.sleep(0.02)


PART = """#!{python}
import pathlib, signal, time
def stop(*_):
    time.sleep(0.3)
    pathlib.Path("stopped").touch()
    raise SystemExit(1)
signal.signal(signal.SIGINT, stop)
pathlib.Path("begun").touch()
while True:
    time.sleep(0.05)
"""


@pytest.mark.parametrize("why", [KeyboardInterrupt, TimeoutError])
def test_a_part_that_is_interrupted_may_stop_what_it_has_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: type[BaseException]
) -> None:
    def interrupt(process: subprocess.Popen[bytes], *_: object) -> None:
        wait_for(tmp_path / "begun")
        if why is KeyboardInterrupt:
            process.send_signal(signal.SIGINT)  # as the terminal does
        raise why

    part = tmp_path / "part"
    part.write_text(PART.format(python=sys.executable))
    part.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(part))
    monkeypatch.setattr(bench, "_watch", interrupt)
    monkeypatch.chdir(tmp_path)
    options = argparse.Namespace(json=tmp_path / "bench.json", quick=False, faces=None)
    with pytest.raises(why):
        bench.run_part(bench.PARTS[0], options)
    assert (tmp_path / "stopped").exists()
