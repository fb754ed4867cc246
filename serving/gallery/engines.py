"""From settings to a gallery."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from serving.errors import ConfigurationError
from serving.gallery.protocol import Gallery

Engine = Literal["embedded", "server"]


def connect_gallery(
    engine: Engine,
    *,
    pack_id: str,
    dimension: int,
    directory: str | Path | None = None,
    url: str | None = None,
    api_key: str | None = None,
    timeout_s: float = 5.0,
    prefer_grpc: bool = False,
    on_owner_start: Callable[[], None] | None = None,
) -> Gallery:
    """Return the gallery of one model pack; call `open` before anything else.

    Args:
        engine: "embedded" needs `directory` and a running Ray, "server" needs `url`.
        pack_id: model pack whose vectors are stored.
        dimension: D of its vectors.
        directory: where the embedded engine keeps its files, on the head node.
        url: `http(s)://host:port` of a Qdrant server.
        api_key: secret of that server.
        timeout_s: deadline of every call, retries included.
        on_owner_start: called in the process that owns an embedded gallery when it begins; picklable.
        prefer_grpc: talk gRPC on port 6334 to that server, instead of REST.

    Raises:
        ConfigurationError: an argument that the engine needs is missing, or the engine is unknown.
    """
    if engine == "embedded":
        if directory is None:
            raise ConfigurationError("the embedded gallery needs a directory", key="gallery.directory")
        # Each engine is imported where it is chosen: neither needs the other's libraries.
        from serving.gallery.owner_client import EmbeddedGalleryClient

        return EmbeddedGalleryClient(
            directory, pack_id, dimension, timeout_s=timeout_s, on_owner_start=on_owner_start
        )
    if engine == "server":
        if not url:
            raise ConfigurationError("the server gallery needs a url", key="gallery.url")
        from serving.gallery.server import ServerGallery

        return ServerGallery(
            url, pack_id, dimension, api_key=api_key, timeout_s=timeout_s, prefer_grpc=prefer_grpc
        )
    raise ConfigurationError(
        f"gallery engine {engine!r} is neither 'embedded' nor 'server'", key="gallery.engine"
    )
