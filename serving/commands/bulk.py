"""`rollcall people import` and `export`: everyone of an event at once, through a running service."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import AsyncIterator, Coroutine, Iterable
from pathlib import Path
from typing import Annotated, Any, BinaryIO, TypeVar

import typer
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from serving.commands.console import messages
from serving.commands.folder_import import FolderImport, SentPictures, list_pictures, read_people
from serving.commands.service_client import Refusal, ServiceClient
from serving.errors import CommandError
from serving.jobs.records import Rejection

REJECTED = 3
"""Exit code when all is done and some items were rejected."""
MAX_SHOWN = 20
POLL_S = 1.0
CHUNK_BYTES = 1024 * 1024
DEFAULT_URL = "http://127.0.0.1:8000"
CONTENT_TYPES = {
    ".zip": "application/zip",
    ".tar": "application/x-tar",
    ".tgz": "application/gzip",
    ".gz": "application/gzip",
    ".ndjson": "application/x-ndjson",
    ".jsonl": "application/x-ndjson",
}

ResultT = TypeVar("ResultT")

people = typer.Typer(help="The people of an event, all at once.", no_args_is_help=True)

Event = Annotated[str, typer.Option("--event", help="The event's id.")]
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


@people.command("import")
def import_people(
    source: Annotated[
        Path,
        typer.Argument(
            exists=True,
            readable=True,
            help="A folder or archive of pictures, <person_id>/<name>.jpg, or vectors as .ndjson.",
        ),
    ],
    event: Event,
    token: Token,
    url: Url = DEFAULT_URL,
    on_duplicate: Annotated[
        str | None,
        typer.Option(help="`refuse` or `allow`: what becomes of a face that matches another person."),
    ] = None,
    quality: Annotated[str | None, typer.Option(help="`off`, `standard` or `strict`.")] = None,
    consent_reference: Annotated[
        str | None, typer.Option(help="Of the people for whom people.ndjson names none.")
    ] = None,
    rejections: Annotated[
        Path | None, typer.Option(help="Write what was rejected, and why, to this file as NDJSON.")
    ] = None,
    parallel: Annotated[int, typer.Option(min=1, max=64, help="Pictures of a folder in flight.")] = 8,
) -> None:
    """Import people. Exit code 0: everybody; 3: some were rejected; 1: it failed and may be repeated."""
    options = {
        name: value
        for name, value in (
            ("on_duplicate", on_duplicate),
            ("quality", quality),
            ("consent_reference", consent_reference),
        )
        if value is not None
    }
    if source.is_dir():
        found = run_against_service(_import_folder(source.resolve(), event, url, token, options, parallel))
    else:
        found = run_against_service(_import_file(source, event, url, token, options))
    if rejections is not None:
        _write_rejections(rejections, found)
    if found:
        show_rejections(found)
        raise typer.Exit(REJECTED)


@people.command("export")
def export_people(
    event: Event,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write, NDJSON.")],
    token: Token,
    url: Url = DEFAULT_URL,
) -> None:
    """Export everyone of an event with their vectors; `import` reads the file, at any event of the pack."""
    run_against_service(_export(event, output, url, token))


async def _import_folder(
    folder: Path, event: str, url: str, token: str, options: dict[str, str], parallel: int
) -> list[Rejection]:
    pictures, facts, sent = list_pictures(folder), read_people(folder), SentPictures(folder, url, event)
    if not sent.open():
        note_path = escape(str(sent.path))
        messages.print(f"[yellow]{note_path} cannot be written: if this is cut off, all is sent again[/]")
    complete = False
    with show_progress() as progress:
        task = progress.add_task(escape(folder.name), total=len(pictures), rejected=0)

        def note(rejected: int) -> None:
            progress.update(task, advance=1, rejected=rejected)

        try:
            async with ServiceClient(url, token) as client:
                work = FolderImport(client, folder, event, options, facts, sent, note)
                await work.run(pictures, parallel)
                complete = not work.rejections
        finally:
            sent.close(complete=complete)
    lines = [
        Rejection(place, f"people.ndjson: {line}", error.code, error.detail)
        for place, (line, error) in enumerate(facts.faults, len(pictures))
    ]
    return sorted(work.rejections, key=lambda each: each.item) + lines


async def _import_file(
    path: Path, event: str, url: str, token: str, options: dict[str, str]
) -> list[Rejection]:
    kind = CONTENT_TYPES.get(path.suffix.lower())
    if kind is None:
        raise CommandError(f"{path.name} is neither a folder nor ends in {', '.join(CONTENT_TYPES)}")
    size = (await asyncio.to_thread(path.stat)).st_size
    with show_progress() as progress:
        async with ServiceClient(url, token) as client:
            uploading = progress.add_task("upload (KiB)", total=size // 1024, rejected=0)
            answer = await client.call(
                "POST",
                f"/v1/events/{event}/imports",
                lambda: _read_pieces(path, progress, uploading),
                params=options,
                headers={"Content-Type": kind, "Content-Length": str(size)},
            )
            await _watch(client, event, answer.json()["id"], progress, "import")
            return await _fetch_rejections(client, event, answer.json()["id"])


async def _export(event: str, output: Path, url: str, token: str) -> None:
    handle, name = tempfile.mkstemp(dir=output.parent, prefix=f".{output.name}.")
    try:
        with os.fdopen(handle, "wb") as file, show_progress() as progress:
            async with ServiceClient(url, token) as client:
                answer = await client.call("POST", f"/v1/events/{event}/exports")
                await _watch(client, event, answer.json()["id"], progress, "export")
                path = f"/v1/events/{event}/jobs/{answer.json()['id']}/result"
                async for piece in client.stream(path):
                    await asyncio.to_thread(file.write, piece)
        os.replace(name, output)
    except BaseException:
        os.unlink(name)
        raise


async def _watch(client: ServiceClient, event: str, job_id: str, progress: Progress, title: str) -> None:
    """Show how far the job is until it is done; raises CommandError when it ends otherwise."""
    task = progress.add_task(title, total=None, rejected=0)
    while True:
        job = (await client.call("GET", f"/v1/events/{event}/jobs/{job_id}")).json()
        progress.update(task, total=job["total"], completed=job["done"], rejected=job["rejected"])
        if job["state"] == "done":
            return
        if job["state"] in ("failed", "cancelled"):
            error = job["error"] or {"code": job["state"], "detail": "somebody ended it"}
            raise CommandError(f"the job {job_id} {job['state']}: {error['code']}: {error['detail']}")
        await asyncio.sleep(POLL_S)


async def _fetch_rejections(client: ServiceClient, event: str, job_id: str) -> list[Rejection]:
    found: list[Rejection] = []
    cursor: str | None = None
    while True:
        params = {"limit": 1000, **({} if cursor is None else {"cursor": cursor})}
        path = f"/v1/events/{event}/jobs/{job_id}/rejections"
        page = (await client.call("GET", path, params=params)).json()
        found += [Rejection(**each) for each in page["rejections"]]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


async def _read_pieces(path: Path, progress: Progress, task: TaskID) -> AsyncIterator[bytes]:
    progress.update(task, completed=0)
    file: BinaryIO
    with path.open("rb") as file:
        while piece := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield piece
            progress.update(task, advance=len(piece) // 1024)


def run_against_service(work: Coroutine[Any, Any, ResultT]) -> ResultT:
    """The result of work whose first refusal ends it; raises CommandError."""
    try:
        return asyncio.run(work)
    except Refusal as refusal:
        raise CommandError(f"the service says {refusal.code}: {refusal.detail}") from None


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:.1f}/s")


def show_progress() -> Progress:
    """A bar that counts items, and how many of them were rejected."""
    return Progress(
        SpinnerColumn(),
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(),
        TextColumn("[red]{task.fields[rejected]} rejected"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=messages,
    )


def show_rejections(found: list[Rejection]) -> None:
    """A table of the first of them."""
    table = Table("item", "reason", "detail", title=f"{len(found)} rejected", title_justify="left")
    for each in found[:MAX_SHOWN]:
        table.add_row(escape(each.name), each.code, escape(each.detail))
    messages.print(table)
    if len(found) > MAX_SHOWN:
        messages.print(f"and {len(found) - MAX_SHOWN} more; --rejections FILE writes them all")


def _write_rejections(path: Path, found: Iterable[Rejection]) -> None:
    lines = [
        json.dumps({"name": each.name, "code": each.code, "detail": each.detail}, ensure_ascii=False) + "\n"
        for each in found
    ]
    path.write_text("".join(lines), encoding="utf-8")
