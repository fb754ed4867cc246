"""From pictures on disk to facts and vectors, over several processes, resuming where a run was stopped."""

from __future__ import annotations

import hashlib
import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serving.errors import CommandError, EvaluationDataError, RollcallError
from serving.evaluation.fitting import list_versions
from serving.evaluation.people_folder import pick_central_face
from serving.evaluation.result_store import PictureFacts, ResultStore, StoredVector
from serving.packs.loading import load_embedder, load_finder
from serving.packs.store import PreparedFiles
from serving.settings import Settings
from serving.vision.embedding import FaceEmbedder, Vectors
from serving.vision.execution import CPU, Execution
from serving.vision.picture import PictureLimits
from serving.vision.pipeline import FaceFinder
from serving.vision.scales import ScaleMode

Progress = Callable[[int, int], None]
"""Called with what is done and what there is to do."""

_CHUNK = 8
_STALL_S = 3600.0
"""Without a word of any worker: a chunk of the largest pictures takes a minute."""


@dataclass(frozen=True)
class FinderOptions:
    """How faces are looked for and embedded: as the service with these settings does."""

    detection_side_px: int
    scales: ScaleMode
    max_faces: int
    limits: PictureLimits
    execution: Execution = CPU

    @classmethod
    def of(cls, settings: Settings) -> FinderOptions:
        """Those of the settings."""
        picture = settings.picture
        return cls(
            picture.detection_side_px,
            picture.detection_scales,
            picture.max_faces,
            picture.limits,
            settings.make_execution(),
        )

    def load_finder(self, files: PreparedFiles) -> FaceFinder:
        """The finder of a pack that looks so."""
        return load_finder(
            files,
            execution=self.execution,
            max_side_px=self.detection_side_px,
            scales=self.scales,
            max_faces=self.max_faces,
            limits=self.limits,
        )

    @property
    def key(self) -> str:
        """Whatever of it has a say in the numbers; threads and folders have none."""
        where = self.execution
        parts = (self.detection_side_px, self.scales, self.max_faces, self.limits)
        return repr((*parts, where.providers, where.fp16, where.openvino_device))


@dataclass(frozen=True)
class Measured:
    """What one pack said of pictures.

    facts: of each picture. usable: bool [pictures], whether there is a vector. vectors: float32 [usable, D],
    of the usable ones in order. embed_ms: CPU milliseconds of each.
    """

    facts: list[PictureFacts]
    usable: NDArray[np.bool_]
    vectors: Vectors
    embed_ms: NDArray[np.float64]


@dataclass(frozen=True)
class _Job:
    """One group of packs that share a detector, and what is to be found with it."""

    files: tuple[PreparedFiles, ...]
    options: FinderOptions


@dataclass(frozen=True)
class _Task:
    path: Path
    digest: str
    packs: tuple[str, ...]


@dataclass(frozen=True)
class _Found:
    digest: str
    facts: PictureFacts
    vectors: dict[str, StoredVector]


def finder_key(files: PreparedFiles, options: FinderOptions) -> str:
    """Names whatever decides what is found in a picture: models, options, the code that runs them and its
    libraries."""
    pack = files.pack
    parts = (repr(pack.detector), repr(pack.template), options.key)
    return _digest("finder", *parts, _hash_model(files.detector_path), _hash_code(), repr(list_versions()))


def embedder_key(files: PreparedFiles, options: FinderOptions) -> str:
    """As finder_key, for the vectors."""
    parts = (files.pack.id, repr(files.pack.embedder), _hash_model(files.embedder_path))
    return _digest("embedder", *parts, finder_key(files, options))


def measure_pictures(
    pictures: Sequence[Path],
    packs: Sequence[PreparedFiles],
    options: FinderOptions,
    results: ResultStore,
    *,
    workers: int = 1,
    embed: bool = True,
    on_progress: Progress | None = None,
) -> dict[str, Measured]:
    """Find and embed the central face of every picture with every pack, by pack id.

    Packs with the same detector share its work. What is in `results` is not computed again; what is computed
    goes there every few pictures.

    Raises:
        EvaluationDataError: a file cannot be read.
        CommandError: a worker process died, or none of them gets on.
    """
    report = on_progress or (lambda done, total: None)
    digests = [_hash_file(path) for path in pictures]
    groups: dict[str, list[PreparedFiles]] = {}
    for files in packs:
        groups.setdefault(finder_key(files, options), []).append(files)
    total, done = len(groups) * len(pictures), 0
    for key, members in groups.items():
        tasks = []
        keys = {files.pack.id: embedder_key(files, options) for files in members}
        for path, digest in dict(zip(pictures, digests, strict=True)).items():
            task = _plan(path, digest, key, keys if embed else {}, results)
            if task is not None:
                tasks.append(task)
        done += len(pictures) - len(tasks)
        report(done, total)
        for batch in _run(_Job(tuple(members), options), tasks, workers):
            for found in batch:
                results.write_facts(key, found.digest, found.facts)
                for pack_id, vector in found.vectors.items():
                    results.write_vector(keys[pack_id], found.digest, vector)
            results.commit()
            done += len(batch)
            report(done, total)
    return {files.pack.id: _collect(files, digests, options, results) for files in packs}


def _plan(path: Path, digest: str, key: str, wanted: Mapping[str, str], results: ResultStore) -> _Task | None:
    """What is still to be done of a picture, or None; wanted: the packs to embed with and their keys."""
    facts = results.read_facts(key, digest)
    if facts is not None and facts.central is None:
        return None
    missing = tuple(
        pack_id for pack_id, embedder in wanted.items() if not results.has_vector(embedder, digest)
    )
    return _Task(path, digest, missing) if missing or facts is None else None


def _collect(
    files: PreparedFiles, digests: Sequence[str], options: FinderOptions, results: ResultStore
) -> Measured:
    finder, embedder = finder_key(files, options), embedder_key(files, options)
    facts = []
    for digest in digests:
        found = results.read_facts(finder, digest)
        assert found is not None
        facts.append(found)
    vectors = [results.read_vector(embedder, digest) for digest in digests]
    kept = [vector for vector in vectors if vector is not None]
    stacked = (
        np.stack([each.vector for each in kept]) if kept else np.zeros((0, files.pack.dimension), np.float32)
    )
    return Measured(
        facts,
        np.array([vector is not None for vector in vectors], bool),
        stacked,
        np.array([each.cpu_ms for each in kept], np.float64),
    )


def _run(job: _Job, tasks: Sequence[_Task], workers: int) -> Iterator[list[_Found]]:
    chunks = [tasks[start : start + _CHUNK] for start in range(0, len(tasks), _CHUNK)]
    if workers <= 1 or len(chunks) <= 1:
        if chunks:
            bench = _Bench(job)
            for chunk in chunks:
                yield [bench.measure(task) for task in chunk]
        return
    # Spawned, because ONNX Runtime's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(chunks)), context, _start_worker, (job,))
    try:
        waiting = {pool.submit(_measure_chunk, chunk) for chunk in chunks}
        while waiting:
            done, waiting = wait(waiting, _STALL_S, FIRST_COMPLETED)
            if not done:
                for child in multiprocessing.active_children():
                    child.kill()
                raise CommandError(
                    f"no picture was finished in {_STALL_S:.0f} s; what was measured is kept: run the "
                    "command again"
                )
            for future in done:
                yield future.result()
    except BrokenProcessPool as error:
        raise CommandError(
            "a worker process ended before its time (out of memory?); what was measured is kept: run the "
            "command again, with fewer --workers"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class _Bench:
    """The models of one group of packs, loaded once in a process."""

    def __init__(self, job: _Job) -> None:
        self._finder = job.options.load_finder(job.files[0])
        self._embedders: dict[str, FaceEmbedder] = {}
        for files in job.files:
            embedder = load_embedder(files, execution=job.options.execution)
            embedder.warm_up()
            self._embedders[files.pack.id] = embedder
        self._finder.warm_up()

    def measure(self, task: _Task) -> _Found:
        try:
            data = task.path.read_bytes()
        except OSError as error:
            raise EvaluationDataError(f"{task.path} cannot be read: {error}") from error
        started_s = time.process_time()
        (found,) = self._finder.find([data])
        find_ms = (time.process_time() - started_s) * 1e3
        if isinstance(found, RollcallError):
            return _Found(task.digest, PictureFacts(found.code), {})
        central = pick_central_face(found) if found.faces else None
        facts = PictureFacts(
            error=None,
            width=found.width,
            height=found.height,
            faces=tuple(
                (*(round(side, 2) for side in face.box), round(face.detection_score, 4))  # type: ignore[misc]
                for face in found.faces
            ),
            central=None if central is None else next(i for i, f in enumerate(found.faces) if f is central),
            quality=None if central is None else asdict(central.quality),
            find_ms=find_ms,
        )
        vectors = {}
        for pack_id in task.packs if central is not None else ():
            started_s = time.process_time()
            vector = self._embedders[pack_id].embed(central.crop[None])[0]  # type: ignore[union-attr]
            vectors[pack_id] = StoredVector(vector, (time.process_time() - started_s) * 1e3)
        return _Found(task.digest, facts, vectors)


_job: _Job | None = None
_bench: _Bench | None = None


def _start_worker(job: _Job) -> None:
    global _job
    _job = job


def _measure_chunk(tasks: Sequence[_Task]) -> list[_Found]:
    """In a worker: loads the models with the first pictures, so that what fails then is told as it is."""
    global _bench
    if _bench is None:
        assert _job is not None
        _bench = _Bench(_job)
    return [_bench.measure(task) for task in tasks]


def _hash_file(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise EvaluationDataError(f"{path} cannot be read: {error}") from error


@cache
def _hash_model(path: Path) -> str:
    return _hash_file(path)


@cache
def _hash_code() -> str:
    """Hash of the vision package's sources: another release may find other faces with the same models."""
    digest = hashlib.sha256()
    for source in sorted(resources.files("serving.vision").iterdir(), key=lambda item: item.name):
        if source.name.endswith(".py"):
            digest.update(source.read_bytes())
    return digest.hexdigest()


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
