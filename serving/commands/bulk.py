"""`rollcall people import` and `export`: everyone of an event at once, through a running service."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from rollcall_client import AsyncClient
from rollcall_client.bodies import UPLOAD_TYPES
from rollcall_client.errors import NotAllowed
from rollcall_client.models import JobView, QualityLevel
from serving.commands.console import AsJson, messages, print_json, write_json
from serving.commands.folder_import import (
    FolderImport,
    FolderPicture,
    SentPictures,
    list_pictures,
    read_people,
)
from serving.commands.service_client import Refusal, connect, explain_refusals
from serving.commands.service_options import DEFAULT_URL, PARTLY, Event, Token, Url
from serving.errors import CommandError
from serving.jobs.records import Rejection

MAX_SHOWN = 20
FIRST_ANSWER_S = 20.0
"""A service that does not run at all is told at once; one that goes away later is waited for."""
POLL_S = 1.0
ResultT = TypeVar("ResultT")

people = typer.Typer(help="The people of an event, all at once.", no_args_is_help=True)


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
        Literal["refuse", "allow"] | None,
        typer.Option(help="What becomes of a face that matches another person."),
    ] = None,
    quality: Annotated[QualityLevel | None, typer.Option(help="What pictures are held to.")] = None,
    consent_reference: Annotated[
        str | None, typer.Option(help="Of the people for whom people.ndjson names none.")
    ] = None,
    rejections: Annotated[
        Path | None, typer.Option(help="Write what was rejected, and why, to this file as NDJSON.")
    ] = None,
    parallel: Annotated[int, typer.Option(min=1, max=64, help="Pictures of a folder in flight.")] = 8,
    as_json: AsJson = False,
) -> None:
    """Import people. Exit code 0: everybody; 3: some were rejected; 1: it failed and may be repeated."""
    if rejections is not None:
        _check_writable(rejections)
    options: dict[str, Any] = {
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
    if as_json:
        print_json({"rejected": [_describe(each) for each in found]})
    elif found:
        show_rejections(found)
    if found:
        raise typer.Exit(PARTLY)


@people.command("export")
def export_people(
    event: Event,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write, NDJSON.")],
    token: Token,
    url: Url = DEFAULT_URL,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the service's own copy for jobs.keep_result_s.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Export everyone of an event with their vectors; `import` reads the file, at any event of the pack.

    The service's own copy is deleted once the file is here.
    """
    if output.is_dir() or not output.parent.is_dir():
        raise CommandError(f"{output} cannot be written: --output names a file in a folder that is there")
    size = run_against_service(_export(event, output, url, token, keep))
    if as_json:
        print_json({"output": str(output), "bytes": size})


async def _import_folder(
    folder: Path, event: str, url: str, token: str, options: dict[str, Any], parallel: int
) -> list[Rejection]:
    pictures, facts = list_pictures(folder), read_people(folder)
    async with connect(url, token) as client:
        sent = SentPictures(folder, url, f"{event} {await _ask_since_when(client, event)}")
    _begin(sent, pictures)
    complete = False
    with show_progress() as progress:
        task = progress.add_task(escape(folder.name), total=len(pictures), rejected=0)

        def note(rejected: int) -> None:
            progress.update(task, advance=1, rejected=rejected)

        try:
            async with connect(url, token) as client:
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


async def _ask_since_when(client: AsyncClient, event: str) -> str:
    """When the event was created; nothing where the caller may not look at events."""
    with explain_refusals():
        try:
            found = await client.events.get(event, timeout_s=FIRST_ANSWER_S)
        except NotAllowed:
            return ""
    return found.created_at.isoformat()


def _begin(sent: SentPictures, pictures: list[FolderPicture]) -> None:
    path = escape(str(sent.path))
    if not sent.open():
        messages.print(f"[yellow]{path} cannot be written: if this is cut off, all is sent again[/]")
    before = sum(each.name in sent for each in pictures)
    if before:
        messages.print(f"{before} of {len(pictures)} were sent before; delete {path} to send them again")


async def _import_file(
    path: Path, event: str, url: str, token: str, options: dict[str, Any]
) -> list[Rejection]:
    if path.suffix.lower() not in UPLOAD_TYPES:
        raise CommandError(f"{path.name} is neither a folder nor ends in {', '.join(UPLOAD_TYPES)}")
    kind: Any = UPLOAD_TYPES[path.suffix.lower()]
    size = (await asyncio.to_thread(path.stat)).st_size
    with show_progress() as progress:
        uploading = progress.add_task("upload (KiB)", total=size // 1024, rejected=0)

        def note(sent_bytes: int) -> None:
            progress.update(uploading, completed=sent_bytes // 1024)

        async with connect(url, token) as client:
            with explain_refusals(), WatchedFile(path, note) as file:
                job = await client.jobs.import_people(event, file, content_type=kind, **options)
                await _watch(client, event, job.id, progress, "import")
                return [
                    Rejection(each.item, each.name, each.code, each.detail)
                    async for each in client.jobs.iterate_rejections(event, job.id, limit=1000)
                ]


async def _export(event: str, output: Path, url: str, token: str, keep: bool) -> int:
    with show_progress() as progress:
        async with connect(url, token) as client:
            with explain_refusals():
                job = await client.jobs.export_people(event)
                await _watch(client, event, job.id, progress, "export")
                async with client.jobs.result(event, job.id) as download:
                    size = await download.save(output)
                if not keep:
                    await client.jobs.cancel(event, job.id)
                return size


async def _watch(client: AsyncClient, event: str, job_id: str, progress: Progress, title: str) -> None:
    """Show how far the job is until it is done."""
    task = progress.add_task(title, total=None, rejected=0)

    def note(job: JobView) -> None:
        progress.update(task, total=job.total, completed=job.done, rejected=job.rejected)

    try:
        await client.wait_for_job(event, job_id, on_progress=note, poll_s=POLL_S)
    except asyncio.CancelledError:
        messages.print(f"the service goes on with the {title}, its job {escape(job_id)}")
        raise


class WatchedFile(io.BufferedReader):
    """A file that says how far it has been read, in bytes."""

    def __init__(self, path: Path, on_read: Callable[[int], None]) -> None:
        super().__init__(io.FileIO(path))
        self._on_read = on_read

    def read(self, size: int | None = -1, /) -> bytes:
        piece = super().read(size)
        self._on_read(self.tell())
        return piece


def run_against_service(work: Coroutine[Any, Any, ResultT]) -> ResultT:
    """The result of work whose first refusal ends it; raises CommandError."""
    try:
        return asyncio.run(work)
    except Refusal as refusal:
        raise CommandError(f"the service says {refusal.code}: {refusal.detail}") from None
    except OSError as error:
        raise CommandError(f"{error.filename or 'a file'}: {error.strerror or error}") from None


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


def _check_writable(path: Path) -> None:
    """Before hours of work, not after."""
    try:
        path.open("a").close()
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}") from None


def _write_rejections(path: Path, found: Iterable[Rejection]) -> None:
    lines = [write_json(_describe(each)) + "\n" for each in found]
    path.write_text("".join(lines), encoding="utf-8")


def _describe(rejection: Rejection) -> dict[str, str]:
    return {"name": rejection.name, "code": rejection.code, "detail": rejection.detail}
