"""Making the packs that serve ready, before anything that needs them starts."""

from __future__ import annotations

from serving.commands.pack_licence import ensure_licence
from serving.commands.pack_progress import show_pack
from serving.packs.configured import find_served_packs, open_store
from serving.packs.store import PreparedPack
from serving.settings import Settings


def prepare_with_progress(settings: Settings, *, accept_licence: bool = False) -> PreparedPack:
    """Every pack that serves made ready, with progress where that takes time; returns the default one."""
    store = open_store(settings)
    prepared = []
    for pack in find_served_packs(settings):
        ensure_licence(store, pack, accept=accept_licence)
        if store.is_ready(pack):
            prepared.append(store.prepare(pack))
            continue
        with show_pack(pack.id) as bar:
            prepared.append(store.prepare(pack, bar))
    if settings.liveness.model is not None:
        from serving.commands import liveness_packs  # loads OpenCV and ONNX Runtime

        liveness_packs.prepare_liveness_pack(store, settings, accept_licence=accept_licence)
    return prepared[0]
