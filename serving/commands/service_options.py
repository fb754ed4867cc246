"""What every command that talks to a running service has in common: its options, its client, its output."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Annotated

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rollcall_client import Client
from serving.commands.console import console
from serving.commands.service_refusals import explain_connection

PARTLY = 3
"""Exit code when all was done, and the answer is no or not everything went in; see docs/cli.md."""
DEFAULT_URL = "http://127.0.0.1:8000"
LONGEST_LINE_CHARS = 100_000

Event = Annotated[str, typer.Option("--event", envvar="ROLLCALL_EVENT", help="The event's id.")]
Url = Annotated[str, typer.Option("--url", envvar="ROLLCALL_URL", help="Of the service.")]
ACCESS_HELP = (
    "An access token (`rollcall token` prints one) or API key; better given by ROLLCALL_TOKEN, "
    "since others on this machine can see the command line."
)
Token = Annotated[str, typer.Option("--token", envvar="ROLLCALL_TOKEN", help=ACCESS_HELP)]


def open_service(url: str, token: str) -> Client:
    """A client of the service.

    Raises:
        CommandError: the URL or the token is none.
    """
    try:
        return Client(url, token=token)
    except ValueError as error:
        raise explain_connection(error) from None


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
