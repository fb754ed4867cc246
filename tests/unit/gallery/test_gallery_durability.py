"""The embedded engine's files: ownership, creation, kill -9, and what is left of an erased face."""

import json
import os
import random
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from serving.errors import ConfigurationError, InternalError, StageUnavailable
from serving.gallery import Probe
from serving.gallery.embedded import EmbeddedGallery
from serving.gallery.shard_files import create_whole
from tests.unit.gallery.gallery_faces import face, random_vectors

DIMENSION = 32
COLLECTION = f"faces__test__{DIMENSION}"
BATCH = 7

WRITER = """
import json, sys
import numpy as np
from serving.gallery.embedded import EmbeddedGallery
from serving.gallery.records import FaceRecord

directory, batch, first = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
gallery = EmbeddedGallery(directory, "test", 32, lock_wait_s=10)
gallery.open()
for step in range(first, 10**9):
    rows = np.random.default_rng(step).normal(size=(batch, 32)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    gallery.upsert([FaceRecord("e", f"p{step}", str(i), row, 0.0) for i, row in enumerate(rows)])
    if step % 5 == 4:
        gallery.erase_person("e", f"p{step - 2}")
    if step % 50 == 49:
        gallery.flush()
    print(json.dumps(step), flush=True)
"""


@pytest.fixture
def gallery(tmp_path: Path) -> EmbeddedGallery:
    return EmbeddedGallery(tmp_path, "test", DIMENSION)


def batch_vectors(step: int) -> np.ndarray:
    return random_vectors(BATCH, DIMENSION, seed=step)


def test_nothing_acknowledged_is_lost_when_the_owner_is_killed(tmp_path: Path) -> None:
    acknowledged = -1
    pause = random.Random(7)
    for _ in range(5):
        arguments = [sys.executable, "-c", WRITER, str(tmp_path), str(BATCH), str(acknowledged + 1)]
        writer = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        acknowledged = json.loads(writer.stdout.readline())
        time.sleep(pause.uniform(0.0, 0.4))
        os.kill(writer.pid, signal.SIGKILL)
        # The last line may be cut off: then it was never acknowledged.
        acknowledged = max(
            [acknowledged, *(json.loads(line) for line in writer.stdout if line.endswith("\n"))]
        )
        writer.wait()
    gallery = EmbeddedGallery(tmp_path, "test", DIMENSION, lock_wait_s=10)
    gallery.open()
    assert acknowledged >= 10
    for step in range(acknowledged + 1):
        # Erased two steps later, if that later step was acknowledged.
        erased = step % 5 == 2 and step + 2 <= acknowledged
        if erased or step % 5 != 2:
            assert gallery.count("e", f"p{step}") == (0 if erased else BATCH), step
    probes = [Probe("e", batch_vectors(step)[0], 1) for step in range(acknowledged + 1) if step % 5 != 2]
    best = [hits[0].cosine for hits in gallery.search(probes)]
    assert min(best) == pytest.approx(1.0, abs=2e-6)
    gallery.close()


def test_a_second_owner_is_refused_while_the_first_lives(gallery: EmbeddedGallery, tmp_path: Path) -> None:
    gallery.open()
    second = EmbeddedGallery(tmp_path, "test", DIMENSION, lock_wait_s=0.1)
    with pytest.raises(ConfigurationError, match=f"in use by process {os.getpid()}"):
        second.open()
    other_pack = EmbeddedGallery(tmp_path, "other", DIMENSION)
    other_pack.open()
    other_pack.close()
    gallery.close()
    second.open()
    second.close()


def test_a_closed_gallery_is_unavailable(gallery: EmbeddedGallery) -> None:
    with pytest.raises(StageUnavailable):
        gallery.check()
    gallery.open()
    gallery.open()
    gallery.close()
    gallery.close()
    with pytest.raises(StageUnavailable):
        gallery.count("e")


def test_a_crash_during_creation_leaves_no_half_made_collection(
    gallery: EmbeddedGallery, tmp_path: Path
) -> None:
    draft = tmp_path / f"{COLLECTION}.new"
    (draft / "segments" / "torn").mkdir(parents=True)
    (draft / "edge_config.json").write_text("{")
    gallery.open()
    assert not draft.exists()
    gallery.upsert([face("e", "ann", "1", batch_vectors(0)[0])])
    assert gallery.count("e") == 1
    gallery.close()


def test_create_whole_is_all_or_nothing(tmp_path: Path) -> None:
    def fail(draft: Path) -> None:
        (draft / "half").touch()
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        create_whole(tmp_path / "made", fail)
    assert not (tmp_path / "made").exists()
    create_whole(tmp_path / "made", lambda draft: (draft / "whole").touch())
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["whole"]


def test_a_collection_of_another_dimension_is_refused(gallery: EmbeddedGallery, tmp_path: Path) -> None:
    gallery.open()
    gallery.upsert([face("e", "ann", "1", batch_vectors(0)[0])])
    gallery.close()
    (tmp_path / COLLECTION).rename(tmp_path / "faces__test__16")
    with pytest.raises(ConfigurationError, match="16-D"):
        EmbeddedGallery(tmp_path, "test", 16).open()
    # The refusal let the directory go.
    (tmp_path / "faces__test__16").rename(tmp_path / COLLECTION)
    gallery.open()
    assert gallery.count("e") == 1
    gallery.close()


def test_a_directory_that_cannot_be_made_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="cannot be used"):
        EmbeddedGallery(tmp_path / "file" / "below", "test", DIMENSION).open()


def test_damaged_files_are_an_internal_error(gallery: EmbeddedGallery, tmp_path: Path) -> None:
    gallery.open()
    gallery.upsert([face("e", "ann", "1", batch_vectors(0)[0])])
    gallery.close()
    for path in (tmp_path / COLLECTION / "segments").glob("*/segment.json"):
        path.write_bytes(b"{")
    with pytest.raises(InternalError):
        gallery.open()


def traces(directory: Path, vector: np.ndarray, *names: str) -> set[str]:
    """Return which kinds of trace of a face are in the files.

    Segments hold vectors as little-endian float32, the log as CBOR: 0xfa and a big-endian float32 each.
    """
    kinds = {
        "segment": vector[:4].astype("<f4").tobytes(),
        "log": b"".join(b"\xfa" + struct.pack(">f", value) for value in vector[:4]),
        **{name: name.encode() for name in names},
    }
    contents = [path.read_bytes() for path in directory.rglob("*") if path.is_file()]
    return {kind for kind, needle in kinds.items() if any(needle in content for content in contents)}


def test_compaction_removes_every_byte_of_erased_faces(gallery: EmbeddedGallery, tmp_path: Path) -> None:
    gallery.open()
    vectors = random_vectors(400, DIMENSION, seed=3)
    faces = [face("event-a", f"person-{i:03}", f"picture-{i:03}", row) for i, row in enumerate(vectors)]
    faces[7] = face("event-b", "person-007", "picture-007", vectors[7])
    gallery.upsert(faces)
    gallery.upsert([face("event-a", "person-005", "picture-005", vectors[6])])
    gallery.flush()
    everything = {"segment", "log", "person-003", "picture-003"}
    assert traces(tmp_path, vectors[3], "person-003", "picture-003") == everything
    assert not gallery.compaction_due

    gallery.erase_person("event-a", "person-003")
    gallery.erase_faces("event-a", [("person-004", "picture-004")])
    gallery.erase_event("event-b")
    assert gallery.compaction_due
    assert gallery.count("event-a", "person-003") == 0
    # This is why there is a compaction: erased is not gone.
    assert {"segment", "log"} <= traces(tmp_path, vectors[3])
    gallery.close()

    gallery.open()
    assert gallery.compaction_due, "the debt must survive a restart"
    gallery.compact()
    assert not gallery.compaction_due
    assert traces(tmp_path, vectors[3], "person-003", "picture-003") == set()
    assert traces(tmp_path, vectors[4], "person-004", "picture-004") == set()
    assert traces(tmp_path, vectors[7], "person-007", "picture-007", "event-b") == set()
    assert traces(tmp_path, vectors[5]) == set(), "a replaced vector must go as well"
    assert traces(tmp_path, vectors[8], "person-008") == {"segment", "person-008"}

    probe = Probe("event-a", vectors[8], 1)
    assert gallery.search([probe])[0][0].person == "person-008"
    gallery.upsert([face("event-a", "late", "1", vectors[3])])
    gallery.close()
    gallery.open()
    assert gallery.count("event-a") == 400 - 3 + 1, "writes after a compaction must survive a restart"
    assert gallery.search([Probe("event-a", vectors[3], 1)])[0][0].person == "late"
    gallery.close()


def test_an_empty_gallery_can_be_compacted(gallery: EmbeddedGallery) -> None:
    gallery.open()
    gallery.erase_event("e")
    gallery.compact()
    assert gallery.check().faces == 0
    gallery.upsert([face("e", "ann", "1", batch_vectors(0)[0])])
    gallery.close()
    gallery.open()
    assert gallery.count("e") == 1
    gallery.close()
