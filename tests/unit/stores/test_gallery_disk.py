"""The embedded gallery on a disk that is full or cannot be written: it refuses, finds, and goes on."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.errors import InternalError, StorageFull
from serving.gallery import Probe
from serving.gallery.embedded import EmbeddedGallery
from tests.chaos.stores import fill_disk, mount_small_disk
from tests.unit.gallery.gallery_faces import face, random_vectors

DISK_MIB = 256
MIN_FREE_BYTES = 64 * 2**20
VECTORS = random_vectors(20, 128, seed=1)


@pytest.fixture
def disk() -> Iterator[Path]:
    with mount_small_disk(DISK_MIB) as disk:
        yield disk


def open_gallery(disk: Path) -> EmbeddedGallery:
    gallery = EmbeddedGallery(disk / "gallery", "test", 128, min_free_bytes=MIN_FREE_BYTES)
    gallery.open()
    return gallery


def store(gallery: EmbeddedGallery, person: str, times: int = 1) -> None:
    for turn in range(times):
        gallery.upsert([face("e", person, f"{turn}-{n}", vector) for n, vector in enumerate(VECTORS)])


def find(gallery: EmbeddedGallery) -> set[str]:
    (hits,) = gallery.search([Probe("e", VECTORS[0], 10)])
    return {hit.person for hit in hits}


def test_a_disk_that_fills_costs_writes_only(disk: Path) -> None:
    gallery = open_gallery(disk)
    store(gallery, "ann")
    ballast = fill_disk(disk, leave_mib=40)
    for _ in range(3):
        with pytest.raises(StorageFull, match="MiB are needed"):
            store(gallery, "bob")
    assert find(gallery) == {"ann"}
    gallery.erase_faces("e", [("ann", "0-0")])  # for which there is room to the last
    assert gallery.count("e") == len(VECTORS) - 1
    with pytest.raises(StorageFull):
        gallery.compact()
    assert gallery.compaction_due
    ballast.unlink()
    last = fill_disk(disk)
    with pytest.raises(StorageFull):
        gallery.erase_person("e", "ann")
    with pytest.raises(InternalError, match="No space left"):
        gallery.flush()  # which the owner tries again each second
    assert find(gallery) == {"ann"}
    assert gallery.check().state == "ready"
    last.unlink()
    gallery.flush()
    store(gallery, "bob")
    assert find(gallery) == {"ann", "bob"}
    gallery.close()
    gallery = open_gallery(disk)
    assert gallery.count("e") == 2 * len(VECTORS) - 1
    gallery.close()


def test_nothing_acknowledged_is_lost_and_a_full_disk_is_not_opened_on(disk: Path) -> None:
    gallery = open_gallery(disk)
    stored = 0
    fill_disk(disk, leave_mib=80)
    while True:
        faces = [face("e", f"p{stored}", str(n), vector) for n, vector in enumerate([*VECTORS] * 10)]
        try:
            gallery.upsert(faces)
        except StorageFull:
            break
        stored += len(faces)
    assert stored > 0
    assert gallery.count("e") == stored
    gallery.close()
    (disk / "ballast").rename(disk / "first")
    ballast = fill_disk(disk)
    with pytest.raises(StorageFull):
        open_gallery(disk)
    ballast.unlink()
    gallery = open_gallery(disk)
    assert gallery.count("e") == stored
    gallery.close()


def test_a_read_only_file_system_is_told(disk: Path) -> None:
    gallery = open_gallery(disk)
    store(gallery, "ann")
    gallery.close()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(Exception, match=r"(?i)read-only"):
        open_gallery(disk)
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    gallery = open_gallery(disk)
    assert find(gallery) == {"ann"}
    gallery.close()
