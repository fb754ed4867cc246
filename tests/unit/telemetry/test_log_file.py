"""The file that a node's processes share, and the writer before it."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from serving.settings import LoggingSettings
from serving.telemetry import catalogue, logs
from serving.telemetry.counting import make_key, read_counts
from serving.telemetry.log_file import SharedFile, StandardError
from serving.telemetry.log_writer import LogWriter

WRITERS, LINES = 3, 400
WRITE = """
import sys
from pathlib import Path
from serving.telemetry.log_file import SharedFile
file = SharedFile(Path(sys.argv[1]), max_bytes=20_000, keep=50)
for number in range(int(sys.argv[3])):
    file.write((f"{sys.argv[2]} {number} " + "x" * 60 + "\\n").encode() * 2)
"""


def count_dropped() -> float:
    key = make_key(catalogue.LOG_LINES_DROPPED.name, ())
    return next((value for name, value, _ in read_counts() if name == key), 0.0)


def test_processes_share_a_file_and_no_line_is_lost_or_mixed_when_it_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "rollcall.jsonl"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITE, str(path), str(each), str(LINES)])
        for each in range(WRITERS)
    ]
    assert [each.wait(60) for each in writers] == [0] * WRITERS
    found: list[str] = []
    files = [file for file in path.parent.iterdir() if file.suffix != ".lock"]
    for file in files:
        assert file.stat().st_size <= 20_000 + 400
        assert file.stat().st_mode & 0o007 == 0
        found += file.read_text().splitlines()
    assert len(files) > 5
    wanted = [f"{writer} {number} {'x' * 60}" for writer in range(WRITERS) for number in range(LINES)] * 2
    assert sorted(found) == sorted(wanted)


def test_only_so_many_full_files_are_kept(tmp_path: Path) -> None:
    file = SharedFile(tmp_path / "log", max_bytes=100, keep=2)
    for number in range(10):
        file.write(f"{number}".encode() * 80 + b"\n")
    names = sorted(each.name for each in tmp_path.iterdir())
    assert names == ["log", "log.1", "log.2", "log.lock"]
    assert (tmp_path / "log").read_text().startswith("9")
    assert (tmp_path / "log.2").read_text().startswith("7")


def test_who_removes_the_file_gets_a_new_one(tmp_path: Path) -> None:
    file = SharedFile(tmp_path / "log", max_bytes=10**6, keep=1)
    file.write(b"one\n")
    (tmp_path / "log").unlink()
    file.write(b"two\n")
    assert (tmp_path / "log").read_bytes() == b"two\n"


def test_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        SharedFile(tmp_path / "log", max_bytes=10**6, keep=1).write(b"x\n")
    assert not (tmp_path / "elsewhere").exists()


def test_a_disk_that_takes_nothing_costs_lines_and_nothing_else(tmp_path: Path) -> None:
    before = count_dropped()
    writer = LogWriter(SharedFile(Path("/dev/full"), max_bytes=10**6, keep=1))
    for _ in range(5):
        writer.take("x\n")
    assert writer.flush()
    assert count_dropped() - before == 5
    writer.close()


def test_what_waits_is_bounded_and_a_bad_line_silences_no_other(tmp_path: Path) -> None:
    gate = threading.Event()
    written: list[bytes] = []

    class Slow:
        def write(self, lines: bytes) -> None:
            gate.wait(30)
            written.append(lines)

        def close(self) -> None:
            pass

    before = count_dropped()
    writer = LogWriter(Slow(), max_waiting=10)
    writer.take("first\n", at_once=True)
    while writer._waiting:  # the thread has it, and hangs
        pass
    for number in range(15):
        writer.take((lambda: 1 / 0) if number == 3 else f"{number}\n")  # type: ignore[arg-type,return-value]
    gate.set()
    assert writer.flush()
    writer.close()
    assert b"".join(written).split() == [b"first", b"0", b"1", b"2", b"4", b"5", b"6", b"7", b"8", b"9"]
    assert count_dropped() - before == 6


def test_a_reader_that_has_gone_holds_nobody(capfd: pytest.CaptureFixture[str]) -> None:
    StandardError().write(b"one\ntwo\n")
    assert capfd.readouterr().err == "one\ntwo\n"
    readable, writable = os.pipe()
    kept = os.dup(2)
    os.dup2(writable, 2)
    try:
        with pytest.raises(BlockingIOError):
            StandardError().write(b"x" * 99 + b"\n" * 10**6)
    finally:
        os.dup2(kept, 2)
        for each in (readable, writable, kept):
            os.close(each)


@pytest.fixture
def joined(tmp_path: Path):
    def join(**settings: object) -> Path:
        logs.leave_log()
        logs.join_log(
            LoggingSettings(**settings),
            logs.Process("Ingress", "r1"),
            directory=tmp_path,
            secrets=["sesame!"],
        )
        return tmp_path / logs.FILE_NAMES[str(settings.get("format", "json"))]

    yield join
    logs.leave_log()


def test_every_logger_of_the_process_ends_in_the_same_file(joined, tmp_path: Path) -> None:
    path = joined()
    logging.getLogger("serving.gallery.owner").info("ours")
    logging.getLogger("httpx").info("a library's talk")
    logging.getLogger("qdrant_client").warning("a library's warning: open sesame!")
    logging.getLogger("somebody.else").info("somebody's talk")
    try:
        {}["x"]
    except KeyError:
        logging.getLogger("ray.serve").exception("a framework's error")
    logs.flush_log()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    ours, warning, error = lines
    assert [line["message"] for line in lines] == [
        "ours",
        "a library's warning: open [hidden]",
        "a framework's error",
    ]
    assert (ours["level"], ours["logger"], ours["replica"]) == ("info", "serving.gallery.owner", "r1")
    assert warning["logger"] == "qdrant_client"
    assert error["error"]["type"] == "KeyError"


def test_serves_logger_is_heard_once_whether_it_passes_on_or_its_handlers_are_thrown_away(
    joined, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = joined()
    serve = logging.getLogger("ray.serve")
    serve.warning("one")
    monkeypatch.setattr(serve, "propagate", False)
    serve.warning("two")
    monkeypatch.setattr(serve, "handlers", [])
    serve.warning("three")
    logs.flush_log()
    assert [json.loads(line)["message"] for line in path.read_text().splitlines()] == ["one", "two", "three"]


def test_off_is_off(joined, tmp_path: Path) -> None:
    handlers = list(logging.getLogger().handlers)
    path = joined(enabled=False)
    logging.getLogger("serving.x").error("nobody hears")
    assert logging.getLogger().handlers == handlers
    assert logs.request_log() is None
    assert not path.exists()


@pytest.mark.parametrize(
    ("settings", "status", "seconds", "level"),
    [
        ({}, 200, 0.1, "info"),
        ({}, 200, 2.0, "warning"),
        ({}, 404, 0.1, "info"),
        ({}, 429, 0.1, "warning"),
        ({}, 499, 0.1, "info"),
        ({}, 500, 0.1, "error"),
        ({}, 503, 0.1, "warning"),
        ({"requests": "errors"}, 200, 0.1, None),
        ({"requests": "errors"}, 200, 2.0, "warning"),
        ({"requests": "errors"}, 404, 0.1, "info"),
        ({"sample_successes": 0.0}, 200, 0.1, None),
        ({"sample_successes": 0.0}, 200, 2.5, "warning"),
        ({"sample_successes": 0.0}, 422, 0.1, "info"),
        ({"slow_request_s": 0.05}, 200, 0.1, "warning"),
        ({"level": "warning"}, 200, 0.1, None),
        ({"level": "warning"}, 404, 0.1, None),
        ({"level": "warning"}, 503, 0.1, "warning"),
    ],
)
def test_which_requests_get_a_line(joined, settings, status, seconds, level) -> None:
    joined(**settings)
    log = logs.request_log()
    assert log is not None
    assert log.decide_level(status, seconds) == level


def test_a_share_of_the_successes(joined) -> None:
    joined(sample_successes=0.2)
    log = logs.request_log()
    assert log is not None
    told = sum(log.decide_level(200, 0.01) is not None for _ in range(5000))
    assert 800 < told < 1200


def test_no_lines_of_requests(joined) -> None:
    joined(requests="none")
    assert logs.request_log() is None
