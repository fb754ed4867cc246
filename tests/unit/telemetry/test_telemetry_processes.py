"""Several processes count in one directory; what is scraped is their sum, whoever of them is still alive."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from serving.telemetry.node_directory import BADGE, BEGIN_TIMEOUT_S, COUNTS, DEPARTED, NodeDirectory
from tests.unit.telemetry.conftest import CountingProcess, Samples, find

Start = Callable[[str], CountingProcess]
Scrape = Callable[[], Samples]

REQUESTS = {"method": "GET", "route": "/healthz"}


def count_requests(samples: Samples) -> float | None:
    return find(samples, "rollcall_http_requests_total", **REQUESTS, status="200")


def test_counters_and_histograms_add_up_across_processes(start: Start, scrape: Scrape) -> None:
    for times in (3, 4):
        start("Ingress").do(f"count {times}")
    samples = scrape()
    assert count_requests(samples) == 7
    assert find(samples, "rollcall_http_request_seconds_count", **REQUESTS) == 7
    assert find(samples, "rollcall_http_request_seconds_sum", **REQUESTS) == pytest.approx(0.021)
    assert find(samples, "rollcall_http_request_seconds_bucket", **REQUESTS, le="0.005") == 7
    assert find(samples, "rollcall_http_request_seconds_bucket", **REQUESTS, le="+Inf") == 7


@pytest.mark.parametrize("end", ["leave", "kill"])
def test_what_the_dead_have_counted_stays_and_their_files_do_not(
    start: Start, scrape: Scrape, directory: NodeDirectory, end: str
) -> None:
    lasting, passing = start("Ingress"), start("Ingress")
    lasting.do("count 2")
    passing.do("count 5")
    lasting.do("hold 1")
    passing.do("hold 3")
    before = scrape()
    assert find(before, "rollcall_http_in_flight") == 4
    assert find(before, "rollcall_replicas", deployment="Ingress") == 2
    getattr(passing, end)()
    after = scrape()
    assert count_requests(after) == count_requests(before) == 7
    assert find(after, "rollcall_http_in_flight") == 1, "what is in flight dies with its process"
    assert find(after, "rollcall_replicas", deployment="Ingress") == 1
    assert len(list(directory.path.glob(f"*{COUNTS}"))) == 1
    assert count_requests(scrape()) == 7, "nobody is added twice"


def test_counters_never_fall_while_replicas_come_and_go(
    start: Start, scrape: Scrape, directory: NodeDirectory
) -> None:
    seen = []
    for _ in range(4):
        process = start("Detector")
        process.do("count 3")
        seen.append(count_requests(scrape()))
        process.kill()
        seen.append(count_requests(scrape()))
    assert seen == [3, 3, 6, 6, 9, 9, 12, 12]
    files = {path.name for path in directory.path.iterdir()}
    assert files == {DEPARTED, "lock"}, "the directory does not grow"


def test_replicas_that_nobody_scrapes_leave_no_files_either(start: Start, directory: NodeDirectory) -> None:
    for _ in range(3):
        process = start("Detector")
        process.do("count 1")
        process.kill()
    assert len(list(directory.path.glob(f"*{BADGE}"))) == 1, "each tidies up after those before"


def test_dying_while_adding_up_counts_nobody_twice(
    start: Start, scrape: Scrape, directory: NodeDirectory, tmp_path_factory: pytest.TempPathFactory
) -> None:
    process = start("Ingress")
    process.do("count 5")
    kept = tmp_path_factory.mktemp("kept")
    process.kill()
    for file in directory.path.glob(f"*-*{COUNTS}"):
        shutil.copy(file, kept)
    for file in directory.path.glob(f"*{BADGE}"):
        shutil.copy(file, kept)
    assert count_requests(scrape()) == 5
    for file in kept.iterdir():  # as if it had died between writing the sums and removing the files
        shutil.copy(file, directory.path)
    assert count_requests(scrape()) == 5
    assert not list(directory.path.glob(f"*{COUNTS}"))


def test_the_use_of_each_process_is_told(start: Start, scrape: Scrape) -> None:
    process = start("Embedder")
    labels = {"deployment": "Embedder", "pid": str(process.pid)}
    samples = scrape()
    memory = find(samples, "rollcall_process_resident_bytes", **labels)
    cpu = find(samples, "rollcall_process_cpu_seconds_total", **labels)
    started = find(samples, "rollcall_process_start_time_seconds", **labels)
    assert memory is not None
    assert cpu is not None
    assert started is not None
    assert memory > 2**22
    assert cpu > 0
    assert abs(started - Path(f"/proc/{process.pid}").stat().st_ctime) < 60


def test_sessions_in_which_nobody_lives_are_removed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, start: Start
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    first = NodeDirectory.of_session("first")
    living = NodeDirectory.of_session("living")
    process = CountingProcess(living.path, "Ingress")
    long_ago = first.path.stat().st_mtime - 2 * BEGIN_TIMEOUT_S
    try:
        NodeDirectory.of_session("young")
        assert first.path.exists(), "somebody may be about to join"
        for path in (first.path, living.path):
            os.utime(path, (long_ago, long_ago))
        NodeDirectory.of_session("next")
        assert not first.path.exists()
        assert living.path.exists()
    finally:
        process.kill()


def test_a_folder_of_somebody_else_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    base = tmp_path / f"rollcall-metrics-{os.getuid()}"
    base.mkdir()
    base.chmod(0o777)
    with pytest.raises(OSError, match="not this user's own"):
        NodeDirectory.of_session("session")
    base.rmdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    base.symlink_to(elsewhere)
    with pytest.raises(OSError, match="not this user's own"):
        NodeDirectory.of_session("session")


def test_a_torn_file_of_sums_is_never_seen(start: Start, scrape: Scrape, directory: NodeDirectory) -> None:
    (directory.path / f"{DEPARTED}.new").write_text('{"absorbed": [], "totals": {')
    process = start("Ingress")
    process.do("count 1")
    process.kill()
    assert count_requests(scrape()) == 1
    assert json.loads((directory.path / DEPARTED).read_text())["totals"]


@pytest.mark.parametrize("left", ["", "[]", "{}", '{"absorbed": [], "tot'])
def test_a_file_of_sums_that_is_lost_stops_nobody(
    start: Start, scrape: Scrape, directory: NodeDirectory, left: str
) -> None:
    (directory.path / DEPARTED).write_text(left)
    start("Ingress").do("count 1")
    assert count_requests(scrape()) == 1
