"""The whole service under load while the wall clock of all its Python processes jumps: rows of the table."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from tests.chaos.harness import Target, start_target

SOURCE = Path(__file__).with_name("clock_shift.c")
WRONG_FOR_S = 4.0
RECOVERY_LIMIT_S = 15.0
CLOCK_TOLERANCE_S = 60.0
HOUR_S = 3600
DAY_S = 24 * HOUR_S


@dataclass(frozen=True, slots=True)
class World:
    """A service, and the file that says by how many seconds its clock is wrong."""

    target: Target
    clock: Path

    def shift(self, seconds: int) -> None:
        """From now on, for every process; written in one piece."""
        with self.clock.open("r+b") as file:
            file.write(seconds.to_bytes(8, sys.byteorder, signed=True))

    def read_clock(self) -> float:
        """What time it is by the service: when it says that it made something just now."""
        with self.target.make_client() as client:
            made = client.post("/v1/events", json={"name": "clock"}).json()
        return datetime.fromisoformat(made["created_at"].replace("Z", "+00:00")).timestamp()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    compiler = shutil.which("cc")
    if sys.platform != "linux" or sys.version_info < (3, 11) or compiler is None:
        pytest.skip("needs Linux, a C compiler, and a Python whose waits do not go by the wall clock (3.11)")
    directory = tmp_path_factory.mktemp("clock")
    library, clock = directory / "clock_shift.so", directory / "shift"
    clock.write_bytes(bytes(8))
    command = [compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True, timeout=60)
    environment = {"LD_PRELOAD": str(library), "CHAOS_CLOCK_FILE": str(clock)}
    environment |= {"ROLLCALL_RETENTION__PERIOD_S": "1"}  # a look for what has expired in each wrong second
    with start_target(directory, environment=environment) as target:
        yield World(target, clock)


@pytest.mark.parametrize(
    ("failure", "shift_s", "allowed"),
    [
        # First, since a clock that has jumped is not erased by for an hour: this alone could cost everybody.
        ("clock a day ahead (half a day beyond a token's life), then right", DAY_S, {"token_expired"}),
        ("clock an hour ahead, then right", HOUR_S, set()),
        ("clock an hour back, then right", -HOUR_S, set()),
    ],
)
def test_a_clock_that_jumps(world: World, failure: str, shift_s: int, allowed: set[str]) -> None:
    seen_s: list[float] = []

    def jump() -> None:
        world.shift(shift_s)
        time.sleep(WRONG_FOR_S)
        if not allowed:
            seen_s.append(world.read_clock() - time.time())
        world.shift(0)

    row = world.target.suffer(failure, jump)
    assert set(row.failed) == allowed  # so the clock was wrong indeed
    assert all(abs(each - shift_s) < CLOCK_TOLERANCE_S for each in seen_s)
    assert row.recovery_s is not None
    assert row.recovery_s < RECOVERY_LIMIT_S
