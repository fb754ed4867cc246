from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import jwt
import pytest
from click.testing import Result
from sqlalchemy import Connection, insert, update
from typer.testing import CliRunner

import serving
from serving import cli
from serving.accounts.identities import Role
from serving.accounts.keys import KeyRing
from serving.accounts.tables import account
from serving.accounts.tokens import TokenClaims, TokenVerifier
from serving.database import Database
from serving.database.metadata import now_utc
from serving.errors import CommandError, InvalidRequest, LastAdministrator, RollcallError
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


def verify(token: str) -> TokenClaims:
    settings = load_settings()
    keys = KeyRing(settings.keys_dir).load()
    return TokenVerifier(keys, settings.auth.issuer, settings.auth.audience).verify(token)


def lifetime_s(token: str) -> int:
    claims = jwt.decode(token, options={"verify_signature": False})
    return claims["exp"] - claims["iat"]


def find(name: str) -> str:
    """The id of the account of this name."""
    lines = [line.split("\t") for line in done("account", "list").splitlines()]
    return next(id for found, _, _, id in lines if found == name)


def change(values: dict[str, object]) -> None:
    """Insert an account, or change the one of that name: no command does that."""

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
    assert (identity.role, identity.events) == (Role.administrator, None)
    assert identity.subject == find("ada@example.org")
    assert lifetime_s(token) == load_settings().auth.token_lifetime_s
    assert verify(done("token", "ada@example.org")).token_id != identity.token_id


def test_a_token_may_do_less_for_a_shorter_time_at_some_events() -> None:
    done("admin", "create", "ada")
    token = done("token", "--role", "member", "--event", "gala", "--event", "expo", "--hours", "0.5")
    identity = verify(token)
    assert (identity.role, identity.events) == (Role.member, {"gala", "expo"})
    assert lifetime_s(token) == 1800


def test_a_program_reads_json() -> None:
    made = json.loads(done("admin", "create", "ada", "--json"))
    assert made == {"id": find("ada"), "name": "ada", "role": "administrator", "disabled": False}
    told = json.loads(done("token", "--event", "gala", "--hours", "1", "--json"))
    assert verify(told.pop("token")).events == {"gala"}
    assert told == {"account": made, "role": "administrator", "events": ["gala"], "expires_in_s": 3600}
    done("admin", "create", "bob")
    assert json.loads(done("account", "disable", "bob", "--json"))["disabled"] is True
    listed = json.loads(done("account", "list", "--json"))
    assert [(each["name"], each["disabled"]) for each in listed] == [("ada", False), ("bob", True)]
    kid = KeyRing(load_settings().keys_dir).load().signing_key.kid
    rotated = json.loads(done("rotate-keys", "--json"))
    assert rotated["kid"] != kid
    assert [each["kid"] for each in rotated["older"]] == [kid]
    assert json.loads(done("version", "--json")) == {"version": serving.__version__}


def test_of_several_accounts_one_must_be_named() -> None:
    done("admin", "create", "ada")
    done("admin", "create", "bob")
    assert "several accounts" in refused(CommandError, "token").detail
    assert verify(done("token", "bob")).subject == find("bob")


def test_a_disabled_account_gets_no_token_and_does_not_count() -> None:
    done("admin", "create", "ada")
    done("admin", "create", "bob")
    change({"name": "bob", "disabled_at": now_utc()})
    assert verify(done("token")).subject == find("ada")
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


@pytest.mark.parametrize(
    "words",
    [("token",), ("token", "eve"), ("account", "list"), ("account", "disable", "eve"), ("rotate-keys",)],
)
def test_where_no_service_ever_ran_nothing_is_made(words: tuple[str, ...]) -> None:
    detail = refused(CommandError, *words).detail
    assert "no data" in detail
    assert "rollcall admin create" in detail
    assert not load_settings().data_dir.exists()


def test_accounts_that_are_not_there() -> None:
    done("admin", "create", "ada")
    assert "rollcall admin create eve" in refused(CommandError, "token", "eve").detail
    assert "no account" in refused(CommandError, "token", "no/such name").detail
    assert "no account" in refused(CommandError, "account", "disable", "eve").detail


def test_disabling_from_the_command_line() -> None:
    done("admin", "create", "ada")
    refused(LastAdministrator, "account", "disable", "ada")
    done("admin", "create", "bob")
    assert done("account", "disable", "ada") == "ada is disabled"
    assert [line.split("\t")[:3] for line in done("account", "list").splitlines()] == [
        ["ada", "administrator", "disabled"],
        ["bob", "administrator", "active"],
    ]
    assert "disabled" in refused(CommandError, "token", "ada").detail
    assert done("account", "disable", "--undo", "ada") == "ada is active"
    assert verify(done("token", "ada"))


def test_rotation_keeps_old_tokens_good() -> None:
    done("admin", "create", "ada")
    old = done("token")
    assert "signs from now on" in done("rotate-keys")
    new = done("token")
    assert jwt.get_unverified_header(old)["kid"] != jwt.get_unverified_header(new)["kid"]
    assert verify(old).subject == verify(new).subject


def test_where_there_is_no_key_none_is_rotated() -> None:
    """As from a shell without the service's data_dir: a withdrawal must not say it did what it did not."""
    done("admin", "create", "ada")
    assert "ROLLCALL_DATA_DIR" in refused(CommandError, "rotate-keys", "--overlap", "0").detail
    assert not load_settings().keys_dir.exists()


@pytest.mark.parametrize("name", ["a b", "", "x" * 200, "-", "[red]"])
def test_names_that_cannot_be(name: str) -> None:
    refused(InvalidRequest, "admin", "create", "--", name)


def test_a_name_is_taken_once() -> None:
    done("admin", "create", "ada")
    assert "rollcall token ada" in refused(CommandError, "admin", "create", "ada").detail
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
    assert done("version") == done("--version")
