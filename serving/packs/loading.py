"""From a prepared pack to the objects that run it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2

from serving.errors import PackError
from serving.packs.store import PreparedFiles
from serving.vision.centerface import CenterFace
from serving.vision.embedding import FaceEmbedder
from serving.vision.inference import CPU_PROVIDERS, open_session
from serving.vision.picture import PictureLimits
from serving.vision.pipeline import FaceFinder

CPU_DETECTOR_BATCH = 1
"""Pictures in one run of the detector on a CPU; with 8, activations leave the caches: 10 % more CPU."""

Providers = Sequence[str | tuple[str, dict[str, Any]]]


def load_finder(
    prepared: PreparedFiles,
    *,
    providers: Providers = CPU_PROVIDERS,
    intra_op_threads: int = 1,
    max_side_px: int = 640,
    max_faces: int = 256,
    max_batch: int | None = None,
    score_threshold: float | None = None,
    limits: PictureLimits | None = None,
) -> FaceFinder:
    """Load the detector and the alignment of a pack.

    OpenCV's thread pool, of which a process has one, is held to intra_op_threads as well.

    score_threshold None means the pack's own. max_batch None means `CPU_DETECTOR_BATCH` on a CPU and 16 on
    anything else. See CenterFace for the other arguments.

    Raises:
        ConfigurationError: a provider is not available.
        PackError: the model cannot be loaded, or needs a detector class this version lacks.
    """
    spec = prepared.pack.detector
    if spec.kind != "centerface":
        raise PackError(f"pack {prepared.pack.id} needs a detector of kind {spec.kind!r}")
    # By default OpenCV takes a thread of every core, so replicas would fight over them in each resize.
    cv2.setNumThreads(intra_op_threads)
    session = open_session(prepared.detector_path, providers, intra_op_threads)
    detector = CenterFace(
        session,
        score_threshold=spec.score_threshold if score_threshold is None else score_threshold,
        nms_iou=spec.nms_iou,
        max_side_px=max_side_px,
        max_faces=max_faces,
        max_batch=max_batch or (CPU_DETECTOR_BATCH if tuple(providers) == CPU_PROVIDERS else 16),
    )
    return FaceFinder(detector, prepared.pack.template, limits)


def load_embedder(
    prepared: PreparedFiles,
    *,
    providers: Providers = CPU_PROVIDERS,
    intra_op_threads: int = 1,
    max_batch: int = 16,
) -> FaceEmbedder:
    """Load the embedder of a pack.

    Raises:
        ConfigurationError: a provider is not available.
        PackError: the model cannot be loaded.
    """
    spec = prepared.pack.embedder
    session = open_session(prepared.embedder_path, providers, intra_op_threads)
    return FaceEmbedder(
        session,
        size_px=spec.size_px,
        mean=spec.mean,
        scale=spec.scale,
        mirrored=spec.mirrored,
        dimension=prepared.pack.dimension,
        max_batch=max_batch,
    )
