"""Frames in which real faces move, and a tracker that is led through them as a stream leads it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from serving.api.judgements import Judgement
from serving.api.stream.tracks import Track, Tracker
from serving.packs.calibration import load_calibration
from serving.packs.catalogue import find_pack
from serving.vision.pipeline import Face, FacePipeline

SIZE = (640, 360)
Picture = NDArray[np.uint8]
Place = tuple[float, float]


def read_person(path: Path, height: int) -> Picture:
    """A portrait of so many rows, RGB."""
    picture = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    return cv2.resize(picture, (round(picture.shape[1] * height / picture.shape[0]), height))


def show(*people: tuple[Picture, Place], seed: int = 0) -> Picture:
    """A wall, and before it each person with the middle at a place, the last in front; a little noise."""
    width, height = SIZE
    scene = np.full((height, width, 3), (112, 104, 96), np.int16)
    for picture, (x, y) in people:
        top, left = round(y - picture.shape[0] / 2), round(x - picture.shape[1] / 2)
        rows = slice(max(top, 0), min(top + picture.shape[0], height))
        columns = slice(max(left, 0), min(left + picture.shape[1], width))
        if rows.start < rows.stop and columns.start < columns.stop:
            scene[rows, columns] = picture[
                rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
            ]
    noise = np.random.default_rng(seed).normal(0, 2, scene.shape)
    return np.clip(scene + noise, 0, 255).astype(np.uint8)


class Door:
    """A tracker with a gallery of one, over the real models.

    Attributes:
        embedded: faces embedded so far. lookups: of them, those that the gallery was asked about.
    """

    def __init__(self, pipeline: FacePipeline, guest: Picture, *, retry_s: float = 1.0) -> None:
        self._pipeline = pipeline
        self._retry_s = retry_s
        self._threshold = load_calibration(find_pack("starter")).default_threshold
        self.tracker = Tracker(lost_after_s=1.0)
        self.embedded = self.lookups = 0
        [face] = self._find(show((guest, (SIZE[0] / 2, SIZE[1] / 2))))
        self._template = self._embed([face])[0]
        self.embedded = 0

    def _find(self, picture: Picture) -> Sequence[Face]:
        return self._pipeline.finder.find_decoded([picture])[0].faces

    def _embed(self, faces: Sequence[Face]) -> NDArray[np.float32]:
        self.embedded += len(faces)
        return self._pipeline.embedder.embed(np.stack([face.crop for face in faces]))

    def see(self, picture: Picture, at_s: float) -> list[Track]:
        """The faces of a frame, with their answers."""
        faces = self._find(picture)
        matching = self.tracker.match(faces, at_s)
        doubtful = [faces[place] for place in matching.doubtful]
        vectors = dict(zip(matching.doubtful, self._embed(doubtful) if doubtful else (), strict=True))
        tracks = self.tracker.settle(matching, vectors, self._threshold)
        for place, track in enumerate(tracks):
            if track.is_due(at_s):
                self.lookups += 1
                vector = vectors[place] if place in vectors else self._embed([track.face])[0]
                outcome = "match" if float(vector @ self._template) >= self._threshold else "unknown"
                answer = Judgement(outcome, None, {"outcome": outcome, "person": None})  # type: ignore[arg-type]
                track.note_answer(vector, answer, [], at_s, self._retry_s)
        return tracks


def named(tracks: Sequence[Track]) -> list[Track]:
    """Those taken for the guest."""
    return [track for track in tracks if track.answer is not None and track.answer.outcome == "match"]
