"""Compare faces apart from any event: two pictures, or a query against references; nothing is stored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Depends, Request, Response

from serving.accounts.identities import Identity, Permission
from serving.api.access import Allowed
from serving.api.admission import Admission
from serving.api.bodies import decode_picture_text, read_body, read_pictures
from serving.api.deadlines import Deadline, DeadlineOf
from serving.api.envelope import find_request_id, problems
from serving.api.face_answers import view_face, view_problem, write_answer
from serving.api.json_body import parse_json
from serving.api.json_size import MAX_PICTURE_VALUES
from serving.api.openapi import PICTURE_ERRORS
from serving.api.options import NUMBERS, ComparisonOptions, merge_options, read_query
from serving.api.policies import decide_alone
from serving.api.probes import Vectors, embed_faces, find_single_face, gather_apart
from serving.api.recognition_bodies import COMPARISON_EXTRA
from serving.api.schemas.recognition import MAX_VECTORS, Vector
from serving.api.schemas.stateless import (
    ComparedReference,
    Comparison,
    ComparisonRequest,
    FailedReference,
    Sample,
)
from serving.api.services import Services, ServicesOf
from serving.api.stage_clock import StageClock
from serving.api.vectors import normalise_vectors
from serving.errors import (
    FalseMatchRateNotSupported,
    InvalidRequest,
    NoFace,
    PackMismatch,
    QualityTooLow,
    RollcallError,
    SeveralFaces,
)
from serving.graph.lines import ServedPack
from serving.vision.picture import read_header
from serving.vision.pipeline import Face

router = APIRouter(prefix="/v1", tags=["stateless"])


@dataclass(slots=True)
class Side:
    """The query or a reference: a picture or a vector as it was sent, and what became of it."""

    id: str | None = None
    picture: bytes | None = None
    face: Face | None = None
    vector: Vectors | None = None
    error: RollcallError | None = None


@router.post(
    "/compare",
    response_model=Comparison,
    summary="Compare two faces, or one with several",
    responses=problems(
        *PICTURE_ERRORS, NoFace, SeveralFaces, QualityTooLow, PackMismatch, FalseMatchRateNotSupported
    ),
    openapi_extra=COMPARISON_EXTRA,
)
async def compare(
    request: Request,
    services: ServicesOf,
    identity: Annotated[Identity, Depends(Allowed(Permission.analyse))],
    deadline: DeadlineOf,
) -> Response:
    """How alike a face is to others, best first. Nothing is stored.

    Send two pictures or more, the first to be compared with each of the others; or, in JSON, `query` and
    `references`, each a picture or a vector. Of each picture one face counts. A reference that cannot be
    used is told in `failed`, unless none is left.
    """
    clock = StageClock()
    query = read_query(request, ComparisonOptions)
    with services.gate.admit() as admission:
        if request.headers.get("content-type", "").split(";")[0].strip().lower() == "application/json":
            options, sides = await _read_json_sides(request, services, admission, deadline, query)
        else:
            body = await read_pictures(request, services, admission, deadline, apart=True, numbers=NUMBERS)
            options = merge_options(query, body.fields)
            sides = [
                Side(picture=picture, error=body.faults.get(place))
                for place, picture in enumerate(body.pictures)
            ]
        if len(sides) < 2:
            raise InvalidRequest("send two pictures or more, or JSON with a query and references")
        line = services.lines.of(options.pack_id)
        threshold = decide_alone(options.policy, line.calibration, line.threshold)
        clock.mark("read")
        await _find_faces(line, sides, options, deadline)
        clock.mark("detect")
        await _embed(line, sides, deadline)
        clock.mark("embed")
    asked, references = sides[0], sides[1:]
    results = _rank(line, asked, references, threshold, options)
    clock.mark("match")
    request.state.audit_details = {"references": len(references)}
    timings, headers = clock.finish()
    answer = Comparison(
        request_id=find_request_id(request),
        pack_id=line.pack.id,
        dimension=line.pack.dimension,
        metric=options.metric,
        threshold=threshold,
        query_face=None if asked.face is None else view_face(asked.face),
        best=results[0],
        results=results,
        failed=[
            FailedReference(index=place, id=side.id, problem=view_problem(side.error))
            for place, side in enumerate(references)
            if side.error is not None
        ],
        timings=timings,
    )
    return write_answer(answer, headers)


async def _read_json_sides(
    request: Request, services: Services, admission: Admission, deadline: Deadline, query: ComparisonOptions
) -> tuple[ComparisonOptions, list[Side]]:
    """Options and sides of a JSON body, the query first."""
    raw = await read_body(request, admission, deadline, services.settings.load.max_body_bytes)
    longest = max(line.pack.dimension for line in services.lines)
    sent = parse_json(raw, ComparisonRequest, MAX_PICTURE_VALUES + (1 + MAX_VECTORS) * longest)
    beside = {name: getattr(sent, name) for name in ComparisonOptions.model_fields}
    options = merge_options(query, {name: value for name, value in beside.items() if value is not None})
    samples = _list_samples(sent)
    pictures = sum(sample.picture is not None for sample, _ in samples)
    most = services.settings.picture.max_per_request
    if pictures > most:
        raise InvalidRequest(f"{pictures} pictures in one request", max_pictures=most)
    if pictures < len(samples) and options.pack_id is None:
        raise InvalidRequest("pack_id is needed beside vectors", field="pack_id")
    dimension = services.lines.of(options.pack_id).pack.dimension
    return options, [_read_side(services, dimension, admission, sample, id) for sample, id in samples]


def _list_samples(sent: ComparisonRequest) -> list[tuple[Sample, str | None]]:
    if sent.pictures is not None and sent.query is None and sent.references is None:
        return [(Sample(picture=picture), None) for picture in sent.pictures]
    if sent.pictures is not None or sent.query is None or sent.references is None:
        raise InvalidRequest("send either pictures, or query and references")
    samples = [(sent.query, None), *((reference, reference.id) for reference in sent.references)]
    for sample, _ in samples:
        if (sample.picture is None) == (sample.vector is None):
            raise InvalidRequest("the query and each reference hold either a picture or a vector")
    return samples


def _read_side(
    services: Services, dimension: int, admission: Admission, sample: Sample, id: str | None
) -> Side:
    """A sample checked; its own fault is its error, and nobody else's."""
    side = Side(id)
    try:
        if sample.vector is not None:
            side.vector = _normalise(sample.vector, dimension)
        else:
            side.picture = decode_picture_text(sample.picture, 0, admission)
            read_header(side.picture, services.settings.picture.limits)
    except InvalidRequest as error:
        side.error = InvalidRequest(error.detail)
    except RollcallError as error:
        if error.status >= 500:
            raise
        side.error = error
    return side


def _normalise(vector: Vector, dimension: int) -> Vectors:
    if len(vector) != dimension:
        raise InvalidRequest(f"the vector has {len(vector)} numbers, the pack's have {dimension}")
    try:
        unit: Vectors = normalise_vectors([vector], dimension)[0]
    except InvalidRequest:
        raise InvalidRequest("the vector is zero or not finite") from None
    return unit


async def _find_faces(
    line: ServedPack, sides: Sequence[Side], options: ComparisonOptions, deadline: Deadline
) -> None:
    """Give each picture its face or its error.

    Raises:
        RollcallError: the query cannot be used, no reference can, or a stage failed.
    """
    work = [side for side in sides if side.picture is not None and side.error is None]
    outcomes = await gather_apart(
        find_single_face(line, side.picture or b"", options.face, options.quality, deadline) for side in work
    )
    for side, outcome in zip(work, outcomes, strict=True):
        if isinstance(outcome, RollcallError):
            side.error = outcome
            if outcome.status >= 500:
                raise outcome
        else:
            side.face = outcome
    if sides[0].error is not None:
        raise _at(sides[0].error, "query", picture=0)
    if all(side.error is not None for side in sides[1:]):
        error = sides[1].error
        assert error is not None
        raise _at(error, "reference 0", picture=1)


def _at(error: RollcallError, where: str, **context: int) -> RollcallError:
    return type(error)(f"{where}: {error.detail}", **{**error.context, **context})


async def _embed(line: ServedPack, sides: Sequence[Side], deadline: Deadline) -> None:
    """Give each face its vector, all in one call."""
    with_face = [side for side in sides if side.face is not None]
    if not with_face:
        return
    vectors = await embed_faces(line, [side.face for side in with_face if side.face], deadline)
    for side, vector in zip(with_face, vectors, strict=True):
        side.vector = vector


def _rank(
    line: ServedPack,
    asked: Side,
    references: Sequence[Side],
    threshold: float,
    options: ComparisonOptions,
) -> list[ComparedReference]:
    """The references that have a vector, best first; of equals the one that was sent first."""
    assert asked.vector is not None
    results = []
    for place, side in enumerate(references):
        if side.vector is None:
            continue
        cosine = min(1.0, max(-1.0, round(float(np.dot(asked.vector, side.vector)), 6)))
        results.append(
            ComparedReference(
                index=place,
                id=side.id,
                face=None if side.face is None else view_face(side.face),
                score=cosine if options.metric == "cosine" else round(math.sqrt(2 - 2 * cosine), 6),
                cosine=cosine,
                false_match_rate=line.calibration.false_match_rate(cosine),
                band=line.calibration.band_of(cosine),
                same_person=cosine >= threshold,
            )
        )
    return sorted(results, key=lambda result: -result.cosine)
