"""From aligned chips to unit vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.errors import InternalError
from serving.vision.detection import make_check_pictures

Vectors = NDArray[np.float32]
Chips = NDArray[np.uint8]
_CHECK_TOLERANCE = 1e-3


class FaceEmbedder:
    """Turns face chips into L2-normalised vectors; the one place where vectors are normalised.

    Args:
        session: ONNX Runtime session with one input and one output [n, dimension]. An input of uint8
            [n, size, size, 3] gets raw chips; a float32 [n, 3, size, size] one gets (chip - mean) * scale.
        size_px: side of a chip.
        mean, scale: input constants of a float32 model, on the 0..255 scale.
        channels: order of the colours that the model takes, "rgb" or "bgr".
        mirrored: average the vectors of the chip and of its mirror image, at twice the cost.
        dimension: length of a vector.
        max_batch: at most this many chips per model run.
        few_shapes: pad every run to a power of two of chips, for devices on which a new shape is dear.
    """

    def __init__(
        self,
        session: Any,
        *,
        size_px: int,
        mean: tuple[float, float, float],
        scale: float,
        mirrored: bool,
        dimension: int,
        channels: str = "rgb",
        max_batch: int = 16,
        few_shapes: bool = False,
    ) -> None:
        self._session = session
        self._mean = np.asarray(mean, np.float32)
        self._scale = np.float32(scale)
        self._mirrored = mirrored
        self._reversed = channels == "bgr"
        self._max_batch = max_batch
        self._few_shapes = few_shapes
        self.size_px = size_px
        self.dimension = dimension
        model_input = session.get_inputs()[0]
        self._input_name: str = model_input.name
        self._takes_pixels = model_input.type == "tensor(uint8)"
        self._check_chip = make_check_pictures(size_px)
        self._check_vector: Vectors | None = None

    def embed(self, crops: Chips) -> Vectors:
        """Return unit vectors float32 [n, dimension] of RGB chips uint8 [n, size_px, size_px, 3], n >= 0.

        Raises:
            InternalError: the chips have another shape, or the model gave a zero or non-finite vector.
        """
        expected = (self.size_px, self.size_px, 3)
        if crops.ndim != 4 or crops.shape[1:] != expected or crops.dtype != np.uint8:
            raise InternalError(f"chips are {crops.dtype} {crops.shape}, not uint8 [n, {expected}]")
        vectors = np.zeros((len(crops), self.dimension), np.float32)
        step = max(1, self._max_batch // 2) if self._mirrored else self._max_batch
        for start in range(0, len(crops), step):
            chunk = crops[start : start + step]
            vectors[start : start + step] = self._run(chunk)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not (np.isfinite(norms).all() and (norms > 0).all()):
            raise InternalError("the embedder returned a vector without direction")
        unit: Vectors = vectors / norms
        return unit

    def warm_up(self) -> None:
        """Run the batch sizes that occur, so that the first request pays for no allocation or engine.

        The smallest and the largest come first: TensorRT learns its range of shapes from them.
        """
        sizes = [1, self._max_batch]
        if self._few_shapes:
            powers = (2**exponent for exponent in range(1, self._max_batch.bit_length()))
            sizes += [power for power in powers if power < self._max_batch]
        for count in sizes:
            self.embed(np.repeat(self._check_chip, count, axis=0))
        self.check()

    def check(self) -> None:
        """Run one fixed chip and compare with the first time.

        Raises:
            InternalError: the vector is not finite or has changed.
        """
        vector = self.embed(self._check_chip)
        if self._check_vector is None:
            self._check_vector = vector
        elif float(np.abs(vector - self._check_vector).max()) > _CHECK_TOLERANCE:
            raise InternalError("the embedder's answer to a fixed input has changed")

    def _run(self, chips: Chips) -> Vectors:
        if self._mirrored:
            both = self._infer(np.concatenate([chips, chips[:, :, ::-1]]))
            return (both[: len(chips)] + both[len(chips) :]) * np.float32(0.5)
        return self._infer(chips)

    def _infer(self, chips: Chips) -> Vectors:
        if self._reversed:
            chips = chips[:, :, :, ::-1]
        if self._takes_pixels:
            batch: NDArray[Any] = np.ascontiguousarray(chips)
        else:
            scaled = (chips.astype(np.float32) - self._mean) * self._scale
            batch = np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))
        if self._few_shapes:
            batch = self._pad(batch)
        output: Vectors = self._session.run(None, {self._input_name: batch})[0]
        if output.shape != (len(batch), self.dimension):
            raise InternalError(f"the embedder returned {output.shape} for {len(batch)} chips")
        return output[: len(chips)]

    def _pad(self, batch: NDArray[Any]) -> NDArray[Any]:
        """The batch with empty chips behind it: as many as the next power of two, or max_batch, takes."""
        count = min(1 << (len(batch) - 1).bit_length(), max(self._max_batch, len(batch)))
        if count == len(batch):
            return batch
        padded = np.zeros((count, *batch.shape[1:]), batch.dtype)
        padded[: len(batch)] = batch
        return padded
