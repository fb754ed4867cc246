from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

from serving.database import Database, sqlite_url
from serving.registry import Counts, Registry

ENROL_MANY = """
import asyncio, sys
from serving.database import Database
from serving.registry import NewFace, Registry

async def main(url, prefix, how_many):
    registry = Registry(Database(url))
    await registry.open()
    event = await registry.get_event("gala")
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(how_many):
        person_id = f"{prefix}-{number}"
        await registry.begin_enrolment(event.key, person_id, None, [NewFace("own")])
        await registry.begin_enrolment(event.key, "shared", None, [NewFace(person_id)])
        await registry.finish_enrolment(event.key, person_id, ["own"])
        await registry.finish_enrolment(event.key, "shared", [person_id])
        print(person_id, flush=True)
    await registry.close()

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


def start(url: str, prefix: str, how_many: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", ENROL_MANY, url, prefix, str(how_many)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


async def test_processes_that_write_at_once_lose_nothing(database_url: str) -> None:
    registry = Registry(Database(database_url))
    await registry.open()
    event = await registry.create_event("gala", None, "starter")
    writers = [start(database_url, f"w{n}", 25) for n in range(4)]
    for each in writers:
        assert each.stdout is not None
        assert await asyncio.to_thread(each.stdout.readline) == "ready\n"
    outputs = await asyncio.gather(*(asyncio.to_thread(each.communicate, "go\n", 90) for each in writers))
    assert [each.returncode for each in writers] == [0] * 4, outputs
    assert await registry.counts(event.key) == Counts(people=101, faces=200)
    shared = await registry.get_person(event.key, "shared")
    assert set(shared.face_ids) == {f"w{n}-{number}" for n in range(4) for number in range(25)}
    await registry.close()


async def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "rollcall.db")
    registry = Registry(Database(url))
    await registry.open()
    event = await registry.create_event("gala", None, "starter")
    await registry.close()
    acknowledged = []
    for round_number in range(3):
        writer = start(url, f"k{round_number}", 100_000)
        assert writer.stdin is not None
        assert writer.stdout is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
        assert writer.stdout.readline() == "ready\n"
        acknowledged += [writer.stdout.readline().strip() for _ in range(10 + round_number)]
        writer.send_signal(signal.SIGKILL)
        # Lines it had printed by then count as acknowledged too.
        acknowledged += [
            line.strip() for line in writer.communicate(timeout=30)[0].splitlines(True) if line[-1] == "\n"
        ]
        assert writer.returncode == -signal.SIGKILL
    await registry.open()
    names = await registry.names_of(event.key, acknowledged)
    assert len(acknowledged) >= 33
    assert set(names) == set(acknowledged)
    shared = await registry.get_person(event.key, "shared")
    assert set(acknowledged) <= set(shared.face_ids)
    await registry.close()
