"""`rollcall gallery`: what an operator does to the vectors of an event on a Qdrant server."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from serving.commands.console import console
from serving.errors import CommandError
from serving.settings import Settings, load_settings

gallery = typer.Typer(no_args_is_help=True, help="Vectors on a Qdrant server.")


@gallery.command("promote")
def promote(
    event: Annotated[str, typer.Argument(help="Id of the event.")],
    timeout_s: Annotated[
        float, typer.Option(min=1, max=86_400, help="How long to wait for its vectors to be copied.")
    ] = 3600.0,
) -> None:
    """Give a large event shards of its own; recognition goes on meanwhile, and it may be repeated.

    Needs gallery.promote_events (docs/gallery.md).
    """
    settings = load_settings()
    if settings.gallery.engine != "server":
        raise CommandError("events are promoted on a Qdrant server: gallery.engine is embedded here")
    for line in asyncio.run(_promote(settings, event, timeout_s)):
        console.print(line, highlight=False)


async def _promote(settings: Settings, event_id: str, timeout_s: float) -> list[str]:
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
    lines = []
    for place in places:
        pack = find_configured_pack(settings, place.pack_id)
        opened = connect_server(settings.gallery, pack_id=pack.id, dimension=pack.dimension)
        await opened.open()
        try:
            is_new = await opened.promote(place.partition, timeout_s)
        finally:
            await opened.close()
        lines.append(f"{event_id}: {'now has' if is_new else 'has'} shards of its own, of {pack.id}")
    return lines
