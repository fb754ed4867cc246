"""The `rollcall` command; each subject has its module in `serving/commands/`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from serving.commands.command_table import CommandTable
from serving.commands.console import fail
from serving.commands.version import print_version
from serving.errors import RollcallError

app = typer.Typer(
    name="rollcall",
    cls=CommandTable,
    help="Face recognition at events.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
)


def _print_version_if(asked: bool) -> None:
    if asked:
        print_version()
        raise typer.Exit


@app.callback()
def take_options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version_if, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Face recognition at events."""


def main() -> None:
    """Entry point: expected errors become one message with its cure, and exit code 1."""
    try:
        app()
    except RollcallError as error:
        fail(error)
        sys.exit(1)
    except Exception as error:
        client = sys.modules.get("rollcall_client")  # who has not imported it has none of its errors
        if client is None or not isinstance(error, client.RollcallError):
            raise
        from serving.commands.service_refusals import fail_at_service

        fail_at_service(error)
        sys.exit(1)


if __name__ == "__main__":
    main()
