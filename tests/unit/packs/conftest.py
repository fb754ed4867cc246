"""The store and the starter variants, as the tests of the packs use them."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import pytest

from serving.packs.catalogue import PACKS, find_pack
from serving.packs.conversions import find_conversion
from serving.packs.store import PackStore, PreparedFiles, PreparedPack

cv2.setNumThreads(1)


@pytest.fixture(scope="session")
def pack_store() -> PackStore:
    return PackStore(Path(os.environ.get("ROLLCALL_CACHE_DIR", "~/.cache/rollcall")))


@pytest.fixture(scope="session")
def prepared(pack_store: PackStore) -> dict[str, PreparedPack]:
    """Every variant of the starter pack, by id."""
    return {name: pack_store.prepare(pack) for name, pack in PACKS.items()}


@pytest.fixture(scope="session")
def dlib_bytes(pack_store: PackStore, prepared: dict[str, PreparedPack]) -> bytes:
    """The .dat file that the embedder is made from."""
    source = find_pack("starter").embedder.artefact.source
    return (pack_store.directory / "sources" / f"{source.sha256[:12]}-{Path(source.path).name}").read_bytes()


@pytest.fixture(scope="session")
def buffalo(shared_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> PreparedFiles:
    """The real InsightFace pair, SCRFD-500M and MobileFaceNet in int8, converted as its manifest says."""
    pack, directory = find_pack("buffalo_sc-int8"), tmp_path_factory.mktemp("buffalo")
    for artefact in pack.artefacts:
        source = (shared_dir / "models" / artefact.source.name).read_bytes()
        (directory / artefact.name).write_bytes(find_conversion(artefact.conversion).convert(source))
    paths = (directory / artefact.name for artefact in pack.artefacts)
    return PreparedFiles(pack, directory, *paths)
