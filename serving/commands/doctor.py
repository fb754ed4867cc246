"""`rollcall doctor`. Exit codes: 0 nothing fails (there may be warnings), 1 something does, 2 wrong usage."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from serving.commands import serve
from serving.commands.console import console, messages
from serving.commands.serve_config import complete_config, find_application, read_config
from serving.errors import RollcallError
from serving.operations.doctor.all_checks import ALL_CHECKS
from serving.operations.doctor.checks import Row, Subject, run_checks
from serving.operations.registry_counts import mend_counts
from serving.runtime import set_ray_flags
from serving.settings import Settings, load_settings

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def doctor(
    config: Annotated[Path, typer.Option(help="The serve config.")] = serve.DEFAULT_CONFIG,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    url: Annotated[str | None, typer.Option(help="Where the service answers; default: the one here.")] = None,
    recount: Annotated[
        bool, typer.Option("--recount", help="Count events' people, faces and arrivals anew where wrong.")
    ] = False,
) -> None:
    """Look over everything that the service needs, and say what to do. Changes nothing but what is asked."""
    subject = read_subject(config, url)
    if recount:
        mended = asyncio.run(mend_counts(subject.settings.registry_url))
        messages.print(
            f"{mended} events had wrong counts; they are right now." if mended else "Counts are right."
        )
    with messages.status("") as status:
        rows = run_checks(ALL_CHECKS, subject, lambda name: status.update(f"Looking at {name}"))
    failed = sum(row.status == "fail" for row in rows)
    warned = sum(row.status == "warn" for row in rows)
    if as_json:
        shown = {"failed": failed, "warned": warned, "rows": [asdict(row) for row in rows]}
        typer.echo(json.dumps(shown, indent=1))
    else:
        console.print(_make_table(rows))
        console.print(f"{failed} to mend, {warned} to look at, {len(rows) - failed - warned} in order")
    if failed:
        raise typer.Exit(1)


def read_subject(config: Path, url: str | None) -> Subject:
    """What is to be looked over; a config or settings that cannot be read are a row of the table."""
    content: dict[str, Any] = {}
    fault = ""
    settings: Settings | None = None
    set_ray_flags(own_cluster=True)
    try:
        content = read_config(config)
        settings = load_settings(find_application(content, config)["args"])
        complete_config(content, {}, config)
    except RollcallError as error:
        fault = error.detail
    if settings is None:
        try:
            settings = load_settings()
        except RollcallError:
            # What stands in the environment is at fault: look at the rest as if it were not there.
            settings = Settings.model_construct()
            settings = Settings.model_validate(settings.model_dump())
    return Subject(
        settings=settings,
        config=content,
        config_path=config,
        config_fault=fault,
        url=url,
        environment=dict(os.environ),
        directory=Path.cwd(),
    )


def _make_table(rows: list[Row]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("check", "", "seen", "what to do"):
        table.add_column(name, overflow="fold", no_wrap=name in ("check", ""))
    previous = ""
    for row in rows:
        name = "" if row.check == previous else row.check
        previous = row.check
        status = f"[{_COLOURS[row.status]}]{row.status}[/]"
        table.add_row(name, status, escape(row.seen), escape(row.cure))
    return table
