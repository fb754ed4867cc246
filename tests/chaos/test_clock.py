"""The clock of the whole service jumps under load, forward and back, as after a wrong time server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.harness import Target, start_target

LIBRARIES = Path("/usr/lib")
HOUR_S = 3600


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that says how far the service's clock is off, in seconds."""
    file = tmp_path_factory.mktemp("chaos") / "clock"
    file.write_text("+0")
    return file


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory, clock: Path) -> Iterator[Target]:
    found = sorted(LIBRARIES.glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        pytest.skip("needs libfaketime (Debian's package faketime)")
    environment = {
        "LD_PRELOAD": str(found[0]),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # as with a real jump, which leaves that clock alone
        "FAKETIME_NO_CACHE": "0",
    }
    with start_target(tmp_path_factory.mktemp("chaos"), environment=environment) as target:
        yield target


@pytest.mark.parametrize(
    ("failure", "offset"),
    [
        ("the clock jumps an hour ahead", f"+{HOUR_S}"),
        ("the clock jumps back by an hour, to the right time", "+0"),
        ("the clock jumps back by a minute", "-60"),
    ],
)
def test_a_clock_that_jumps_loses_nothing(target: Target, clock: Path, failure: str, offset: str) -> None:
    def jump() -> None:
        clock.write_text(offset)

    row = target.suffer(failure, jump)
    assert row.recovery_s is not None
    assert row.failed_total == 0
