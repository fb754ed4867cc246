"""From a prepared pack to the objects that run it."""

from __future__ import annotations

from typing import Any

import cv2

from serving.errors import PackError
from serving.packs.store import PreparedFiles
from serving.vision.centerface import CenterFace
from serving.vision.detection import FaceDetector
from serving.vision.embedding import FaceEmbedder
from serving.vision.execution import CPU, Execution
from serving.vision.inference import open_session
from serving.vision.picture import PictureLimits
from serving.vision.pipeline import FaceFinder
from serving.vision.scales import ScaledDetector, ScaleMode, ScalePlan
from serving.vision.scrfd import Scrfd

CPU_DETECTOR_BATCH = 1
"""Pictures in one run of the detector on a CPU; with 8, activations leave the caches: 10 % more CPU."""

GPU_DETECTOR_BATCH = 16
"""Pictures in one run of the detector on anything else."""

EMBEDDER_BATCH = 16
"""Chips in one run of the embedder on a CPU: most of what batching can give there."""

ARCFACE_BATCH = 4
"""The same for ArcFace models, whose activations are larger: in runs of 8 MobileFaceNet takes 10 % more CPU a
chip than in runs of 4, and IResNet the same."""

GPU_EMBEDDER_BATCH = 64
"""Chips in one run of the embedder on anything else."""

_DETECTOR_KINDS = ("centerface", "scrfd")


def load_finder(
    prepared: PreparedFiles,
    *,
    execution: Execution = CPU,
    max_side_px: int = 640,
    scales: ScaleMode = "auto",
    max_faces: int = 256,
    max_batch: int | None = None,
    score_threshold: float | None = None,
    limits: PictureLimits | None = None,
    reduces: bool = True,
) -> FaceFinder:
    """Load the detector and the alignment of a pack.

    OpenCV's thread pool, of which a process has one, is held to the threads of `execution` as well.

    score_threshold None means the pack's own. max_batch None means `CPU_DETECTOR_BATCH` on a CPU and
    `GPU_DETECTOR_BATCH` on anything else. max_side_px, scales and max_faces are those of a `ScalePlan`,
    reduces that of a FaceFinder.

    Raises:
        ProviderUnavailable: what shall run it is not here.
        PackError: the model cannot be loaded, or needs a detector class this version lacks.
    """
    spec = prepared.pack.detector
    if spec.kind not in _DETECTOR_KINDS:
        raise PackError(f"pack {prepared.pack.id} needs a detector of kind {spec.kind!r}")
    # By default OpenCV takes a thread of every core, so replicas would fight over them in each resize.
    cv2.setNumThreads(execution.intra_op_threads)
    session = open_session(prepared.detector_path, execution)
    plan = ScalePlan(
        side_px=max_side_px,
        mode=scales,
        score_threshold=spec.score_threshold if score_threshold is None else score_threshold,
        nms_iou=spec.nms_iou,
        max_faces=max_faces,
    )
    options: dict[str, Any] = {
        "score_threshold": plan.hint_score,
        "nms_iou": spec.nms_iou,
        "max_faces": max_faces,
        "max_batch": max_batch or (CPU_DETECTOR_BATCH if execution.on_cpu else GPU_DETECTOR_BATCH),
    }
    kind = Scrfd if spec.kind == "scrfd" else CenterFace
    detector: FaceDetector = kind(session, **options)
    scaled = ScaledDetector(detector, plan)
    return FaceFinder(
        scaled, prepared.pack.template, limits, reduces=reduces, quality_scale=spec.quality_scale
    )


def load_embedder(
    prepared: PreparedFiles,
    *,
    execution: Execution = CPU,
    max_batch: int | None = None,
) -> FaceEmbedder:
    """Load the embedder of a pack.

    max_batch None means `EMBEDDER_BATCH` or `ARCFACE_BATCH` on a CPU, and `GPU_EMBEDDER_BATCH`
    on anything else, where batches are padded to powers of two.

    Raises:
        ProviderUnavailable: what shall run it is not here.
        PackError: the model cannot be loaded.
    """
    spec = prepared.pack.embedder
    cpu_batch = ARCFACE_BATCH if spec.artefact.conversion == "arcface" else EMBEDDER_BATCH
    session = open_session(prepared.embedder_path, execution)
    return FaceEmbedder(
        session,
        size_px=spec.size_px,
        mean=spec.mean,
        scale=spec.scale,
        mirrored=spec.mirrored,
        channels=spec.channels,
        dimension=prepared.pack.dimension,
        max_batch=max_batch or (cpu_batch if execution.on_cpu else GPU_EMBEDDER_BATCH),
        few_shapes=not execution.on_cpu,
    )
