"""Recognition: every face of a picture, and who of the event it is."""

from __future__ import annotations

import time
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Depends, Query, Request, Response

from serving.accounts.identities import Permission
from serving.api.access import AllowedAtEvent
from serving.api.bodies import read_pictures
from serving.api.deadlines import DeadlineOf
from serving.api.envelope import find_request_id, problems
from serving.api.openapi import PICTURE_ERRORS, RECOGNITION_BODY
from serving.api.people import view_box
from serving.api.schemas.base import Landmarks
from serving.api.schemas.recognition import CandidateView, RecognisedFace, Recognition
from serving.api.services import Services, ServicesOf
from serving.errors import InvalidRequest, PackMismatch, UnknownEvent
from serving.graph.messages import Decision
from serving.registry.records import Event
from serving.vision.pipeline import Face

SPARE_CANDIDATES = 3
"""Asked for beyond `top_k`, so that one whom the registry does not know hides nobody behind them."""

router = APIRouter(prefix="/v1/events/{event}", tags=["recognition"])


@router.post(
    "/recognise",
    response_model=Recognition,
    summary="Recognise every face in a picture",
    responses=problems(*PICTURE_ERRORS, UnknownEvent, PackMismatch),
    openapi_extra={"requestBody": RECOGNITION_BODY},
)
async def recognise(
    request: Request,
    services: ServicesOf,
    event: Annotated[Event, Depends(AllowedAtEvent(Permission.recognise))],
    deadline: DeadlineOf,
    top_k: Annotated[int | None, Query(ge=1, description="Candidates wanted for each face.")] = None,
    threshold: Annotated[
        float | None,
        Query(ge=-1, le=1, description="Raw cosine at or above which it is a match, for this request."),
    ] = None,
) -> Response:
    """Who is in the picture, among the people enrolled at this event, how sure, and `unknown` when nobody is.

    Send the picture as a raw image body, as a multipart form, or as JSON with base64. A picture without a
    face is answered with an empty list. The `Server-Timing` header says where the time went.
    """
    top_k = services.settings.recognition.top_k if top_k is None else top_k
    if top_k > services.settings.recognition.max_top_k:
        raise InvalidRequest(f"top_k is {top_k}", max_top_k=services.settings.recognition.max_top_k)
    threshold = services.threshold_for(event, threshold)
    clock = StageClock()
    with services.gate.admit() as admission:
        body = await read_pictures(request, services, admission, deadline)
        if len(body.pictures) != 1 or body.fields:
            raise InvalidRequest("send exactly one picture and no other field")
        clock.mark("read")
        found = await services.stages.detect(body.pictures[0], deadline.remaining_s())
        clock.mark("detect")
        answered: list[RecognisedFace] = []
        if found.faces:
            crops = np.stack([face.crop for face in found.faces])
            vectors = await services.stages.embed(crops, deadline.remaining_s())
            clock.mark("embed")
            decisions = await services.stages.search(
                event.key, vectors, top_k + SPARE_CANDIDATES, threshold, deadline.remaining_s()
            )
            clock.mark("match")
            answered = await _answer_faces(services, event, found.faces, decisions, top_k, threshold)
            clock.mark("names")
    answer = Recognition(
        request_id=find_request_id(request),
        event_id=event.id,
        pack_id=services.pack.id,
        threshold=threshold,
        width=found.width,
        height=found.height,
        faces=answered,
    )
    # Written out here, since FastAPI would validate it all a second time.
    return Response(
        answer.model_dump_json(),
        media_type="application/json",
        headers={"Server-Timing": clock.header()},
    )


class StageClock:
    """Wall time between marks, for the `Server-Timing` header (W3C)."""

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self._marks: list[tuple[str, float]] = []

    def mark(self, name: str) -> None:
        """End the part that began at the last mark."""
        now = time.perf_counter()
        self._marks.append((name, (now - self._last) * 1000))
        self._last = now

    def header(self) -> str:
        """For example `read;dur=1.2, detect;dur=31.0`, in milliseconds."""
        return ", ".join(f"{name};dur={duration_ms:.1f}" for name, duration_ms in self._marks)


async def _answer_faces(
    services: Services,
    event: Event,
    faces: list[Face],
    decisions: list[Decision],
    top_k: int,
    threshold: float,
) -> list[RecognisedFace]:
    """The faces with the people's names.

    People whom the registry does not know are left out: erased since the search, or not confirmed yet.
    """
    wanted = {candidate.person_id for decision in decisions for candidate in decision.candidates}
    names = await services.registry.names_of(event.key, wanted) if wanted else {}
    return [
        _answer_face(face, decision, names, top_k, threshold)
        for face, decision in zip(faces, decisions, strict=True)
    ]


def _answer_face(
    face: Face, decision: Decision, names: dict[str, str | None], top_k: int, threshold: float
) -> RecognisedFace:
    candidates = [
        CandidateView(
            person_id=candidate.person_id,
            name=names[candidate.person_id],
            face_id=candidate.face_id,
            cosine=candidate.cosine,
            false_match_rate=candidate.false_match_rate,
        )
        for candidate in decision.candidates
        if candidate.person_id in names
    ][:top_k]
    # The matcher's decision stands, unless the person it names is not known any more.
    matched = decision.matched and bool(candidates) and candidates[0].cosine >= threshold
    points = [(round(float(x), 1), round(float(y), 1)) for x, y in face.landmarks]
    return RecognisedFace(
        box=view_box(face.box),
        landmarks=Landmarks(
            left_eye=points[0],
            right_eye=points[1],
            nose=points[2],
            left_mouth=points[3],
            right_mouth=points[4],
        ),
        detection_score=face.detection_score,
        outcome="match" if matched else "unknown",
        person=candidates[0] if matched else None,
        candidates=candidates,
    )
