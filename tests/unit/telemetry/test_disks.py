"""Free space is told once for each file system, of places that are not there yet too; nobody waits long."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from serving.settings import Settings
from serving.telemetry import disks
from serving.telemetry.disks import ANSWER_TIMEOUT_S, Disk, DiskWatch, Place, watch_disks
from serving.telemetry.exposition import Exposition
from tests.chaos.stores import fill_disk, mount_small_disk

MIB = 2**20


def test_places_on_one_file_system_are_told_together(tmp_path: Path) -> None:
    not_yet, memory_disk = Place(tmp_path / "not" / "yet", 7), Place(Path("/dev/shm"))
    watch = DiskWatch({"data": Place(tmp_path), "gallery": not_yet, "ray": memory_disk})
    own, memory = watch.read()
    state = os.statvfs(tmp_path)
    assert (own.holds, own.size_bytes, own.reserve_bytes) == (
        "data, gallery", state.f_blocks * state.f_frsize, 7,
    )  # fmt: skip
    assert 0 < own.free_bytes <= own.size_bytes
    assert (memory.holds, memory.reserve_bytes) == ("ray", 0)


def test_a_disk_that_fills_and_one_that_is_read_only() -> None:
    with mount_small_disk(64) as disk:
        watch = DiskWatch({"data": Place(disk)})
        [before] = watch.read()
        assert before.size_bytes <= 64 * MIB
        fill_disk(disk, leave_mib=8)
        [after] = watch.read()
        assert after.free_bytes < 10 * MIB < before.free_bytes
    read_only = [
        Path(fields[4])
        for fields in map(str.split, Path("/proc/self/mountinfo").read_text().splitlines())
        if "ro" in fields[5].split(",")
    ]
    if not read_only:
        pytest.skip("needs a file system that is mounted read-only")
    [found] = DiskWatch({"data": Place(read_only[0])}).read()
    assert found.free_bytes == 0


def test_a_file_system_that_hangs_is_left_out_and_asked_by_one_thread_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, asked, real = threading.Event(), [], os.statvfs

    def hang(path: Path) -> os.statvfs_result:
        if path.name == "hangs":
            asked.append(path)
            release.wait(60)
        return real(path)

    (tmp_path / "hangs").mkdir()
    monkeypatch.setattr(os, "statvfs", hang)
    watch = DiskWatch({"data": Place(tmp_path / "hangs"), "ray": Place(Path("/dev/shm"))})
    assert [disk.holds for disk in watch.read()] == ["ray"]
    began = time.monotonic()
    assert [disk.holds for disk in watch.read()] == ["ray"]
    assert time.monotonic() - began < ANSWER_TIMEOUT_S, "nobody waits for it any more"
    assert len(asked) == 1
    release.set()
    while [disk.holds for disk in watch.read()] != ["data", "ray"]:
        time.sleep(0.01)


@pytest.mark.parametrize("engine", ["embedded", "server"])
def test_a_scrape_tells_of_what_the_settings_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    monkeypatch.setattr(disks._Watched, "watch", DiskWatch({}))
    assert b"rollcall_disk_free_bytes{" not in Exposition(None).render()
    settings = Settings(
        _env_file=None,  # type: ignore[call-arg]
        data_dir=tmp_path / "data",
        gallery={"engine": engine, "url": "http://127.0.0.1:1", "min_free_bytes": 5},
        logging={"output": "stderr"} if engine == "server" else {},
    )
    watch_disks(settings, Path("/dev/shm"))
    found = {name: disk for disk in disks.read_disks() for name in disk.holds.split(", ")}
    own = {"gallery", "logs"} if engine == "embedded" else set()
    assert set(found) == {"data", "ray", "temporary"} | own
    assert isinstance(found["data"], Disk)
    assert found["data"].reserve_bytes == (5 if engine == "embedded" else 0)
    assert found["ray"].reserve_bytes == 0
    page = Exposition(None).render().decode()
    for name in ("rollcall_disk_free_bytes", "rollcall_disk_bytes", "rollcall_disk_reserve_bytes"):
        assert f'{name}{{holds="{found["data"].holds}"}}' in page
