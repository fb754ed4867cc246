"""The embedded engine, in this process."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from serving.gallery import Gallery
from serving.gallery.embedded import EmbeddedGallery, InProcessGallery
from tests.unit.gallery.gallery_contract import DIMENSION, GalleryContract, World


class TestEmbedded(GalleryContract):
    @pytest.fixture
    async def world(self, tmp_path: Path) -> AsyncIterator[World]:
        gallery = InProcessGallery(EmbeddedGallery(tmp_path, "test", DIMENSION))
        await gallery.open()

        async def reopen() -> Gallery:
            await gallery.close()
            gallery.core = EmbeddedGallery(tmp_path, "test", DIMENSION)
            await gallery.open()
            return gallery

        yield World(gallery, reopen)
        await gallery.close()
