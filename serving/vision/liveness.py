"""Presentation attack detection: is a face that of a person before the camera, or of a picture of one?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from serving.errors import InternalError, PackError
from serving.vision.detection import make_check_pictures
from serving.vision.liveness_crops import Box, LivenessCropper
from serving.vision.picture import Picture

Crops = NDArray[np.uint8]
"""What one model sees of several faces: uint8 [n, S, S, 3] RGB."""
Scores = NDArray[np.float32]
"""Probability of being live, of each face: float32 [n] in 0..1."""

_CHECK_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class LivenessInput:
    """How a model takes its crop, beside the cut itself, and what it answers.

    channels: their order in the input. mean, scale: the input is (crop - mean) * scale, on the 0..255 scale.
    output: "logits" [n, classes] that a softmax turns into probabilities, "probabilities" [n, classes], or
    "live_probability" [n] or [n, 1]. live_class: the class that is live, where there are classes.
    """

    channels: Literal["rgb", "bgr"]
    mean: tuple[float, float, float]
    scale: float
    output: Literal["logits", "probabilities", "live_probability"]
    live_class: int


class LivenessModel:
    """One anti-spoofing network.

    Args:
        session: ONNX Runtime session with one input float32 [n, 3, S, S] and one output.
        size_px: S.
        fed: how crops become its input.
        max_batch: at most this many faces in a run.

    Raises:
        PackError: the model takes another input.
    """

    def __init__(self, session: Any, *, size_px: int, fed: LivenessInput, max_batch: int = 16) -> None:
        self._session = session
        model_input = session.get_inputs()[0]
        self._input_name: str = model_input.name
        if list(model_input.shape[1:]) != [3, size_px, size_px] or model_input.type != "tensor(float)":
            raise PackError(
                f"the liveness model takes {model_input.type} {model_input.shape}, "
                f"not floats [n, 3, {size_px}, {size_px}]"
            )
        self._fed = fed
        self._mean = np.asarray(fed.mean, np.float32)
        self._scale = np.float32(fed.scale)
        self.size_px = size_px
        # A model whose batch is fixed at one takes its faces one after another.
        self.max_batch = 1 if model_input.shape[0] == 1 else max_batch

    def score(self, crops: Crops) -> Scores:
        """The probability of being live of each of crops uint8 [n, S, S, 3] RGB, n >= 0.

        Raises:
            InternalError: crops of another shape, or the model's answer is no probability.
        """
        expected = (self.size_px, self.size_px, 3)
        if crops.ndim != 4 or crops.shape[1:] != expected or crops.dtype != np.uint8:
            raise InternalError(f"liveness crops are {crops.dtype} {crops.shape}, not uint8 [n, {expected}]")
        scores = np.zeros(len(crops), np.float32)
        for start in range(0, len(crops), self.max_batch):
            chunk = crops[start : start + self.max_batch]
            scores[start : start + self.max_batch] = self._run(chunk)
        return scores

    def _run(self, crops: Crops) -> Scores:
        ordered = crops[..., ::-1] if self._fed.channels == "bgr" else crops
        scaled = (ordered.astype(np.float32) - self._mean) * self._scale
        batch = np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))
        output = np.asarray(self._session.run(None, {self._input_name: batch})[0], np.float32)
        scores = self._read(output.reshape(len(crops), -1))
        if not (np.isfinite(scores).all() and (scores >= 0).all() and (scores <= 1).all()):
            raise InternalError("the liveness model gave no probability")
        return scores

    def _read(self, output: NDArray[np.float32]) -> Scores:
        if self._fed.output == "live_probability":
            if output.shape[1] != 1:
                raise InternalError(f"the liveness model gave {output.shape[1]} numbers for a face, not 1")
            return output[:, 0]
        if output.shape[1] <= self._fed.live_class:
            raise InternalError(f"the liveness model has {output.shape[1]} classes")
        if self._fed.output == "logits":
            powers = np.exp(output - output.max(axis=1, keepdims=True))
            output = powers / powers.sum(axis=1, keepdims=True)
        live: Scores = output[:, self._fed.live_class]
        return live


class LivenessScorer:
    """Several models that look at the same faces; the score is the mean of their probabilities."""

    def __init__(self, models: Sequence[LivenessModel]) -> None:
        self._models = tuple(models)
        self._check_score: Scores | None = None

    @property
    def max_batch(self) -> int:
        """At most this many faces in a run."""
        return min(model.max_batch for model in self._models)

    def score(self, crops: Sequence[Crops]) -> Scores:
        """The probability of being live, float32 [n] in 0..1.

        Args:
            crops: for each model what it sees of the same n faces, uint8 [n, S, S, 3] RGB.
        """
        if len(crops) != len(self._models) or len({len(each) for each in crops}) != 1:
            raise InternalError(f"{len(self._models)} liveness models were given {len(crops)} sets of crops")
        scores = [model.score(each) for model, each in zip(self._models, crops, strict=True)]
        mean: Scores = np.mean(scores, axis=0, dtype=np.float32)
        return mean

    def warm_up(self) -> None:
        """Run the batch sizes that occur, so that the first request pays for no allocation."""
        for count in (1, self.max_batch):
            self.score(
                [np.repeat(make_check_pictures(model.size_px), count, axis=0) for model in self._models]
            )
        self.check()

    def check(self) -> None:
        """Score one fixed crop and compare with the first time.

        Raises:
            InternalError: the score is no probability or has changed.
        """
        score = self.score([make_check_pictures(model.size_px) for model in self._models])
        if self._check_score is None:
            self._check_score = score
        elif float(np.abs(score - self._check_score).max()) > _CHECK_TOLERANCE:
            raise InternalError("the liveness models' answer to a fixed input has changed")


class FindsFaces(Protocol):
    """What finds the faces of decoded pictures: `vision.pipeline.FaceFinder`."""

    def find_decoded(self, pictures: Sequence[Picture]) -> Sequence[Any]: ...


class LivenessChecker:
    """Detection, cut and score in one process, for commands and evaluation."""

    def __init__(self, finder: FindsFaces, cropper: LivenessCropper, scorer: LivenessScorer) -> None:
        self._finder = finder
        self._cropper = cropper
        self._scorer = scorer

    def score_liveness(self, pictures: Sequence[Picture]) -> list[float | None]:
        """The probability of being live, 0..1, of the face nearest the centre of each picture.

        None where there is no score: the picture shows no face, or too little around it.

        Args:
            pictures: upright RGB, uint8 [h, w, 3].
        """
        results: list[float | None] = [None] * len(pictures)
        places, crops = [], []
        for place, (picture, found) in enumerate(
            zip(pictures, self._finder.find_decoded(pictures), strict=True)
        ):
            if not found.faces:
                continue
            face = min(found.faces, key=lambda face: _distance_from_centre(picture, face.box))
            cut = self._cropper.cut(picture, face.box, face.landmarks)
            if cut is not None:
                places.append(place)
                crops.append(cut)
        if crops:
            scores = self._scorer.score([np.stack(each) for each in zip(*crops, strict=True)])
            for place, score in zip(places, scores, strict=True):
                results[place] = float(score)
        return results


def _distance_from_centre(picture: Picture, box: Box) -> float:
    x, y, width, height = box
    return float((x + (width - picture.shape[1]) / 2) ** 2 + (y + (height - picture.shape[0]) / 2) ** 2)
