"""The pack that the settings name."""

from __future__ import annotations

from serving.packs.catalogue import find_pack
from serving.packs.manifest import Pack
from serving.packs.store import PackStore, PreparedPack, Progress
from serving.settings import Settings


def find_configured_pack(settings: Settings) -> Pack:
    """The manifest of the pack in `settings`, whether prepared or not.

    Raises:
        PackError: when there is no such pack or variant.
    """
    return find_pack(settings.pack.name, settings.pack.precision, settings.pack.mirrored)


def prepare_pack(settings: Settings, progress: Progress | None = None) -> PreparedPack:
    """The pack in `settings` with its files in the cache, made and checked if they are not there yet."""
    return PackStore(settings.cache_dir).prepare(find_configured_pack(settings), progress)
