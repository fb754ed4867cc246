"""What every command that talks to a running service has in common: its options, its client, its output."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rollcall_client import Client
from serving.commands.console import console
from serving.errors import CommandError

PARTLY = 3
"""Exit code when all was done, and the answer is no or not everything went in; see docs/cli.md."""
DEFAULT_URL = "http://127.0.0.1:8000"
LONGEST_LINE_CHARS = 100_000

Event = Annotated[str, typer.Option("--event", envvar="ROLLCALL_EVENT", help="The event's id.")]
Url = Annotated[str, typer.Option("--url", envvar="ROLLCALL_URL", help="Of the service.")]
Token = Annotated[
    str,
    typer.Option(
        "--token",
        envvar="ROLLCALL_TOKEN",
        help="An access token (`rollcall token` prints one) or API key; better given by ROLLCALL_TOKEN, "
        "since others on this machine can see the command line.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def open_service(url: str, token: str) -> Client:
    """A client of the service.

    Raises:
        CommandError: the URL or the token is none.
    """
    try:
        return Client(url, token=token)
    except ValueError as error:
        raise CommandError(str(error)) from None


def print_json(value: BaseModel | Mapping[str, Any] | Iterable[BaseModel]) -> None:
    """One JSON document on standard output."""
    typer.echo(write_json(_to_json(value), indent=1))


def write_json(value: Any, indent: int | None = None) -> str:
    """JSON for people; bytes of file names that are no UTF-8 as the escapes that JSON has for them."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode()


def print_facts(value: BaseModel) -> None:
    """A table with a row for each field that says something."""
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, each in value.model_dump(mode="json", by_alias=True).items():
        if each is not None and each != [] and each != {}:
            shown = each if isinstance(each, str) else json.dumps(each, ensure_ascii=False)
            table.add_row(f"[bold]{escape(name)}[/]", escape(shown))
    print_table(table)


def print_rows(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """A table; a row is cut nowhere."""
    table = Table(box=None, pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*("" if each is None else escape(str(each)) for each in row))
    print_table(table)


def print_table(table: Table) -> None:
    """On a terminal as wide as that; elsewhere, where it may be searched, a row is one line."""
    wide = Console(file=console.file, width=LONGEST_LINE_CHARS, highlight=False)
    (console if console.is_terminal else wide).print(table)


def _to_json(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    if isinstance(value, Mapping):
        return {name: _to_json(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)) or (isinstance(value, Iterable) and not isinstance(value, str)):
        return [_to_json(each) for each in value]
    return value
