"""The gallery of each pack as a command reaches it: beside a running service, or without one.

The embedded engine belongs to one process. While a service runs that is an actor of its Ray, which is asked;
else the command opens the files itself. A server is asked by a connection of one's own either way.
"""

from __future__ import annotations

from pathlib import Path

from serving.errors import BackupError, PackError
from serving.gallery.engines import connect_gallery
from serving.gallery.protocol import Gallery
from serving.gallery.records import collection_name
from serving.operations.file_locks import is_held
from serving.operations.ray_joining import join_ray
from serving.packs.configured import find_configured_pack
from serving.packs.manifest import Pack
from serving.settings import Settings

LOCK_WAIT_S = 2.0


class Galleries:
    """Opens the gallery of each pack when it is first asked for; `async with` closes them all.

    Args:
        settings: which engine, and where.
        ray_address: of the cluster that serves, for one that `rollcall serve` did not start.
    """

    def __init__(self, settings: Settings, ray_address: str | None = None) -> None:
        self._settings = settings
        self._ray_address = ray_address
        self._opened: dict[str, Gallery] = {}
        self._joined_ray = False

    async def __aenter__(self) -> Galleries:
        return self

    async def __aexit__(self, *_: object) -> None:
        for gallery in self._opened.values():
            await gallery.close()
        if self._joined_ray:
            import ray

            ray.shutdown()

    def find_pack(self, pack_id: str) -> Pack:
        """The pack; raises BackupError where nobody knows it any more."""
        try:
            return find_configured_pack(self._settings, pack_id)
        except PackError as error:
            raise BackupError(
                f"vectors of the pack {pack_id} are stored, and the pack is not known here ({error.detail}); "
                "add it again: rollcall packs add DIR (docs/packs.md)"
            ) from None

    async def open(self, pack_id: str, *, create: bool = False) -> Gallery | None:
        """The gallery of a pack; None where none was ever made, unless `create`.

        Raises:
            BackupError: the pack is not known, or the process that owns the files cannot be reached.
            RollcallError: the engine's own.
        """
        if pack_id not in self._opened:
            pack = self.find_pack(pack_id)
            if self._settings.gallery.engine == "embedded":
                directory = self._settings.gallery_dir
                if not create and not (directory / collection_name(pack.id, pack.dimension)).exists():
                    return None
                gallery = self._open_embedded(directory, pack)
            else:
                gallery = connect_gallery(
                    self._settings.gallery,
                    pack_id=pack.id,
                    dimension=pack.dimension,
                    directory=self._settings.gallery_dir,
                )
            await gallery.open()
            self._opened[pack_id] = gallery
        return self._opened[pack_id]

    def _open_embedded(self, directory: Path, pack: Pack) -> Gallery:
        if not is_owned(directory, collection_name(pack.id, pack.dimension)):
            from serving.gallery.embedded import EmbeddedGallery, InProcessGallery

            return InProcessGallery(
                EmbeddedGallery(directory, pack.id, pack.dimension, lock_wait_s=LOCK_WAIT_S)
            )
        self._joined_ray |= join_ray(self._settings, self._ray_address)
        return connect_gallery(
            self._settings.gallery, pack_id=pack.id, dimension=pack.dimension, directory=directory
        )


def find_owned(directory: Path) -> list[Path]:
    """The lock files of the embedded collections whose files a process holds."""
    return [lock for lock in sorted(directory.glob("*.lock")) if is_owned(directory, lock.stem)]


def is_owned(directory: Path, collection: str) -> bool:
    """Whether a process holds the files of an embedded collection."""
    return is_held(directory / f"{collection}.lock")
