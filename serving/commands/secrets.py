"""`rollcall secrets`: passwords, tokens and certificates of a deployment, in files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from serving.commands.console import AsJson, console, print_json
from serving.commands.secret_files import make_secret_files

secrets = typer.Typer(no_args_is_help=True, help="Passwords, tokens and certificates of a deployment.")


@secrets.command("init")
def init(
    folder: Annotated[Path, typer.Argument(help="Where docker-compose.yml looks for them.")] = Path(
        "secrets"
    ),
    host: Annotated[
        list[str] | None,
        typer.Option(
            help="Name or address that clients use, for the proxy's certificate; may be given again."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make what is missing: run it again after removing a file, to have it made anew.

    The proxy's certificate comes from an authority of the deployment's own (ca.pem); put one that browsers
    trust in its place, key and chain in one file (docs/cluster.md).
    """
    files = make_secret_files(folder, host or ["localhost", "127.0.0.1"])
    if as_json:
        print_json([{"file": str(folder / each.name), "made": each.made} for each in files])
        return
    for written in files:
        console.print(f"{'made' if written.made else 'kept'}  {folder / written.name}", highlight=False)
