"""`rollcall events`: the events of a running service."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from rollcall_client.models import EventView, QualityLevel, Strictness
from serving.commands.console import AsJson, console, messages, print_json
from serving.commands.service_options import DEFAULT_URL, Token, Url, open_service, print_facts, print_rows

events = typer.Typer(help="The events of a running service.", no_args_is_help=True)

EventId = Annotated[str, typer.Argument(help="The event's id.")]
COLUMNS = ("id", "name", "people", "faces", "pack", "state")


@events.command("list")
def list_events(
    token: Token,
    url: Url = DEFAULT_URL,
    closed: Annotated[
        bool | None, typer.Option("--closed/--open", help="Only those that are closed, or only the others.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the events."""
    with open_service(url, token) as service:
        found = list(service.events.iterate(closed=closed, limit=1000))
    if as_json:
        print_json(found)
    else:
        print_rows(COLUMNS, (_row(each) for each in found))


@events.command("show")
def show_event(
    event: EventId,
    token: Token,
    url: Url = DEFAULT_URL,
    statistics: Annotated[
        bool, typer.Option("--statistics", help="What became of the faces there, instead.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Look at an event."""
    with open_service(url, token) as service:
        found = service.events.statistics(event) if statistics else service.events.get(event)
    if as_json:
        print_json(found)
    else:
        print_facts(found)


@events.command("create")
def create_event(
    event: EventId,
    token: Token,
    url: Url = DEFAULT_URL,
    name: Annotated[str | None, typer.Option(help="For people to read.")] = None,
    pack: Annotated[str | None, typer.Option(help="The model pack; the service's default else.")] = None,
    strictness: Annotated[
        Strictness | None, typer.Option(help="How sure a match must be; see docs/recognition.md.")
    ] = None,
    threshold: Annotated[float | None, typer.Option(min=-1, max=1, help="Or a raw cosine.")] = None,
    quality: Annotated[QualityLevel | None, typer.Option(help="What pictures are held to.")] = None,
    retention_days: Annotated[
        int | None, typer.Option(min=1, help="Erase people after so many days.")
    ] = None,
    consent_required: Annotated[
        bool, typer.Option("--consent-required", help="Enrol nobody without a consent reference.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Create an event."""
    if strictness is not None and threshold is not None:
        raise typer.BadParameter("--strictness and --threshold exclude each other")
    with open_service(url, token) as service:
        made = service.events.create(
            id=event,
            name=name,
            pack_id=pack,
            policy={"strictness": strictness}
            if strictness is not None
            else {"threshold": threshold}
            if threshold is not None
            else None,
            quality_level=quality,
            retention_days=retention_days,
            consent_required=consent_required or None,
        )
    if as_json:
        print_json(made)
    else:
        print_facts(made)


@events.command("close")
def close_event(event: EventId, token: Token, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Close an event: nobody is enrolled or recognised there any more."""
    _switch(event, token, url, as_json, closed=True)


@events.command("reopen")
def reopen_event(event: EventId, token: Token, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Open a closed event again."""
    _switch(event, token, url, as_json, closed=False)


@events.command("delete")
def delete_event(
    event: EventId,
    token: Token,
    url: Url = DEFAULT_URL,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete an event and erase everyone in it; asks before."""
    with open_service(url, token) as service:
        found = service.events.get(event)
        if not yes:
            typer.confirm(
                f"Erase {found.people} people and {found.faces} faces of {event}?", abort=True, err=True
            )
        service.events.delete(event)
    if as_json:
        print_json({"deleted": event})
    else:
        messages.print(f"{escape(event)} is deleted, and everyone in it")


def _switch(event: str, token: str, url: str, as_json: bool, *, closed: bool) -> None:
    with open_service(url, token) as service:
        found = service.events.close(event) if closed else service.events.reopen(event)
    if as_json:
        print_json(found)
    else:
        console.print(f"{escape(event)} is {'closed' if closed else 'open'}")


def _row(event: EventView) -> tuple[object, ...]:
    state = "open" if event.closed_at is None else "closed"
    return event.id, event.name, event.people, event.faces, event.pack_id, state
