"""The starter pack's models, as the tests of the vision package use them."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import pytest

from serving.packs.catalogue import find_pack
from serving.packs.loading import load_embedder, load_finder
from serving.packs.store import PackStore
from serving.vision.pipeline import FacePipeline

cv2.setNumThreads(1)


@pytest.fixture(scope="session")
def pack_store() -> PackStore:
    return PackStore(Path(os.environ.get("ROLLCALL_CACHE_DIR", "~/.cache/rollcall")))


@pytest.fixture(scope="session")
def pipelines(pack_store: PackStore) -> dict[str, FacePipeline]:
    """A pipeline per precision, not mirrored."""
    prepared = {name: pack_store.prepare(find_pack("starter", name, False)) for name in ("fp32", "int8")}
    return {name: FacePipeline(load_finder(one), load_embedder(one)) for name, one in prepared.items()}


@pytest.fixture(scope="session")
def pipeline(pipelines: dict[str, FacePipeline]) -> FacePipeline:
    return pipelines["fp32"]
