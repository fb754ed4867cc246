"""The liveness models that only some machines have, put into the model cache of the tests."""

from __future__ import annotations

import os
from pathlib import Path

from serving.packs.configured import open_store
from serving.packs.liveness import find_liveness_pack
from serving.packs.liveness_folder import LivenessFolder, add_liveness_pack
from serving.settings import load_settings

PACK_ID = "minifasnet"


def add_liveness_models(repository: Path) -> str | None:
    """The id of a liveness pack that is ready to serve; None where its files are not at hand."""
    shared = Path(os.environ.get("ROLLCALL_SHARED_DIR", repository.parent / "shared"))
    pack, store = find_liveness_pack(PACK_ID), open_store(load_settings())
    if not all((shared / "models" / artefact.source.name).is_file() for artefact in pack.artefacts):
        return None
    if not store.is_ready(pack):
        add_liveness_pack(store, LivenessFolder(pack, shared / "models"))
    return PACK_ID
