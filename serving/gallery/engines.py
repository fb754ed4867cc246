"""From settings to a gallery."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from serving.errors import ConfigurationError
from serving.gallery.protocol import Gallery
from serving.settings.stores import GallerySettings

if TYPE_CHECKING:
    from serving.gallery.server import ServerGallery
    from serving.gallery.server_connection import ServerAddress


def connect_gallery(
    settings: GallerySettings,
    *,
    pack_id: str,
    dimension: int,
    directory: str | Path,
    on_owner_start: Callable[[], None] | None = None,
) -> Gallery:
    """Return the gallery of one model pack; call `open` before anything else.

    Args:
        settings: which engine, and how it is reached; "embedded" needs a running Ray.
        pack_id: model pack whose vectors are stored.
        dimension: D of its vectors.
        directory: where the embedded engine keeps its files, on the head node.
        on_owner_start: called in the process that owns an embedded gallery when it begins; picklable.
    """
    # Each engine is imported where it is chosen: neither needs the other's libraries.
    if settings.engine == "server":
        return connect_server(settings, pack_id=pack_id, dimension=dimension)
    from serving.gallery.owner_client import EmbeddedGalleryClient

    return EmbeddedGalleryClient(
        directory,
        pack_id,
        dimension,
        timeout_s=settings.timeout_s,
        min_free_bytes=settings.min_free_bytes,
        on_owner_start=on_owner_start,
    )


def connect_server(settings: GallerySettings, *, pack_id: str, dimension: int) -> ServerGallery:
    """Return the gallery of one model pack on the Qdrant server of the settings.

    Raises:
        ConfigurationError: they name none.
    """
    from serving.gallery.server import ServerGallery
    from serving.gallery.server_layout import ServerLayout

    layout = ServerLayout(
        replication_factor=settings.replication_factor,
        write_consistency_factor=settings.write_consistency_factor,
        shard_number=settings.shard_number,
        promote_events=settings.promote_events,
        quantized=settings.quantized,
        exact_search_kib=settings.exact_search_kib,
        graph_edges=settings.graph_edges,
        graph_build_ef=settings.graph_build_ef,
    )
    return ServerGallery(
        make_address(settings),
        pack_id,
        dimension,
        timeout_s=settings.timeout_s,
        most_attempts=settings.most_attempts,
        layout=layout,
        read_consistency=settings.read_consistency,
        search_ef=settings.graph_search_ef,
        oversampling=settings.oversampling,
    )


def make_address(settings: GallerySettings) -> ServerAddress:
    """Where the Qdrant server of the settings is; also for `ServerSnapshots`.

    Raises:
        ConfigurationError: they name none.
    """
    from serving.gallery.server_connection import ServerAddress

    if settings.engine != "server" or settings.url is None:
        raise ConfigurationError(
            "this needs gallery.engine: server and its gallery.url", key="gallery.engine"
        )
    return ServerAddress(
        settings.url,
        settings.api_key.get_secret_value() if settings.api_key else None,
        settings.ca_file,
        settings.prefer_grpc,
        settings.grpc_port,
    )
