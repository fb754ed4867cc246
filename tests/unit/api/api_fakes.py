"""Stages without models: each picture says itself who is in it, and the gallery is a dictionary."""

from __future__ import annotations

import asyncio
import io
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import cache
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from serving.errors import DeadlineExceeded, RollcallError
from serving.gallery.records import (
    FacePage,
    FaceRecord,
    check_faces,
    check_key,
    check_page,
    check_vectors,
    point_id,
)
from serving.graph.messages import Candidate, Decision
from serving.packs.calibration import Calibration
from serving.packs.liveness import find_liveness_pack
from serving.vision.liveness_crops import LivenessCrops
from serving.vision.pipeline import Face, PictureFaces
from serving.vision.quality import FaceQuality
from serving.vision.quality_gates import QualityReason

DIMENSION = 128
_PEOPLE: list[str] = []

GOOD_QUALITY = FaceQuality(
    face_px=200.0, detection_score=0.9, sharpness=1.0, brightness=128.0, contrast=120.0,
    yaw_degrees=0.0, pitch_degrees=0.0, roll_degrees=0.0, cut_fraction=0.0,
)  # fmt: skip
BAD_VALUES: dict[QualityReason, dict[str, float]] = {
    QualityReason.face_too_small: {"face_px": 8.0},
    QualityReason.low_detection_score: {"detection_score": 0.1},
    QualityReason.blurred: {"sharpness": 0.1},
    QualityReason.too_dark: {"brightness": 5.0},
    QualityReason.too_bright: {"brightness": 250.0},
    QualityReason.low_contrast: {"contrast": 5.0},
    QualityReason.turned_sideways: {"yaw_degrees": -80.0},
    QualityReason.looking_up_or_down: {"pitch_degrees": 60.0},
    QualityReason.tilted: {"roll_degrees": 80.0},
    QualityReason.cut_by_edge: {"cut_fraction": 0.6},
}
"""What a face with one fault measures; all else is as in GOOD_QUALITY."""


@cache
def picture(*faces: str, width: int = 64, height: int = 48, format: str = "PNG", salt: str = "") -> bytes:
    """A real picture file of these faces.

    `ada` is Ada herself, `ada:0.95` looks like her by that cosine, and `ada:1:blurred,too_dark` has exactly
    these faults at the standard level (names of `QualityReason`). `ada:1::0.2` is live with a probability of
    0.2 only, and of `ada:1::none` the picture shows too little to say.
    """
    colour = (len(faces) * 20 % 256, sum(map(ord, salt)) % 256, 90)
    image = Image.new("RGB", (width, height), colour)
    buffer = io.BytesIO()
    if format == "PNG":
        info = PngInfo()
        info.add_text("faces", json.dumps(faces))
        info.add_text("salt", salt)
        image.save(buffer, "PNG", pnginfo=info)
    else:
        image.save(buffer, format, **({"comment": json.dumps(faces)} if format == "JPEG" else {}))
    return buffer.getvalue()


def vector_of(spec: str) -> NDArray[np.float32]:
    """People are orthogonal to each other; whoever looks like one leans towards an axis of its own."""
    name, cosine, *_ = [*spec.split(":"), ""]
    if name not in _PEOPLE:
        _PEOPLE.append(name)
    place = _PEOPLE.index(name)
    lean = float(cosine or 1)
    vector = np.zeros(DIMENSION, np.float32)
    vector[place], vector[DIMENSION - 1 - place] = lean, np.sqrt(1 - lean**2)
    return vector


Hook = Callable[..., Awaitable[None]]


class FakeStages:
    """Has the methods of `Stages`.

    `before[method]` and `after[method]` run around a method: they may wait, fail, or do something else in
    the meantime. `failures[method]` is a list of errors, one for each coming call.
    """

    def __init__(self, calibration: Calibration) -> None:
        self.gallery: dict[tuple[str, str, str], NDArray[np.float32]] = {}
        self.created_at: dict[tuple[str, str, str], float] = {}
        self.calls: list[tuple[Any, ...]] = []
        self.failures: dict[str, list[BaseException]] = {}
        self.before: dict[str, Hook] = {}
        self.after: dict[str, Hook] = {}
        self.erased_packs: set[str] = set()
        self._calibration = calibration
        self._specs: list[str] = []
        self.wanted_liveness: list[bool] = []

    def _note_pack(self, pack_id: str | None) -> None:
        """What is erased of packs that do not serve lies in the same dictionary."""
        self.erased_packs |= {pack_id} - {None}

    @property
    def counts(self) -> Counter[str]:
        return Counter(call[0] for call in self.calls)

    def names(self) -> list[str]:
        """The methods called, in order."""
        return [call[0] for call in self.calls]

    async def _enter(self, method: str, *args: Any) -> None:
        self.calls.append((method, *args))
        if method in self.before:
            await self.before[method](*args)
        if self.failures.get(method):
            raise self.failures[method].pop(0)
        await asyncio.sleep(0)

    async def _leave(self, method: str, *args: Any) -> None:
        if method in self.after:
            await self.after[method](*args)

    async def detect(self, data: bytes, remaining_s: float, wants_liveness: bool = False) -> PictureFaces:
        assert remaining_s > 0
        self.wanted_liveness.append(wants_liveness)
        await self._enter("detect", data)
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            width, height = image.size
            text = getattr(image, "text", {}).get("faces") or image.info.get("comment", b"[]")
        specs = json.loads(text)
        faces = [self._make_face(spec, place) for place, spec in enumerate(specs)]
        if wants_liveness:
            for face, spec in zip(faces, specs, strict=True):
                face.liveness_crops = make_liveness_crops(spec)
        return PictureFaces(width, height, faces)

    def _make_face(self, spec: str, place: int) -> Face:
        self._specs.append(spec)
        crop = np.zeros((8, 8, 3), np.uint8)
        crop[0, 0] = (*divmod(len(self._specs) - 1, 256), 0)
        landmarks = np.arange(10, dtype=np.float32).reshape(5, 2) + np.float32(0.26)
        faults = [QualityReason(fault) for fault in [*spec.split(":"), "", ""][2].split(",") if fault]
        quality = replace(GOOD_QUALITY, **{k: v for fault in faults for k, v in BAD_VALUES[fault].items()})
        return Face((10.04 + 10 * place, 5.0, 8.0, 9.0), landmarks, 0.9 - place / 100, crop, quality)

    async def embed(self, crops: NDArray[np.uint8], remaining_s: float) -> NDArray[np.float32]:
        assert remaining_s > 0
        assert crops.dtype == np.uint8
        assert crops.shape[1:] == (8, 8, 3)
        await self._enter("embed", len(crops))
        specs = [self._specs[int(crop[0, 0, 0]) * 256 + int(crop[0, 0, 1])] for crop in crops]
        return np.stack([vector_of(spec) for spec in specs])

    async def search(
        self,
        event_key: str,
        vectors: NDArray[np.float32],
        top_k: int,
        threshold: float,
        remaining_s: float,
        person_id: str | None = None,
    ) -> list[Decision]:
        assert remaining_s > 0
        of_one = () if person_id is None else (person_id,)
        await self._enter("search", event_key, len(vectors), *of_one, top_k, threshold)
        decisions = [
            self._decide(event_key, each, top_k, threshold, person_id)
            for each in check_vectors(vectors, DIMENSION)
        ]
        await self._leave("search", event_key)
        return decisions

    def _decide(
        self,
        event_key: str,
        probe: NDArray[np.float32],
        top_k: int,
        threshold: float,
        person_id: str | None,
    ) -> Decision:
        best: dict[str, Candidate] = {}
        # In order, so that of equals the first by person, then face, comes first, as in the galleries.
        for (event, person, face), vector in sorted(self.gallery.items(), key=itemgetter(0)):
            if person_id not in (None, person):
                continue
            cosine = round(float(vector @ probe), 6)
            if event == event_key and (person not in best or best[person].cosine < cosine):
                best[person] = Candidate(person, face, cosine, self._calibration.false_match_rate(cosine))
        ranked = sorted(best.values(), key=lambda each: (-each.cosine, each.person_id))[:top_k]
        return Decision(bool(ranked) and ranked[0].cosine >= threshold, ranked)

    async def enrol(self, faces: Sequence[FaceRecord], remaining_s: float) -> None:
        assert remaining_s > 0
        await self._enter("enrol", [(face.person, face.face) for face in faces])
        for face in check_faces(list(faces), DIMENSION):
            self.gallery[face.event, face.person, face.face] = face.vector
            self.created_at[face.event, face.person, face.face] = face.created_at
        await self._leave("enrol")

    async def faces_of(
        self, event_key: str, person_id: str, remaining_s: float, *, pack_id: str | None = None
    ) -> list[str]:
        self._note_pack(pack_id)
        await self._enter("faces_of", event_key, person_id)
        return sorted(
            face for event, person, face in self.gallery if (event, person) == (event_key, person_id)
        )

    async def read_faces(
        self,
        event_key: str,
        after: str | None,
        limit: int,
        remaining_s: float,
        person_id: str | None = None,
    ) -> FacePage:
        assert remaining_s > 0
        await self._enter("read_faces", event_key, after, limit, person_id)
        most = check_page(after, limit, DIMENSION)
        found = sorted(
            (point_id(*key), FaceRecord(*key, vector, self.created_at.get(key, 0.0)))
            for key, vector in self.gallery.items()
            if key[0] == event_key and person_id in (None, key[1]) and point_id(*key) >= (after or "")
        )
        following = found[most][0] if len(found) > most else None
        return FacePage(tuple(face for _, face in found[:most]), following)

    async def erase_faces(
        self,
        event_key: str,
        faces: Sequence[tuple[str, str]],
        remaining_s: float,
        *,
        pack_id: str | None = None,
    ) -> None:
        self._note_pack(pack_id)
        await self._enter("erase_faces", event_key, list(faces))
        for person, face in faces:
            self.gallery.pop((event_key, person, face), None)

    async def erase_person(
        self, event_key: str, person_id: str, remaining_s: float, *, pack_id: str | None = None
    ) -> None:
        self._note_pack(pack_id)
        await self._enter("erase_person", event_key, person_id)
        check_key("event", event_key)
        check_key("person", person_id)
        for key in [key for key in self.gallery if key[:2] == (event_key, person_id)]:
            del self.gallery[key]
        await self._leave("erase_person", event_key, person_id)

    async def erase_event(self, event_key: str, remaining_s: float, *, pack_id: str | None = None) -> None:
        self._note_pack(pack_id)
        await self._enter("erase_event", event_key)
        for key in [key for key in self.gallery if key[0] == event_key]:
            del self.gallery[key]

    async def check(self, remaining_s: float) -> None:
        await self._enter("check")


def make_liveness_crops(spec: str) -> LivenessCrops | None:
    """The score stands in a crop of one pixel; a face is live unless its spec says otherwise."""
    score = [*spec.split(":"), "", "", ""][3] or "1"
    return None if score == "none" else (np.full((1, 1, 3), round(float(score) * 200), np.uint8),)


class FakeLiveness:
    """Has the methods of `LivenessStage`; `failures` is a list of errors, one for each coming call."""

    pack = find_liveness_pack("minifasnet")

    def __init__(self, threshold: float = 0.5) -> None:
        self.threshold = threshold
        self.calls: list[int] = []
        self.failures: list[BaseException] = []
        self.delay_s = 0.0

    async def score(self, crops: tuple[NDArray[np.uint8], ...], remaining_s: float) -> NDArray[np.float32]:
        assert remaining_s > 0
        self.calls.append(len(crops[0]))
        if self.failures:
            raise self.failures.pop(0)
        if self.delay_s > remaining_s:
            raise DeadlineExceeded
        return crops[0][:, 0, 0, 0].astype(np.float32) / 200

    async def check(self, remaining_s: float) -> None:
        if self.failures:
            raise self.failures.pop(0)


def fail_next(stages: FakeStages, method: str, error: RollcallError | Exception, times: int = 1) -> None:
    stages.failures[method] = [error] * times
