"""Detect and embed apart from any event: nothing is stored, nobody is looked up."""

from __future__ import annotations

import base64
from typing import Annotated, Literal

import numpy as np
from fastapi import APIRouter, Depends, Request, Response

from serving.accounts.identities import Identity, Permission
from serving.api.access import Allowed
from serving.api.bodies import read_pictures
from serving.api.deadlines import DeadlineOf
from serving.api.envelope import find_request_id, problems
from serving.api.face_answers import face_fields, view_failure, view_faults, write_answer
from serving.api.openapi import PICTURE_ERRORS
from serving.api.options import NUMBERS, DetectionOptions, EmbeddingOptions, merge_options, read_query
from serving.api.probes import Probe, Vectors, choose_faces, find_probes, gather_apart
from serving.api.recognition_bodies import DETECTION_EXTRA, EMBEDDING_EXTRA
from serving.api.schemas.recognition import FailedPicture
from serving.api.schemas.stateless import (
    DetectedFace,
    Detection,
    EmbeddedFace,
    EmbeddedPicture,
    Embedding,
)
from serving.api.services import ServicesOf
from serving.api.stage_clock import StageClock
from serving.errors import InvalidRequest, PackMismatch, RollcallError
from serving.vision.pipeline import PictureFaces
from serving.vision.quality_gates import find_faults

router = APIRouter(prefix="/v1", tags=["stateless"])

VECTOR_DECIMALS = 8
"""A float32 below 1 is exact to about 7."""


@router.post(
    "/detect",
    response_model=Detection,
    summary="Find the faces in a picture",
    responses=problems(*PICTURE_ERRORS, PackMismatch),
    openapi_extra=DETECTION_EXTRA,
)
async def detect(
    request: Request,
    services: ServicesOf,
    identity: Annotated[Identity, Depends(Allowed(Permission.analyse))],
    deadline: DeadlineOf,
) -> Response:
    """Where faces are, how sure that is, and how they fall short of a quality level. Nothing is stored."""
    clock = StageClock()
    query = read_query(request, DetectionOptions)
    with services.gate.admit() as admission:
        body = await read_pictures(request, services, admission, deadline, numbers=NUMBERS)
        if len(body.pictures) != 1:
            raise InvalidRequest("send exactly one picture")
        options = merge_options(query, body.fields)
        line = services.lines.of(options.pack_id)
        clock.mark("read")
        found = await line.stages.detect(body.pictures[0], deadline.remaining_s())
        clock.mark("detect")
    faces = choose_faces(found, options.faces)
    request.state.audit_details = {"pictures": 1, "faces": len(faces)}
    timings, headers = clock.finish()
    answer = Detection(
        request_id=find_request_id(request),
        pack_id=line.pack.id,
        width=found.width,
        height=found.height,
        faces=[
            DetectedFace(**face_fields(face), faults=view_faults(find_faults(face.quality, options.quality)))
            for face in faces
        ],
        timings=timings,
    )
    return write_answer(answer, headers)


@router.post(
    "/embed",
    response_model=Embedding,
    summary="Turn faces into vectors",
    responses=problems(*PICTURE_ERRORS, PackMismatch),
    openapi_extra=EMBEDDING_EXTRA,
)
async def embed(
    request: Request,
    services: ServicesOf,
    identity: Annotated[Identity, Depends(Allowed(Permission.analyse))],
    deadline: DeadlineOf,
) -> Response:
    """The vectors of the faces in one or several pictures, each of which fails alone. Nothing is stored.

    Vectors have unit length, so the cosine of two is their dot product. Only vectors of the same `pack_id`
    can be compared.
    """
    clock = StageClock()
    query = read_query(request, EmbeddingOptions)
    clocks: list[StageClock] = []
    with services.gate.admit() as admission:
        body = await read_pictures(request, services, admission, deadline, apart=True, numbers=NUMBERS)
        options = merge_options(query, body.fields)
        line = services.lines.of(options.pack_id)
        clock.mark("read")

        async def look(place: int, picture: bytes) -> tuple[PictureFaces, list[Probe]]:
            if place in body.faults:
                raise body.faults[place]
            own = StageClock()
            clocks.append(own)
            return await find_probes(line, picture, options.faces, options.quality, deadline, own)

        outcomes = await gather_apart(look(*each) for each in enumerate(body.pictures))
        clock.take_slowest(clocks)
    results: list[EmbeddedPicture | FailedPicture] = []
    for outcome in outcomes:
        if isinstance(outcome, RollcallError):
            results.append(view_failure(outcome))
            continue
        found, probes = outcome
        results.append(
            EmbeddedPicture(
                status="ok",
                width=found.width,
                height=found.height,
                faces=[_view_embedded(probe, options.encoding) for probe in probes],
            )
        )
    request.state.audit_details = {"pictures": len(outcomes)}
    timings, headers = clock.finish()
    answer = Embedding(
        request_id=find_request_id(request),
        pack_id=line.pack.id,
        dimension=line.pack.dimension,
        results=results,
        timings=timings,
    )
    return write_answer(answer, headers)


def _view_embedded(probe: Probe, encoding: Literal["json", "base64"]) -> EmbeddedFace:
    return EmbeddedFace(
        **face_fields(probe.face),
        faults=view_faults(probe.faults),
        vector=None if probe.vector is None else _encode(probe.vector, encoding),
    )


def _encode(vector: Vectors, encoding: Literal["json", "base64"]) -> list[float] | str:
    if encoding == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    numbers: list[float] = np.round(vector.astype(np.float64), VECTOR_DECIMALS).tolist()
    return numbers
