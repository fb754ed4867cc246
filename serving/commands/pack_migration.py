"""`rollcall packs migrate`: moves an event to another pack, through a running service."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from rollcall_client import AsyncClient
from serving.commands.bulk import run_against_service, show_progress, show_rejections
from serving.commands.console import console, messages
from serving.commands.folder_import import FolderImport, SentPictures, list_pictures
from serving.commands.service_client import Refusal, connect, explain_refusals
from serving.commands.service_options import DEFAULT_URL, PARTLY, Token, Url
from serving.errors import CommandError
from serving.jobs.people_file import PeopleFile
from serving.jobs.records import PersonFacts, Rejection

MAX_SHOWN = 20


@dataclass(slots=True)
class Outcome:
    """What the command did.

    Attributes:
        state: "moving", "finished" or "aborted".
        progress: as `GET /v1/events/{event}/migration` says, while it moves.
        finished: as the switch answered; None where an earlier run had switched already.
        rejections: pictures that were not taken.
    """

    state: str
    progress: dict[str, Any] | None = None
    finished: dict[str, Any] | None = None
    rejections: list[Rejection] = field(default_factory=list)

    def to_json(self) -> str:
        rejected = [{"name": each.name, "code": each.code, "detail": each.detail} for each in self.rejections]
        shown = {"state": self.state, "progress": self.progress, "finished": self.finished}
        return json.dumps({**shown, "rejected": rejected}, indent=1, ensure_ascii=False)


def migrate(
    event: Annotated[str, typer.Argument(help="The event's id.")],
    token: Token,
    to: Annotated[str | None, typer.Option("--to", help="The pack, one of those that serve.")] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="A folder of pictures of people who are enrolled: <person_id>/<name>.jpg.",
        ),
    ] = None,
    finish: Annotated[bool, typer.Option("--finish", help="Switch, when everybody has moved.")] = False,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Switch although people have no face in the new pack.")
    ] = False,
    abort: Annotated[bool, typer.Option("--abort", help="Give up; the event stays as it is.")] = False,
    threshold: Annotated[
        float | None, typer.Option(min=-1, max=1, help="The event's cosine after the switch.")
    ] = None,
    quality: Annotated[str | None, typer.Option(help="`off`, `standard` or `strict`.")] = None,
    on_duplicate: Annotated[
        str | None,
        typer.Option(help="`refuse` or `allow`: what becomes of a face that matches another person."),
    ] = None,
    parallel: Annotated[int, typer.Option(min=1, max=64, help="Pictures in flight.")] = 4,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Move an event to another pack; may be repeated after whatever cut it off.

    Exit code 0: done; 3: some pictures were rejected, or the event cannot be switched yet; 1: it failed.
    """
    if abort and (finish or allow_missing or pictures is not None):
        raise CommandError("--abort goes with neither --finish, --allow-missing nor --pictures")
    if allow_missing and not finish:
        raise CommandError("--allow-missing is about the switch: give --finish too")
    if not abort and to is None:
        raise CommandError("--to says which pack the event is to move to")
    options = {
        name: value
        for name, value in (("quality", quality), ("on_duplicate", on_duplicate))
        if value is not None
    }
    switch = {"allow_missing": allow_missing, **({} if threshold is None else {"threshold": threshold})}
    folder = None if pictures is None else pictures.resolve()
    outcome = run_against_service(
        _migrate(event, url, token, to, folder, options, parallel, switch if finish else None)
    )
    if as_json:
        typer.echo(outcome.to_json())
    else:
        _show(event, outcome)
    is_short = finish and outcome.state != "finished"
    if outcome.rejections or is_short:
        raise typer.Exit(PARTLY)


async def _migrate(
    event: str,
    url: str,
    token: str,
    to: str | None,
    pictures: Path | None,
    options: dict[str, str],
    parallel: int,
    switch: dict[str, Any] | None,
) -> Outcome:
    async with connect(url, token) as client:
        if to is None:
            with explain_refusals():
                await client.migration.abort(event)
            return Outcome("aborted")
        try:
            with explain_refusals():
                begun = await client.migration.begin(event, pack_id=to)
        except Refusal:
            if (await client.events.get(event)).pack_id != to:
                raise
            return Outcome("finished")  # by an earlier run, which may not have had the answer
        rejections = []
        if pictures is not None:
            # A note of what was sent is good for this move alone.
            sent = SentPictures(pictures, url, f"{event} {begun.started_at.isoformat()}")
            rejections = await _send_pictures(client, pictures, event, sent, options, parallel)
        outcome = Outcome("moving", rejections=rejections)
        if switch is not None:
            try:
                with explain_refusals():
                    answer = await client.migration.finish(event, **switch)
            except Refusal as refusal:
                if refusal.code != "migration_incomplete":
                    raise
            else:
                outcome.state, outcome.finished = "finished", answer.model_dump(mode="json")
                return outcome
        with explain_refusals():
            outcome.progress = (await client.migration.get(event, limit=MAX_SHOWN)).model_dump(mode="json")
        return outcome


async def _send_pictures(
    client: AsyncClient,
    folder: Path,
    event: str,
    sent: SentPictures,
    options: dict[str, str],
    parallel: int,
) -> list[Rejection]:
    found = list_pictures(folder)
    sent.open()
    complete = False
    with show_progress() as progress:
        task = progress.add_task(escape(folder.name), total=len(found), rejected=0)

        def note(rejected: int) -> None:
            progress.update(task, advance=1, rejected=rejected)

        try:
            work = FaceImport(client, folder, event, options, PeopleFile(), sent, note)
            await work.run(found, parallel)
            complete = not work.rejections
        finally:
            sent.close(complete=complete)
    return sorted(work.rejections, key=lambda each: each.item)


class FaceImport(FolderImport):
    """Sends pictures as further faces of people who are enrolled; of nobody else."""

    async def _send(self, name: str, person: PersonFacts) -> None:
        data = await asyncio.to_thread(self._read, name)
        digest = hashlib.sha256(data)
        digest.update(json.dumps([person.id, self._options], sort_keys=True).encode())
        with explain_refusals():
            await self._client.people.add_faces(
                self._event,
                person.id,
                data,
                idempotency_key=f"migrate-{digest.hexdigest()}",
                **self._options,
            )


def _show(event: str, outcome: Outcome) -> None:
    if outcome.rejections:
        show_rejections(outcome.rejections)
    if outcome.state == "aborted":
        console.print(f"{escape(event)} stays as it is; what was written for the other pack is erased")
    elif outcome.state == "finished" and outcome.finished is None:
        console.print(f"{escape(event)} has moved already")
    elif outcome.finished is not None:
        done = outcome.finished
        console.print(f"{escape(event)} is now of {done['event']['pack_id']}")
        if done["previous_threshold"] is not None:
            console.print(
                f"its threshold was a cosine of {done['previous_pack_id']}, {done['previous_threshold']:g}; "
                f"now decides {done['event']['policy']}"
            )
        if done["people_without_face"]:
            people = ", ".join(done["without_face"][:MAX_SHOWN])
            messages.print(
                f"[yellow]{done['people_without_face']} people have no face any more[/]: {escape(people)}"
            )
    elif outcome.progress is not None:
        now = outcome.progress
        console.print(
            f"{escape(event)} moves from {now['pack_id']} to {now['migrating_to']}: "
            f"{now['migrated_people']} of {now['people']} people, "
            f"{now['migrated_faces']} of {now['faces']} faces"
        )
        if now["missing"]:
            people = ", ".join(each["person_id"] for each in now["missing"])
            messages.print(f"[yellow]without a face in the new pack[/], among others: {escape(people)}")
