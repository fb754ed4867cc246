"""Running a session on a device through memory that stays there."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

MAX_SHAPES = 16
"""Shapes whose buffers are kept, some 45 MB each for 16 large pictures; the one unused for longest goes."""

Array = NDArray[Any]
_Shapes = tuple[tuple[str, tuple[int, ...]], ...]


class BoundSession:
    """A session whose inputs and outputs live on a device; to be called like `onnxruntime.InferenceSession`.

    For each combination of input shapes the device memory of inputs and outputs is taken once. A run copies
    the inputs there and the outputs back, each once. Runs of several threads take turns.

    Args:
        session: an ONNX Runtime session.
        device: ONNX Runtime's name of the device that runs it: cuda, or cpu.
        device_id: which of them.
    """

    def __init__(self, session: Any, device: str, device_id: int = 0) -> None:
        self._session = session
        self._device = device
        self._device_id = device_id
        self._outputs: list[str] = [output.name for output in session.get_outputs()]
        self._kept: OrderedDict[tuple[_Shapes, tuple[str, ...]], _Buffers] = OrderedDict()
        self._turn = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run(self, outputs: Sequence[str] | None, feeds: Mapping[str, Array]) -> list[Array]:
        """Outputs by name, all when None, as arrays of the caller's own.

        Args:
            outputs: names, in the order wanted.
            feeds: an array for every input.
        """
        names = tuple(outputs or self._outputs)
        shapes = tuple((name, feed.shape) for name, feed in feeds.items())
        with self._turn:
            buffers = self._kept.pop((shapes, names), None) or _Buffers(
                self._session, names, self._device, self._device_id
            )
            self._kept[shapes, names] = buffers
            if len(self._kept) > MAX_SHAPES:
                self._kept.popitem(last=False)
            return buffers.run(feeds)


class _Buffers:
    """The device memory of one combination of shapes."""

    def __init__(self, session: Any, outputs: tuple[str, ...], device: str, device_id: int) -> None:
        self._session = session
        self._outputs = outputs
        self._place = (device, device_id)
        self._binding = session.io_binding()
        self._inputs: dict[str, Any] = {}
        self._results: list[Any] | None = None

    def run(self, feeds: Mapping[str, Array]) -> list[Array]:
        for name, feed in feeds.items():
            self._put(name, np.ascontiguousarray(feed))
        if self._results is None:
            for name in self._outputs:
                self._binding.bind_output(name, *self._place)
        self._session.run_with_iobinding(self._binding)
        if self._results is None:
            # The first run has told the shapes, which follow from those of the inputs in all our models; from
            # now on the same memory takes the outputs.
            self._results = list(self._binding.get_outputs())
            for name, result in zip(self._outputs, self._results, strict=True):
                self._binding.bind_ortvalue_output(name, result)
        return [np.array(result.numpy()) for result in self._results]

    def _put(self, name: str, feed: Array) -> None:
        if name in self._inputs:
            self._inputs[name].update_inplace(feed)
            return
        value = ort.OrtValue.ortvalue_from_shape_and_type(list(feed.shape), feed.dtype.type, *self._place)
        value.update_inplace(feed)
        self._inputs[name] = value
        self._binding.bind_ortvalue_input(name, value)
