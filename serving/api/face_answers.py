"""The one place where faces, their faults and the problems of pictures become answers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import Response
from pydantic import BaseModel

from serving.api.envelope import logger
from serving.api.schemas.base import Box, Landmarks
from serving.api.schemas.faces import FaceView, FaultView, LivenessView, ProblemView, QualityView
from serving.api.schemas.recognition import FailedPicture
from serving.errors import ALL_ERRORS, InternalError, RollcallError, StageUnavailable
from serving.vision.liveness_modes import Liveness, LivenessStatus
from serving.vision.pipeline import Face
from serving.vision.quality import FaceQuality
from serving.vision.quality_gates import Fault


def view_box(box: tuple[float, float, float, float]) -> Box:
    """A box (x, y, width, height), to a tenth of a pixel."""
    x, y, width, height = box
    return Box(x=round(x, 1), y=round(y, 1), width=round(width, 1), height=round(height, 1))


def view_quality(quality: FaceQuality) -> QualityView:
    """The measures, with as many digits as they are worth."""
    return QualityView(
        face_px=round(quality.face_px, 1),
        sharpness=round(quality.sharpness, 3),
        brightness=round(quality.brightness, 1),
        contrast=round(quality.contrast, 1),
        yaw_degrees=round(quality.yaw_degrees, 1),
        pitch_degrees=round(quality.pitch_degrees, 1),
        roll_degrees=round(quality.roll_degrees, 1),
        cut_fraction=round(quality.cut_fraction, 3),
    )


def view_liveness(liveness: Liveness | None, *, sees_score: bool) -> LivenessView:
    """What is known of a face; its score only to whom it may be told: it would show how near a spoof came."""
    if liveness is None:
        return LivenessView(status=LivenessStatus.not_checked, score=None, threshold=None)
    score = None if liveness.score is None or not sees_score else round(liveness.score, 4)
    return LivenessView(status=liveness.status, score=score, threshold=liveness.threshold)


def face_fields(face: Face, *, sees_score: bool = False) -> dict[str, Any]:
    """The fields of `FaceView`, for it and what is derived from it.

    Args:
        sees_score: whether the caller may see how probably the face is live.
    """
    left_eye, right_eye, nose, left_mouth, right_mouth = (
        (round(x, 1), round(y, 1)) for x, y in face.landmarks.tolist()
    )
    return {
        "box": view_box(face.box),
        "landmarks": Landmarks(
            left_eye=left_eye,
            right_eye=right_eye,
            nose=nose,
            left_mouth=left_mouth,
            right_mouth=right_mouth,
        ),
        "detection_score": face.detection_score,
        "quality": view_quality(face.quality),
        "liveness": view_liveness(face.liveness, sees_score=sees_score),
    }


def view_face(face: Face, *, sees_score: bool = False) -> FaceView:
    """A face by itself; see `face_fields`."""
    return FaceView(**face_fields(face, sees_score=sees_score))


def view_faults(faults: Iterable[Fault]) -> list[FaultView]:
    """What is wrong with a face."""
    return [
        FaultView(reason=fault.reason, value=fault.value, limit=fault.limit, hint=fault.hint)
        for fault in faults
    ]


def view_problem(error: RollcallError) -> ProblemView:
    """What went wrong with one picture; of faults of ours only that they happened."""
    if type(error) not in ALL_ERRORS or isinstance(error, (InternalError, StageUnavailable)):
        logger.error("one picture of several: %s: %s", error.code, error.detail)
        error = type(error)() if type(error) in ALL_ERRORS else InternalError()
    return ProblemView(
        code=error.code, title=error.title, detail=error.detail, cure=error.cure, context=error.context
    )


def view_failure(error: RollcallError) -> FailedPicture:
    """The place of a picture that could not be answered."""
    return FailedPicture(problem=view_problem(error))


def write_answer(answer: BaseModel, clock_headers: dict[str, str]) -> Response:
    """`answer` as it is: FastAPI would validate it all a second time."""
    return Response(answer.model_dump_json(), media_type="application/json", headers=clock_headers)
