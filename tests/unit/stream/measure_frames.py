"""CPU of a frame with one face: what finding, following and looking up each cost, on one thread.

python -m tests.unit.stream.measure_frames
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from serving.api.stream.tracks import Tracker
from serving.packs.catalogue import find_pack
from serving.packs.loading import load_embedder, load_finder
from serving.packs.samples import prepare_samples
from serving.packs.store import PackStore
from serving.vision.pipeline import PictureFaces
from tests.unit.stream.films import read_person, show

ROUNDS = 40


def measure(work: Callable[[], object]) -> float:
    """Median CPU milliseconds of this process for one call."""
    work()
    spent = []
    for _ in range(ROUNDS):
        began = time.process_time()
        work()
        spent.append((time.process_time() - began) * 1000)
    return float(np.median(spent))


def main() -> None:
    """Print the table."""
    cv2.setNumThreads(1)
    prepared = PackStore(Path("~/.cache/rollcall")).prepare(find_pack("starter"))
    finder, embedder = load_finder(prepared), load_embedder(prepared)
    with tempfile.TemporaryDirectory() as folder:
        guest = read_person(prepare_samples(Path(folder))["guest"], 260)
    frame = cv2.cvtColor(show((guest, (320, 180))), cv2.COLOR_RGB2BGR)
    jpeg = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
    [found] = finder.find([jpeg])
    assert isinstance(found, PictureFaces)
    crops = np.stack([face.crop for face in found.faces])
    tracker = Tracker(1.0)
    [track] = tracker.settle(tracker.match(found.faces, 0.0), {}, 0.9)
    track.vector = embedder.embed(crops)[0]
    find_ms = measure(lambda: finder.find([jpeg]))
    follow_ms = measure(lambda: tracker.settle(tracker.match(found.faces, 0.1), {}, 0.9))
    embed_ms = measure(lambda: embedder.embed(crops))
    print(f"find {find_ms:.1f} ms, follow {follow_ms:.2f} ms, embed {embed_ms:.1f} ms of CPU")
    followed_ms = find_ms + follow_ms
    print(f"a followed frame {followed_ms:.1f} ms, a recognised one {followed_ms + embed_ms:.1f} ms")


if __name__ == "__main__":
    main()
