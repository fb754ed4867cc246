"""A replica that starts while a store is away."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from serving.commands.start_checks import check_stores
from serving.deployments.store_wait import wait_for_store
from serving.errors import (
    ConfigurationError,
    DeadlineExceeded,
    Overloaded,
    RollcallError,
    StageUnavailable,
    StoresNotReady,
)
from serving.operations.store_reach import NEEDED
from serving.runtime import find_free_port
from serving.settings import load_settings


class Store:
    """Fails with these, one after another, then opens."""

    def __init__(self, *failures: RollcallError) -> None:
        self._failures = list(failures)
        self.tries = 0

    async def open(self) -> None:
        self.tries += 1
        if self._failures:
            raise self._failures.pop(0)


async def test_a_store_that_comes_later_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    store = Store(StageUnavailable("not yet"), DeadlineExceeded("nor now"), Overloaded("soon"))
    with caplog.at_level(logging.WARNING, "ray.serve"):
        await wait_for_store("registry", store.open, pause_s=0)
    assert store.tries == 4
    assert [record.getMessage() for record in caplog.records] == [
        f"waiting for the registry: {said}" for said in ("not yet", "nor now", "soon")
    ]


async def test_what_waiting_does_not_mend_is_raised_at_once() -> None:
    store = Store(ConfigurationError("wrong key"), StageUnavailable("never asked"))
    with pytest.raises(ConfigurationError):
        await wait_for_store("gallery", store.open)
    assert store.tries == 1


async def test_patience_ends() -> None:
    store = Store(*(StageUnavailable("not yet") for _ in range(10_000)))
    with pytest.raises(StageUnavailable):
        await wait_for_store("gallery", store.open, patience_s=2, pause_s=0.5)
    assert 1 < store.tries <= 4


PORT = find_free_port()


@pytest.mark.parametrize(
    ("args", "missing", "is_needed"),
    [
        ({"database_url": f"postgresql://nobody@127.0.0.1:{PORT}/rollcall"}, "registry: ", True),
        ({"gallery": {"engine": "server", "url": f"http://127.0.0.1:{PORT}"}}, "gallery: ", True),
        ({"rate_limits": {"redis_url": f"redis://127.0.0.1:{PORT}/0"}}, "redis: ", False),
    ],
)
def test_a_server_that_is_away_is_named_before_anything_starts(
    args: dict[str, object], missing: str, is_needed: bool, tmp_path: Path
) -> None:
    settings = load_settings({"data_dir": str(tmp_path), **args})
    with pytest.raises(StoresNotReady) as caught:
        check_stores(settings)
    assert caught.value.detail.startswith(missing)
    if is_needed:
        with pytest.raises(StoresNotReady):
            check_stores(settings, NEEDED)
    else:
        check_stores(settings, NEEDED)


def test_nothing_is_asked_of_files(tmp_path: Path) -> None:
    (tmp_path / "registry.sqlite3").write_text("damaged")
    check_stores(load_settings({"data_dir": str(tmp_path)}))
    url = f"sqlite:///{tmp_path}/registry.sqlite3"
    check_stores(load_settings({"data_dir": str(tmp_path), "database_url": url}))
    assert [each.name for each in tmp_path.iterdir()] == ["registry.sqlite3"]


@pytest.mark.skipif("ROLLCALL_TEST_POSTGRES_URL" not in os.environ, reason="no PostgreSQL was named")
def test_a_database_is_there_or_said_not_to_be(tmp_path: Path) -> None:
    url = os.environ["ROLLCALL_TEST_POSTGRES_URL"]
    check_stores(load_settings({"data_dir": str(tmp_path), "database_url": url}))
    elsewhere = f"{url.rpartition('/')[0]}/nothing_of_this_name"
    with pytest.raises(StoresNotReady, match=r"registry: .*nothing_of_this_name"):
        check_stores(load_settings({"data_dir": str(tmp_path), "database_url": elsewhere}))
