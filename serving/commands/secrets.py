"""`rollcall secrets`: passwords, tokens and certificates of a deployment, in files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated

import typer
from rich.markup import escape

from serving.commands.console import AsJson, console, print_json
from serving.commands.secret_files import make_secret_files
from serving.errors import CommandError

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
    store_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STORE=HOST[,HOST...]",
            help="Names and addresses of postgres, qdrant or redis, for its certificate; its URL: the first.",
        ),
    ] = None,
    prefix: Annotated[
        Path | None,
        typer.Option(help="Folder of ca.pem where the URLs are used; else a container's /run/secrets."),
    ] = None,
    rewrite_urls: Annotated[
        bool,
        typer.Option(
            "--rewrite-urls", help="URLs that are there get the passwords, and the hosts and prefix given."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make what is missing: run it again after removing a file, to have it made anew.

    The proxy's certificate comes from an authority of the deployment's own (ca.pem); put one that browsers
    trust in its place, key and chain in one file (docs/secrets.md). What cannot be made changes nothing.
    """
    files = make_secret_files(
        folder,
        host or [],
        store_hosts=_read_store_hosts(store_host or []),
        prefix=None if prefix is None else PurePosixPath(prefix),
        rewrite_urls=rewrite_urls,
    )
    if as_json:
        print_json(
            [
                {"file": str(folder / each.name), "made": each.made, "state": each.state, "notes": each.notes}
                for each in files
            ]
        )
        return
    for written in files:
        console.print(f"{written.state:<8}{escape(str(folder / written.name))}", highlight=False)
    for written in files:
        for note in written.notes:
            console.print(f"[yellow]note[/]    {escape(written.name)} {escape(note)}", highlight=False)


def _read_store_hosts(given: Sequence[str]) -> dict[str, tuple[str, ...]]:
    hosts: dict[str, tuple[str, ...]] = {}
    for each in given:
        store, equals, names = each.partition("=")
        if not equals or not all(names.split(",")):
            raise CommandError(f"--store-host {each}: write STORE=HOST, or STORE=HOST,HOST")
        hosts[store] = (*hosts.get(store, ()), *names.split(","))
    return hosts
