"""`rollcall people list`, `show` and `delete`: single people of an event."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from serving.commands.bulk import people
from serving.commands.console import AsJson, messages, print_json
from serving.commands.service_options import (
    DEFAULT_URL,
    Event,
    Token,
    Url,
    open_service,
    print_facts,
    print_rows,
)

PersonId = Annotated[str, typer.Argument(help="The person's id.")]


@people.command("list")
def list_people(
    event: Event,
    token: Token,
    url: Url = DEFAULT_URL,
    name: Annotated[str | None, typer.Option(help="Only those whose names contain this.")] = None,
    as_json: AsJson = False,
) -> None:
    """List who is enrolled."""
    with open_service(url, token) as service:
        found = list(service.people.iterate(event, name=name, limit=1000))
    if as_json:
        print_json(found)
    else:
        rows = ((each.id, each.name, each.faces, each.created_at.isoformat(" ", "seconds")) for each in found)
        print_rows(("id", "name", "faces", "enrolled at"), rows)


@people.command("show")
def show_person(
    person: PersonId, event: Event, token: Token, url: Url = DEFAULT_URL, as_json: AsJson = False
) -> None:
    """Look at a person."""
    with open_service(url, token) as service:
        found = service.people.get(event, person)
    if as_json:
        print_json(found)
    else:
        print_facts(found)


@people.command("delete")
def delete_person(
    person: PersonId,
    event: Event,
    token: Token,
    url: Url = DEFAULT_URL,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Erase a person and their faces; asks before."""
    if not yes:
        typer.confirm(f"Erase {person} of {event}?", abort=True, err=True)
    with open_service(url, token) as service:
        service.people.delete(event, person)
    if as_json:
        print_json({"deleted": person})
    else:
        messages.print(f"{escape(person)} is erased")
