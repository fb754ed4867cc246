"""`rollcall gallery`: what an operator does to the vectors of an event on a Qdrant server."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from serving.commands.console import AsJson, console, print_json
from serving.errors import CommandError
from serving.settings import Settings, load_settings

gallery = typer.Typer(no_args_is_help=True, help="Vectors on a Qdrant server.")


@gallery.command("promote")
def promote(
    event: Annotated[str, typer.Argument(help="Id of the event.")],
    timeout_s: Annotated[
        float, typer.Option(min=1, max=86_400, help="How long to wait for its vectors to be copied.")
    ] = 3600.0,
    as_json: AsJson = False,
) -> None:
    """Give a large event shards of its own; recognition goes on meanwhile, and it may be repeated.

    Needs gallery.promote_events (docs/gallery.md).
    """
    settings = load_settings()
    if settings.gallery.engine != "server":
        raise CommandError("events are promoted on a Qdrant server: gallery.engine is embedded here")
    places = asyncio.run(_promote(settings, event, timeout_s))
    if as_json:
        print_json({"event": event, "packs": [{"pack": pack, "is_new": is_new} for pack, is_new in places]})
        return
    for pack, is_new in places:
        console.print(
            f"{event}: {'now has' if is_new else 'has'} shards of its own, of {pack}", highlight=False
        )


async def _promote(settings: Settings, event_id: str, timeout_s: float) -> list[tuple[str, bool]]:
    from serving.database import Database  # only now: they need SQLAlchemy and qdrant-client
    from serving.gallery.engines import connect_server
    from serving.packs.configured import find_configured_pack
    from serving.registry.registry import Registry

    registry = Registry(Database(settings.registry_url, settings.database))
    await registry.open()
    try:
        places = (await registry.get_event(event_id)).places
    finally:
        await registry.close()
    promoted = []
    for place in places:
        pack = find_configured_pack(settings, place.pack_id)
        opened = connect_server(settings.gallery, pack_id=pack.id, dimension=pack.dimension)
        await opened.open()
        try:
            is_new = await opened.promote(place.partition, timeout_s)
        finally:
            await opened.close()
        promoted.append((pack.id, is_new))
    return promoted
