"""The same work in one process: what a recognition costs without HTTP, Ray or other processes."""

from __future__ import annotations

import itertools
import multiprocessing
import time
from collections.abc import Sequence
from pathlib import Path

from serving.gallery.embedded import EmbeddedGallery
from serving.gallery.records import Probe
from serving.packs.configured import prepare_pack
from serving.packs.loading import load_embedder, load_finder
from serving.settings import Settings
from serving.vision.pipeline import FacePipeline


def load_pipeline(settings: Settings) -> FacePipeline:
    """The configured pack as one in-process object."""
    prepared = prepare_pack(settings)
    execution = settings.make_execution()
    finder = load_finder(
        prepared,
        execution=execution,
        max_side_px=settings.picture.detection_side_px,
        scales=settings.picture.detection_scales,
        max_faces=settings.picture.max_faces,
        limits=settings.picture.limits,
    )
    return FacePipeline(finder, load_embedder(prepared, execution=execution))


def measure_in_process(
    settings: Settings,
    pictures: Sequence[bytes],
    gallery_dir: Path,
    event_key: str,
    duration_s: float,
    workers: int,
) -> tuple[float, float]:
    """CPU milliseconds of one recognition, and recognitions per second of all workers.

    Each worker is a process with one thread that decodes, detects, aligns, embeds, searches and decides, one
    picture after another; as many as the machine has cores, so that they share caches and memory
    as the service's stages do.

    Args:
        gallery_dir: holds an embedded gallery for each worker, `worker-0` and so on.
    """
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(workers)
    with context.Pool(workers, initializer=_keep_barrier, initargs=(barrier,)) as pool:
        jobs = [
            (settings, list(pictures), gallery_dir / f"worker-{place}", event_key, duration_s)
            for place in range(workers)
        ]
        results = pool.starmap(_work, jobs, chunksize=1)
    cpu_s = sum(cpu for cpu, _ in results)
    count = sum(done for _, done in results)
    return cpu_s / count * 1000, count / duration_s


def _keep_barrier(barrier: object) -> None:
    globals()["_barrier"] = barrier


def _work(
    settings: Settings, pictures: list[bytes], directory: Path, event_key: str, duration_s: float
) -> tuple[float, int]:
    pipeline = load_pipeline(settings)
    prepared = prepare_pack(settings)
    pack, calibration = prepared.pack, prepared.calibration
    gallery = EmbeddedGallery(directory, pack.id, pack.dimension)
    gallery.open()
    turn = itertools.cycle(pictures)

    def recognise(picture: bytes) -> int:
        faces = pipeline.recognise([picture])[0]
        assert isinstance(faces, list), faces
        hits = gallery.search([Probe(event_key, vector, 1) for _, vector in faces])
        return sum(calibration.false_match_rate(found[0].cosine) < 1e-3 for found in hits if found)

    for _ in range(8):
        recognise(next(turn))
    globals()["_barrier"].wait()
    began, began_cpu, count = time.monotonic(), time.process_time(), 0
    while time.monotonic() - began < duration_s:
        recognise(next(turn))
        count += 1
    used = time.process_time() - began_cpu
    gallery.close()
    return used, count
