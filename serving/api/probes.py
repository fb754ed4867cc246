"""From the pictures of a request to the faces and vectors that are compared."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from serving.api.deadlines import Deadline
from serving.api.liveness import NO_CHECK, LivenessCheck
from serving.api.options import FaceChoice, SingleFace
from serving.api.stage_clock import StageClock
from serving.errors import NoFace, QualityTooLow, RollcallError, SeveralFaces
from serving.graph.lines import ServedPack
from serving.graph.messages import Candidate, Decision
from serving.packs.calibration import Calibration
from serving.vision.pipeline import Face, PictureFaces
from serving.vision.quality_gates import Fault, QualityLevel, find_attack, find_crowd, find_faults

MAX_SHOWN_BOXES = 10

Vectors = NDArray[np.float32]
ResultT = TypeVar("ResultT")


@dataclass(slots=True)
class Probe:
    """A face that was chosen in a picture.

    faults: how it falls short of the quality asked for; one with faults is not embedded.
    vector: float32 [D], unit length, once it is embedded.
    """

    face: Face
    faults: list[Fault] = field(default_factory=list)
    vector: Vectors | None = None


def choose_faces(found: PictureFaces, choice: FaceChoice | SingleFace) -> list[Face]:
    """The faces that are meant; of equals the surest detection. Empty when the picture has none."""
    faces = found.faces
    if choice in (FaceChoice.largest, SingleFace.largest):
        return sorted(faces, key=lambda face: -face.box[2] * face.box[3])[:1]
    if choice in (FaceChoice.centre, SingleFace.centre):
        return sorted(faces, key=lambda face: _distance_from_centre(found, face))[:1]
    return faces


def _distance_from_centre(found: PictureFaces, face: Face) -> float:
    x, y, width, height = face.box
    return (x + width / 2 - found.width / 2) ** 2 + (y + height / 2 - found.height / 2) ** 2


async def find_probes(
    line: ServedPack,
    picture: bytes,
    choice: FaceChoice,
    level: QualityLevel,
    deadline: Deadline,
    clock: StageClock,
    check: LivenessCheck = NO_CHECK,
) -> tuple[PictureFaces, list[Probe]]:
    """The chosen faces of a picture, those without faults embedded.

    Where `check` enforces liveness, a face that is not live has that as its fault.

    Raises:
        RollcallError: the picture's own error, or the stage's.
    """
    found = await line.stages.detect(picture, deadline.remaining_s(), check.wants_crops)
    clock.mark("detect")
    probes = [Probe(face, find_faults(face.quality, level)) for face in choose_faces(found, choice)]
    if check.enforces:
        fit = [probe for probe in probes if not probe.faults]
        await check.look([probe.face for probe in fit], deadline)
        for probe in fit:
            probe.faults += find_attack(probe.face.liveness)
        clock.mark("liveness")
    if await embed_probes(line, probes, deadline, check):
        clock.mark("embed")
    return found, probes


async def embed_probes(
    line: ServedPack, probes: Iterable[Probe], deadline: Deadline, check: LivenessCheck = NO_CHECK
) -> bool:
    """Give those without faults their vectors, in one call; whether there was any."""
    fit = [probe for probe in probes if not probe.faults]
    if not fit:
        return False
    vectors = await embed_faces(line, [probe.face for probe in fit], deadline, check)
    for probe, vector in zip(fit, vectors, strict=True):
        probe.vector = vector
    return True


async def embed_faces(
    line: ServedPack, faces: Sequence[Face], deadline: Deadline, check: LivenessCheck = NO_CHECK
) -> Vectors:
    """The vectors of faces, at least one, in one call: float32 [n,D], unit length.

    Where `check` observes liveness, that is looked at meanwhile.
    """
    crops = np.stack([face.crop for face in faces])
    embedding = line.stages.embed(crops, deadline.remaining_s())
    if not check.observes:
        return await embedding
    vectors, _ = await asyncio.gather(embedding, check.look(faces, deadline))
    return vectors


async def find_single_face(
    line: ServedPack,
    picture: bytes,
    choice: SingleFace,
    level: QualityLevel,
    deadline: Deadline,
    check: LivenessCheck = NO_CHECK,
) -> Face:
    """The one face of a picture that counts.

    Raises:
        NoFace: there is none.
        SeveralFaces: there are several, and `choice` is `only`.
        QualityTooLow: it falls short of `level`.
        PresentationAttack: it is not live, and `check` enforces that.
        RollcallError: the picture's own error, or the stage's.
    """
    found = await line.stages.detect(picture, deadline.remaining_s(), check.wants_crops)
    chosen = choose_faces(found, choice)
    if not chosen:
        raise NoFace
    if len(chosen) > 1:
        boxes = [[round(side, 1) for side in face.box] for face in chosen[:MAX_SHOWN_BOXES]]
        raise SeveralFaces(
            f"{len(chosen)} faces were found",
            faces=len(chosen),
            boxes=boxes,
            faults=[dataclasses.asdict(fault) for fault in find_crowd(len(chosen), level)],
        )
    faults = find_faults(chosen[0].quality, level)
    if faults:
        raise QualityTooLow(
            f"the face is {', '.join(fault.reason.value for fault in faults)}",
            faults=[dataclasses.asdict(fault) for fault in faults],
            level=level.value,
        )
    await check.refuse_attack(chosen[0], deadline)
    return chosen[0]


async def gather_apart(work: Iterable[Awaitable[ResultT]]) -> list[ResultT | RollcallError]:
    """The results in order, a `RollcallError` in the place of what failed with one; a bug is raised."""
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not isinstance(outcome, RollcallError):
            raise outcome
    return outcomes  # type: ignore[return-value]


async def find_single_faces(
    line: ServedPack,
    pictures: Sequence[bytes],
    faults: dict[int, RollcallError],
    choice: SingleFace,
    level: QualityLevel,
    deadline: Deadline,
    check: LivenessCheck = NO_CHECK,
) -> list[Face | RollcallError]:
    """The face of each picture, or the picture's own error in its place.

    Args:
        faults: what is wrong with pictures already, by place; they are not looked at.

    Raises:
        RollcallError: no picture has a face that counts (the first one's error), or a stage failed, which is
            no picture's fault.
    """

    async def find(place: int, picture: bytes) -> Face:
        if place in faults:
            raise faults[place]
        return await find_single_face(line, picture, choice, level, deadline, check)

    outcomes = await gather_apart(find(place, picture) for place, picture in enumerate(pictures))
    failed = [outcome for outcome in outcomes if isinstance(outcome, RollcallError)]
    for error in failed:
        if error.status >= 500:
            raise error
    if len(failed) == len(outcomes):
        first = failed[0]
        if len(failed) == 1:
            raise first
        raise type(first)(f"picture 0: {first.detail}", **{**first.context, "picture": 0})
    return outcomes


@dataclass(frozen=True, slots=True)
class Fusion:
    """Several vectors of one person as one probe.

    The decision on several pictures is the mean of their cosines with an enrolled face. It is found by one
    search: the mean vector has that cosine, so its direction is searched for and the cosines found are
    multiplied by its length, which is 1 when all vectors agree and smaller when they do not.
    """

    vector: Vectors
    length: float

    def to_mean(self, candidates: Iterable[Candidate], calibration: Calibration) -> list[Candidate]:
        """Candidates found by `vector`, with the mean cosine and the false match rate of that."""
        fused = []
        for candidate in candidates:
            cosine = round(candidate.cosine * self.length, 6)
            rate = calibration.false_match_rate(cosine)
            fused.append(Candidate(candidate.person_id, candidate.face_id, cosine, rate))
        return fused

    def decide(self, found: Decision, threshold: float, calibration: Calibration) -> Decision:
        """The decision on the mean cosine."""
        candidates = self.to_mean(found.candidates, calibration)
        return Decision(bool(candidates) and candidates[0].cosine >= threshold, candidates)


def fuse(vectors: Vectors) -> Fusion:
    """Fuse unit vectors float32 [n,D], n at least 1; one alone stays as it is."""
    if len(vectors) == 1:
        return Fusion(vectors[0], 1.0)
    mean = vectors.astype(np.float64).mean(axis=0)
    length = float(np.linalg.norm(mean))
    if length < 1e-6:  # opposite vectors: their mean cosine is 0 with everybody
        return Fusion(vectors[0], 0.0)
    return Fusion((mean / length).astype(np.float32), min(length, 1.0))
