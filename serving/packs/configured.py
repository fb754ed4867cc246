"""The packs that the settings name."""

from __future__ import annotations

from serving.errors import ConfigurationError
from serving.packs.calibration import Calibration
from serving.packs.manifest import Pack
from serving.packs.progress import Progress
from serving.packs.store import PackStore, PreparedPack
from serving.settings import Settings


def open_store(settings: Settings) -> PackStore:
    """The model cache, with the licences and the mirror that the settings name."""
    return PackStore(
        settings.cache_dir,
        accepted_licences=settings.pack.accept_licence,
        mirror_url=settings.pack.mirror_url,
    )


def find_configured_pack(settings: Settings, pack_id: str | None = None) -> Pack:
    """The manifest of a pack, whether prepared or not: the default one, or the one of this id.

    Raises:
        PackError: when there is no such pack or variant.
    """
    store = open_store(settings)
    if pack_id is None:
        return store.find_pack(settings.pack.name, settings.pack.precision, settings.pack.mirrored)
    return store.find_pack(pack_id)


def find_served_packs(settings: Settings) -> tuple[Pack, ...]:
    """Every pack that serves, the default first.

    Raises:
        PackError: when there is no such pack or variant.
        ConfigurationError: one is named twice.
    """
    packs = (
        find_configured_pack(settings),
        *(find_configured_pack(settings, name) for name in settings.pack.also),
    )
    ids = [pack.id for pack in packs]
    for pack_id in ids:
        if ids.count(pack_id) > 1:
            raise ConfigurationError(f"pack.also: {pack_id} serves already; name each pack once")
    return packs


def prepare_pack(
    settings: Settings, progress: Progress | None = None, pack_id: str | None = None
) -> PreparedPack:
    """A pack with its files in the cache, made and checked if they are not there yet; see the first."""
    return open_store(settings).prepare(find_configured_pack(settings, pack_id), progress)


def load_pack_calibration(settings: Settings, pack: Pack) -> Calibration:
    """What a pack's scores mean: the calibration that the user made, else the one that came with it.

    Raises:
        PackNotCalibrated: there is neither.
    """
    return open_store(settings).load_calibration(pack)
