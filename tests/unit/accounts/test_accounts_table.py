from __future__ import annotations

import asyncio
import logging
import os
import time
import uuid
from collections.abc import AsyncIterator
from datetime import datetime, timezone
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
from sqlalchemy import select, update

from serving.accounts import Accounts, Role, Scope, TokenClaims
from serving.accounts import sessions as sessions_module
from serving.accounts.access_check import AccessCheck
from serving.accounts.api_keys import ApiKeys
from serving.accounts.passwords import hash_password, verify_password
from serving.accounts.records import SessionStart
from serving.accounts.sessions import Sessions
from serving.accounts.tables import session
from serving.database import Database, sqlite_url
from serving.errors import (
    AccountExists,
    ApiKeyInvalid,
    InvalidRequest,
    LastAdministrator,
    RollcallError,
    SignInFailed,
    TokenRevoked,
    UnknownAccount,
    WeakPassword,
)
from serving.registry import Registry
from serving.registry.tables import event

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
    assert (await accounts.list()).items == ()
    created = await accounts.create_administrator("ada@example.org", PASSWORD)
    assert await accounts.has_administrator()
    assert await accounts.find("ada@example.org") == created
    assert await accounts.get(created.id) == created
    assert (created.role, created.has_password, created.disabled_at) == (Role.administrator, True, None)
    assert await accounts.find("bob") is None
    assert await accounts.find("\x00'") is None


def sessions_of(accounts: Accounts) -> Sessions:
    return Sessions(accounts._database, 600)


async def test_a_password_is_not_needed_and_then_opens_nothing(accounts: Accounts) -> None:
    created = await accounts.create_administrator("ada")
    assert not created.has_password
    for password in ("", "None", PASSWORD):
        with pytest.raises(SignInFailed):
            await sessions_of(accounts).sign_in("ada", password)


async def test_only_the_right_password_signs_in(accounts: Accounts) -> None:
    created = await accounts.create_administrator("ada", PASSWORD)
    assert (await sessions_of(accounts).sign_in("ada", PASSWORD)).account == created
    for name, password in (("ada", PASSWORD + " "), ("ada", ""), ("bob", PASSWORD), ("ada", PASSWORD * 100)):
        with pytest.raises(SignInFailed):
            await sessions_of(accounts).sign_in(name, password)


async def test_names_are_unique_and_listed_in_order(accounts: Accounts) -> None:
    await accounts.create_administrator("bob")
    await accounts.create_administrator("ada")
    outcomes = await asyncio.gather(
        *(accounts.create_administrator("cyd") for _ in range(4)), return_exceptions=True
    )
    assert sum(isinstance(each, AccountExists) for each in outcomes) == 3
    assert [each.name for each in (await accounts.list()).items] == ["ada", "bob", "cyd"]


@pytest.mark.parametrize(
    ("name", "password", "kind"),
    [
        ("", None, InvalidRequest),
        ("a b", None, InvalidRequest),
        ("ada", "short", WeakPassword),
        ("ada", "x" * 1025, WeakPassword),
        ("ada-lovelace", "Ada-Lovelace", WeakPassword),
        ("ada", "\ud800" * 12, WeakPassword),
        ("ada", "\x00" * 12, WeakPassword),
    ],
)
async def test_bad_names_and_passwords_are_refused(
    accounts: Accounts, name: str, password: str | None, kind: type[RollcallError]
) -> None:
    with pytest.raises(kind) as caught:
        await accounts.create_administrator(name, password)
    assert password is None or password not in f"{caught.value}{caught.value.context}"
    assert not await accounts.has_administrator()


async def test_the_longest_password(accounts: Accounts) -> None:
    await accounts.create_administrator("ada", "x" * 1024)
    assert (await sessions_of(accounts).sign_in("ada", "x" * 1024)).account.name == "ada"


async def test_a_disabled_account_cannot_sign_in(accounts: Accounts) -> None:
    created = await accounts.create_administrator("ada", PASSWORD)
    await accounts.create_administrator("bob")
    start = await sessions_of(accounts).sign_in("ada", PASSWORD)
    changed = await accounts.change(created.id, disabled=True)
    assert changed.disabled_at is not None
    with pytest.raises(SignInFailed):
        await sessions_of(accounts).sign_in("ada", PASSWORD)
    assert start.refresh_token is not None
    with pytest.raises(TokenRevoked):
        await sessions_of(accounts).renew(start.refresh_token)


async def test_a_refresh_token_is_good_once(accounts: Accounts) -> None:
    await accounts.create_administrator("ada", PASSWORD)
    sessions = sessions_of(accounts)
    first = (await sessions.sign_in("ada", PASSWORD)).refresh_token
    assert first is not None
    outcomes = await asyncio.gather(*(sessions.renew(first) for _ in range(4)), return_exceptions=True)
    assert sum(isinstance(each, TokenRevoked) for each in outcomes) == 3
    renewed = next(each for each in outcomes if isinstance(each, SessionStart))
    assert renewed.refresh_token is not None
    with pytest.raises(TokenRevoked):  # the reuse has ended the session
        await sessions.renew(renewed.refresh_token)


async def test_an_account_has_so_many_sessions(accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions_module, "MAX_SESSIONS", 2)
    created = await accounts.create_administrator("ada")
    sessions = sessions_of(accounts)
    started = [(await sessions.begin_by_face(created.id, 600)).id for _ in range(3)]
    left = await accounts._database.read(
        lambda connection: set(connection.execute(select(session.c.id)).scalars())
    )
    assert left == set(started[1:])


async def test_of_administrators_who_resign_together_one_stays(accounts: Accounts) -> None:
    ids = [(await accounts.create_administrator(name)).id for name in ("ada", "bob", "cyd")]
    outcomes = await asyncio.gather(
        accounts.change(ids[0], role=Role.member),
        accounts.change(ids[1], disabled=True),
        accounts.remove(ids[2]),
        return_exceptions=True,
    )
    assert sum(isinstance(each, LastAdministrator) for each in outcomes) == 1
    assert await accounts.has_administrator()


async def test_deleting_an_account_deletes_all_that_is_its_own(accounts: Accounts) -> None:
    await accounts.create_administrator("root")
    created = await accounts.create("ada", password=PASSWORD)
    keys = ApiKeys(accounts._database)
    await sessions_of(accounts).sign_in("ada", PASSWORD)
    _, text = await keys.create(created.id, "k", [Scope.read], None, None)
    check = AccessCheck(accounts._database)
    assert (await check.identify_key(text)).events == frozenset()
    keys.note_use(text.split("_")[1])
    await keys.finish_notes()
    assert (await keys.list(None, None)).items[0].last_used_at is not None
    assert await accounts.remove(created.id)
    with pytest.raises(ApiKeyInvalid):
        await check.identify_key(text)
    assert (await keys.list(None, None)).items == ()
    with pytest.raises(UnknownAccount):
        await accounts.remove(created.id)


async def test_the_reach_of_accounts_and_keys(accounts: Accounts) -> None:
    registry = Registry(accounts._database)
    for id in ("one", "two", "three"):
        await registry.create_event(id, None, "pack")
    created = await accounts.create("ada", Role.operator, None, ["two", "one"])
    assert created.events == ("one", "two")
    keys, check = ApiKeys(accounts._database), AccessCheck(accounts._database)
    _, bound = await keys.create(created.id, "k", [Scope.read], ["two", "three"], None)
    _, every = await keys.create(created.id, "k", [Scope.read], None, None)
    assert (await check.identify_key(bound)).events == {"two"}
    assert (await check.identify_key(every)).events == {"one", "two"}
    await accounts.change(created.id, all_events=True)
    assert (await check.identify_key(bound)).events == {"two", "three"}
    assert (await check.identify_key(every)).events is None
    await registry.begin_event_deletion("two")
    assert (await check.identify_key(bound)).events == {"three"}
    claims = TokenClaims(created.id, Role.member, None, None, "t", 0, 0)
    await accounts.change(created.id, events=["one"])
    assert (await check.identify_bearer(claims)).events == {"one"}
    for gone in (TokenClaims("f" * 32, Role.member, None, None, "t", 0, 0),
                 TokenClaims(created.id, Role.member, None, "f" * 32, "t", 0, 0)):  # fmt: skip
        with pytest.raises(TokenRevoked):
            await check.identify_bearer(gone)


@pytest.mark.parametrize("reaches_all", [True, False])
async def test_a_token_for_an_event_is_none_for_another_of_its_id(
    accounts: Accounts, reaches_all: bool
) -> None:
    registry, check = Registry(accounts._database), AccessCheck(accounts._database)
    for id in ("gala", "expo", "fair"):
        await registry.create_event(id, None, "pack")
    granted = None if reaches_all else ["gala", "expo"]
    ada = await accounts.create("ada", Role.operator, None, granted)

    async def reach(issued_at: int, *ids: str) -> frozenset[str] | None:
        claims = TokenClaims(ada.id, Role.operator, frozenset(ids), None, "t", issued_at, 0)
        return (await check.identify_bearer(claims)).events

    async def set_age(id: str, created_at: float) -> None:
        moment = datetime.fromtimestamp(created_at, timezone.utc)
        await accounts._database.write(
            lambda connection: (
                connection.execute(update(event).where(event.c.id == id).values(created_at=moment)).rowcount
            )
        )

    made = int(time.time()) - 5
    await set_age("gala", made - 3600)
    await set_age("expo", made + 0.999)  # `iat` has no fractions
    assert await reach(made, "gala", "expo") == {"gala", "expo"}
    assert await reach(made, "gala", "\x00", "nowhere") == {"gala"}
    assert await reach(made, "fair") == frozenset()
    assert await reach(made) == frozenset()
    await set_age("expo", made + 1)
    assert await reach(made, "gala", "expo") == {"gala"}
    await registry.begin_event_deletion("gala")
    assert await reach(made, "gala") == frozenset()
    await registry.create_event("gala", None, "pack")
    await accounts.change(ada.id, events=granted)
    assert await reach(made, "gala", "expo") == frozenset()
    assert await reach(int(time.time()), "gala") == {"gala"}


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
        with pytest.raises(AccountExists) as caught:
            await accounts.create_administrator("ada", PASSWORD)
        with pytest.raises(SignInFailed):
            await sessions_of(accounts).sign_in("ada", PASSWORD + "?")
    shown = f"{created!r}{caught.value!r}{caught.value.context}{caplog.text}"
    assert PASSWORD not in shown
    assert "argon2id" not in shown
    stored = read_files(tmp_path)
    assert PASSWORD.encode() not in stored
    assert b"$argon2id$" in stored
    await accounts.close()
