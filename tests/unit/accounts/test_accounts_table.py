from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from serving.accounts import Accounts, Role
from serving.accounts.passwords import hash_password, verify_password
from serving.database import Database, sqlite_url
from serving.errors import InvalidRequest

POSTGRES_URL = os.environ.get("ROLLCALL_TEST_POSTGRES_URL")
NEEDS_POSTGRES = pytest.mark.skipif(not POSTGRES_URL, reason="ROLLCALL_TEST_POSTGRES_URL is not set")
PASSWORD = "correct horse battery staple"


@pytest_asyncio.fixture(params=["sqlite", pytest.param("postgresql", marks=NEEDS_POSTGRES)])
async def accounts(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Accounts]:
    if request.param == "sqlite":
        opened = Accounts(Database(sqlite_url(tmp_path / "rollcall.db")))
        await opened.open()
        yield opened
        await opened.close()
        return
    assert POSTGRES_URL is not None
    name = f"rollcall_test_{uuid.uuid4().hex}"
    server = await asyncpg.connect(POSTGRES_URL)
    await server.execute(f"CREATE DATABASE {name}")
    opened = Accounts(Database(f"{POSTGRES_URL.rpartition('/')[0]}/{name}"))
    await opened.open()
    yield opened
    await opened.close()
    await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await server.close()


def read_files(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.iterdir())


async def test_the_first_administrator(accounts: Accounts) -> None:
    assert not await accounts.has_administrator()
    assert await accounts.list() == []
    created = await accounts.create_administrator("ada@example.org", PASSWORD)
    assert await accounts.has_administrator()
    assert await accounts.get("ada@example.org") == created
    assert (created.role, created.has_password, created.disabled_at) == (Role.administrator, True, None)
    assert await accounts.get("bob") is None
    assert await accounts.get("\x00'") is None


async def test_a_password_is_not_needed_and_then_opens_nothing(accounts: Accounts) -> None:
    created = await accounts.create_administrator("ada")
    assert not created.has_password
    for password in ("", "None", PASSWORD):
        assert await accounts.authenticate("ada", password) is None


async def test_only_the_right_password_signs_in(accounts: Accounts) -> None:
    created = await accounts.create_administrator("ada", PASSWORD)
    assert await accounts.authenticate("ada", PASSWORD) == created
    for name, password in (("ada", PASSWORD + " "), ("ada", ""), ("bob", PASSWORD), ("ada", PASSWORD * 100)):
        assert await accounts.authenticate(name, password) is None


async def test_names_are_unique_and_listed_in_order(accounts: Accounts) -> None:
    await accounts.create_administrator("bob")
    await accounts.create_administrator("ada")
    outcomes = await asyncio.gather(
        *(accounts.create_administrator("cyd") for _ in range(4)), return_exceptions=True
    )
    assert sum(isinstance(each, InvalidRequest) for each in outcomes) == 3
    assert [each.name for each in await accounts.list()] == ["ada", "bob", "cyd"]


@pytest.mark.parametrize(
    ("name", "password"), [("", None), ("a b", None), ("ada", "short"), ("ada", "x" * 257)]
)
async def test_bad_names_and_passwords_are_refused(
    accounts: Accounts, name: str, password: str | None
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await accounts.create_administrator(name, password)
    assert password is None or password not in f"{caught.value}{caught.value.context}"
    assert not await accounts.has_administrator()


async def test_a_disabled_account_cannot_sign_in(tmp_path: Path) -> None:
    accounts = Accounts(Database(sqlite_url(tmp_path / "rollcall.db")))
    await accounts.open()
    await accounts.create_administrator("ada", PASSWORD)
    with sqlite3.connect(tmp_path / "rollcall.db") as connection:
        connection.execute("UPDATE account SET disabled_at = '2030-01-01 00:00:00.000000'")
    connection.close()
    assert await accounts.authenticate("ada", PASSWORD) is None
    assert not await accounts.has_administrator()
    found = await accounts.get("ada")
    assert found is not None
    assert found.disabled_at is not None
    await accounts.close()


async def test_hashes_are_argon2id_salted_and_slow_enough() -> None:
    first, second = await hash_password(PASSWORD), await hash_password(PASSWORD)
    assert first != second
    assert first.startswith("$argon2id$v=19$m=65536,t=3,p=1$")
    assert await verify_password(PASSWORD, first)
    assert not await verify_password(PASSWORD + "x", first)
    assert not await verify_password(PASSWORD, None)


async def test_a_password_is_neither_stored_nor_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    accounts = Accounts(Database(sqlite_url(tmp_path / "rollcall.db")))
    with caplog.at_level(logging.DEBUG):
        await accounts.open()
        created = await accounts.create_administrator("ada", PASSWORD)
        with pytest.raises(InvalidRequest) as caught:
            await accounts.create_administrator("ada", PASSWORD)
        await accounts.authenticate("ada", PASSWORD + "?")
    shown = f"{created!r}{caught.value!r}{caught.value.context}{caplog.text}"
    assert PASSWORD not in shown
    assert "argon2id" not in shown
    stored = read_files(tmp_path)
    assert PASSWORD.encode() not in stored
    assert b"$argon2id$" in stored
    await accounts.close()
