"""Making the packs that serve ready, before anything that needs them starts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from serving.commands.pack_licence import ensure_licence
from serving.commands.pack_progress import show_pack
from serving.packs.configured import find_served_packs, open_store
from serving.packs.manifest import Pack
from serving.packs.store import PackStore, PreparedPack
from serving.settings import Settings

Prepared = TypeVar("Prepared")


def prepare_with_progress(settings: Settings, *, accept_licence: bool = False) -> PreparedPack:
    """Every pack that serves made ready, with progress where that takes time; returns the default one."""
    store = open_store(settings)
    packs = find_served_packs(settings)
    prepared = prepare_each(store, packs, store.prepare, accept_licence=accept_licence)
    if settings.liveness.model is not None:
        from serving.commands import liveness_packs  # loads OpenCV and ONNX Runtime

        liveness_packs.prepare_liveness_pack(store, settings, accept_licence=accept_licence)
    return prepared[0]


def prepare_each(
    store: PackStore, packs: Iterable[Pack], prepare: Callable[..., Prepared], *, accept_licence: bool
) -> list[Prepared]:
    """What `prepare`, a method of the store, makes of each pack; with progress where that takes time."""
    prepared = []
    for pack in packs:
        ensure_licence(store, pack, accept=accept_licence)
        if store.is_ready(pack):
            prepared.append(prepare(pack))
            continue
        with show_pack(pack.id) as bar:
            prepared.append(prepare(pack, bar))
    return prepared
