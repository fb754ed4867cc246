from __future__ import annotations

import asyncio
import os
from pathlib import Path

import jwt
import pytest
from click.testing import Result
from sqlalchemy import Connection, insert, update
from typer.testing import CliRunner

from serving import cli
from serving.accounts.identities import Identity, Role
from serving.accounts.keys import KeyRing
from serving.accounts.tables import account
from serving.accounts.tokens import TokenVerifier
from serving.database import Database
from serving.database.metadata import now_utc
from serving.errors import CommandError, InvalidRequest, RollcallError
from serving.settings import load_settings


@pytest.fixture(autouse=True)
def _own_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.upper().startswith("ROLLCALL_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROLLCALL_DATA_DIR", str(tmp_path / "data"))


def run(*words: str) -> Result:
    return CliRunner().invoke(cli.app, list(words))


def done(*words: str) -> str:
    result = run(*words)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout.strip()


def refused(kind: type[RollcallError], *words: str) -> RollcallError:
    result = run(*words)
    assert result.exit_code != 0
    assert isinstance(result.exception, kind), (result.output, result.exception)
    return result.exception


def verify(token: str) -> Identity:
    settings = load_settings()
    keys = KeyRing(settings.keys_dir).load()
    return TokenVerifier(keys, settings.auth.issuer, settings.auth.audience).verify(token)


def lifetime_s(token: str) -> int:
    claims = jwt.decode(token, options={"verify_signature": False})
    return claims["exp"] - claims["iat"]


def change(values: dict[str, object]) -> None:
    """Insert an account, or change the one of that name: the commands cannot do it yet."""

    def work(connection: Connection) -> None:
        changed = connection.execute(update(account).where(account.c.name == values["name"]).values(**values))
        if changed.rowcount == 0:
            connection.execute(
                insert(account), {"id": str(values["name"]), "created_at": now_utc(), **values}
            )

    async def write() -> None:
        database = Database(load_settings().registry_url)
        await database.open()
        await database.write(work)
        await database.close()

    asyncio.run(write())


def test_the_first_administrator_and_a_token() -> None:
    assert "rollcall token ada@example.org" in done("admin", "create", "ada@example.org")
    token = done("token")
    assert token.count(".") == 2
    assert "\n" not in token
    identity = verify(token)
    assert (identity.subject, identity.role, identity.events) == ("ada@example.org", Role.administrator, None)
    assert lifetime_s(token) == load_settings().auth.token_lifetime_s
    assert verify(done("token", "ada@example.org")).token_id != identity.token_id


def test_a_token_may_do_less_for_a_shorter_time_at_some_events() -> None:
    done("admin", "create", "ada")
    token = done("token", "--role", "member", "--event", "gala", "--event", "expo", "--hours", "0.5")
    identity = verify(token)
    assert (identity.role, identity.events) == (Role.member, {"gala", "expo"})
    assert lifetime_s(token) == 1800


def test_of_several_accounts_one_must_be_named() -> None:
    done("admin", "create", "ada")
    done("admin", "create", "bob")
    assert "several accounts" in refused(CommandError, "token").detail
    assert verify(done("token", "bob")).subject == "bob"


def test_a_disabled_account_gets_no_token_and_does_not_count() -> None:
    done("admin", "create", "ada")
    done("admin", "create", "bob")
    change({"name": "bob", "disabled_at": now_utc()})
    assert verify(done("token")).subject == "ada"
    assert "disabled" in refused(CommandError, "token", "bob").detail
    change({"name": "ada", "disabled_at": now_utc()})
    assert "no account" in refused(CommandError, "token").detail


@pytest.mark.parametrize(
    ("role", "asked", "allowed"),
    [
        ("operator", None, True),
        ("operator", "member", True),
        ("operator", "administrator", False),
        ("member", "operator", False),
    ],
)
def test_nobody_gets_more_than_the_account_may(role: str, asked: str | None, allowed: bool) -> None:
    change({"name": "olga", "role": role})
    words = ("token", "olga", *(("--role", asked) if asked else ()))
    if allowed:
        assert verify(done(*words)).role.value == (asked or role)
    else:
        assert asked is not None
        error = refused(CommandError, *words)
        assert role in error.detail
        assert asked in error.detail


def test_before_there_is_an_account() -> None:
    assert "rollcall admin create" in refused(CommandError, "token").detail
    assert "rollcall admin create eve" in refused(CommandError, "token", "eve").detail
    assert "no account" in refused(CommandError, "token", "no/such name").detail


@pytest.mark.parametrize("name", ["a b", "", "x" * 200, "-", "[red]"])
def test_names_that_cannot_be(name: str) -> None:
    refused(InvalidRequest, "admin", "create", "--", name)


def test_a_name_is_taken_once() -> None:
    done("admin", "create", "ada")
    assert "exists already" in refused(InvalidRequest, "admin", "create", "ada").detail
    done("admin", "create", "Ada")  # case counts


def test_events_that_cannot_be() -> None:
    done("admin", "create", "ada")
    refused(InvalidRequest, "token", "--event", "a/b")


@pytest.mark.parametrize(
    "words", [("--hours", "0"), ("--hours", "x"), ("--role", "god"), ("--hours", "99999")]
)
def test_wrong_options_are_explained(words: tuple[str, ...]) -> None:
    done("admin", "create", "ada")
    result = run("token", *words)
    assert result.exit_code == 2
    assert words[0] in result.output


def test_what_is_written_belongs_to_this_user_alone() -> None:
    done("admin", "create", "ada")
    done("token")
    data = load_settings().data_dir
    assert data.stat().st_mode & 0o777 == 0o700
    for path in data.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_the_commands_errors_come_with_a_cure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["rollcall", "token", "[red]eve[/]"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 1
    captured = capsys.readouterr()
    assert captured.out == ""


def test_wrong_settings_reach_the_terminal_as_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLCALL_DATADIR", "x")
    result = run("token")
    assert isinstance(result.exception, RollcallError)
    assert "ROLLCALL_DATA_DIR" in result.exception.detail


def test_version() -> None:
    assert done("version")
