"""Builds the int8 form of dlib's face network from activation ranges that ship with the product.

Quantise/dequantise (QDQ) pairs surround every convolution and addition, which ONNX Runtime fuses into integer
kernels. Activations are uint8 with one scale per tensor, weights int8 with one scale per output channel
(Jacob et al., arXiv:1712.05877; Krishnamoorthi, arXiv:1806.08342). Raw pixels are uint8 already, so the
input is exact. The ranges were measured by `python -m serving.evaluation.measure_ranges`; nobody who
prepares the pack needs pictures.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from serving.errors import PackError
from serving.packs.dlib_format import Block, Convolution, FaceNetwork
from serving.packs.dlib_onnx import (
    STEM_OUTPUT,
    branch_side,
    fold_input,
    name_block_outputs,
    shortcut_side,
    side_after,
    side_after_stem,
)
from serving.packs.graph_builder import INPUT_NAME, OUTPUT_NAME, GraphBuilder
from serving.vision.inference import open_session

RANGES_FILE = "dlib-resnet-ranges.json"
_MAX_WEIGHT = 127
_MAX_WEIGHT_PAIR = 127
"""On x86 processors without VNNI the integer kernels add two neighbouring uint8 x int8 products in 16 bits,
and saturate. Neighbours of one sign that add up to at most 127 before rounding (128 after) cannot, since
255 * 128 < 2**15: machines with and without VNNI may share a gallery."""

_RANGE_BATCH = 16
_MIN_SCALE = 1e-12

Ranges = Mapping[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Quantised:
    """A uint8 tensor of the graph: value = (stored - zero_point) * scale."""

    name: str
    scale: np.float32
    zero_point: int


def load_ranges(file_name: str = RANGES_FILE) -> Ranges:
    """The stored activation ranges: tensor name -> (lowest, highest) value.

    Raises:
        PackError: the file is missing or damaged.
    """
    try:
        text = (resources.files("serving.packs") / "data" / file_name).read_text(encoding="utf-8")
        return {str(name): (float(low), float(high)) for name, (low, high) in json.loads(text).items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise PackError(f"the activation ranges {file_name} are missing or damaged: {error}") from error


def quantise_network(network: FaceNetwork, ranges: Ranges) -> bytes:
    """Return the serialised int8 model; the same network and ranges always give the same bytes.

    Raises:
        PackError: ranges lacks a tensor of the network.
    """
    graph = QuantisedGraph(ranges)
    pixels = Quantised(graph.add("Transpose", [INPUT_NAME], perm=[0, 3, 1, 2]), np.float32(1), 0)
    x = graph.add_quantised_convolution(pixels, fold_input(network.stem, network.mean), STEM_OUTPUT)
    pooled = graph.add("MaxPool", [x.name], kernel_shape=[3, 3], strides=[2, 2])
    x = Quantised(pooled, x.scale, x.zero_point)
    side, channels = side_after_stem(), network.stem.weights.shape[0]
    for number, block in enumerate(network.blocks):
        x = _add_block(graph, x, number, block, side, channels)
        side, channels = side_after(block, side), block.second.weights.shape[0]
    mean = graph.add("Flatten", [graph.add("GlobalAveragePool", [graph.dequantise(x)])])
    graph.add("MatMul", [mean, graph.add_constant(network.projection)], output=OUTPUT_NAME)
    return graph.serialise()


def choose_weight_scales(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """One scale per output channel of [out, in, rows, columns] weights, the finest without saturation.

    Kernels walk the weights channels first or channels last, so neighbours in both orders are bounded.
    """
    single = np.abs(weights).max(axis=(1, 2, 3))
    pair = np.zeros_like(single)
    for order in (weights, weights.transpose(0, 2, 3, 1)):
        flat = order.reshape(len(weights), -1)
        for signed in (np.maximum(flat, 0), np.maximum(-flat, 0)):
            pair = np.maximum(pair, (signed[:, 1:] + signed[:, :-1]).max(axis=1))
    scales = np.maximum(single / np.float32(_MAX_WEIGHT), pair / np.float32(_MAX_WEIGHT_PAIR))
    floored: NDArray[np.float32] = np.maximum(scales, np.float32(_MIN_SCALE)).astype(np.float32)
    return floored


def _spread_weights(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """One scale per output channel, such that the largest weight becomes the largest int8."""
    scales = np.abs(weights).max(axis=(1, 2, 3)) / np.float32(_MAX_WEIGHT)
    floored: NDArray[np.float32] = np.maximum(scales, np.float32(_MIN_SCALE)).astype(np.float32)
    return floored


def measure_ranges(model: bytes, chips: NDArray[np.uint8]) -> dict[str, tuple[float, float]]:
    """Run the float32 model over chips and return the range of every tensor that the int8 model stores.

    The range is the mean of the extremes of batches, not the extreme of all: a single outlier would widen the
    steps for all other values.
    """
    names = [STEM_OUTPUT]
    loaded = onnx.load_model_from_string(model)
    blocks = sum(node.op_type == "Add" for node in loaded.graph.node)
    for number in range(blocks):
        names.extend(name_block_outputs(number))
    for name in names:
        loaded.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    session = open_session(loaded.SerializeToString())
    lows: dict[str, list[float]] = {name: [] for name in names}
    highs: dict[str, list[float]] = {name: [] for name in names}
    for start in range(0, len(chips), _RANGE_BATCH):
        values = session.run(names, {INPUT_NAME: chips[start : start + _RANGE_BATCH]})
        for name, tensor in zip(names, values, strict=True):
            lows[name].append(float(tensor.min()))
            highs[name].append(float(tensor.max()))
    return {
        name: (round(min(0.0, float(np.mean(lows[name]))), 5), round(float(np.mean(highs[name])), 5))
        for name in names
    }


def _add_block(
    graph: QuantisedGraph, x: Quantised, number: int, block: Block, side: int, channels: int
) -> Quantised:
    first_name, second_name, whole_name = name_block_outputs(number)
    first = graph.add_quantised_convolution(x, block.first, first_name)
    branch = graph.add_quantised_convolution(first, block.second, second_name)
    shortcut = x
    if block.halves:
        mean = graph.add("AveragePool", [graph.dequantise(x)], kernel_shape=[2, 2], strides=[2, 2])
        shortcut = graph.quantise(mean, x.scale, x.zero_point)
        grown = block.second.weights.shape[0] - channels
        shortcut = graph.pad(shortcut, channels=grown, side=0)
        branch = graph.pad(branch, channels=0, side=shortcut_side(side) - branch_side(side))
    total = graph.add("Add", [graph.dequantise(shortcut), graph.dequantise(branch)])
    return graph.quantise(total, *graph.choose_scale(whole_name))


class QuantisedGraph(GraphBuilder):
    """A graph of quantised tensors, their scales chosen from measured ranges."""

    def __init__(self, ranges: Ranges) -> None:
        super().__init__()
        self._ranges = ranges

    def choose_scale(self, tensor: str) -> tuple[np.float32, int]:
        """Scale and zero point that spread uint8 over the tensor's range.

        Tensors behind a Relu start at 0 and get the zero point 0; quantising then clips negative values by
        itself, so the int8 graph holds no Relu.
        """
        try:
            low, high = self._ranges[tensor]
        except KeyError as error:
            raise PackError(f"the activation ranges lack {tensor}") from error
        scale = np.float32((high - low) / 255)
        if not scale > 0:
            raise PackError(f"the activation range of {tensor} is empty")
        return scale, round(-low / float(scale))

    def quantise(self, x: str, scale: np.float32, zero_point: int) -> Quantised:
        name = self.add("QuantizeLinear", [x, *self._add_scale(scale, zero_point)])
        return Quantised(name, scale, zero_point)

    def dequantise(self, x: Quantised) -> str:
        return self.add("DequantizeLinear", [x.name, *self._add_scale(x.scale, x.zero_point)])

    def pad(self, x: Quantised, *, channels: int, side: int) -> Quantised:
        zero = self.add_constant(np.array(x.zero_point, np.uint8))
        name = self.add_padding(x.name, channels=channels, side=side, value=zero)
        return Quantised(name, x.scale, x.zero_point)

    def add_quantised_convolution(
        self, x: Quantised, layer: Convolution, tensor: str, groups: int = 1
    ) -> Quantised:
        """Add a convolution with int8 weights and int32 bias; quantise its result to the range of tensor."""
        # Kernels for one channel per group multiply in 16 bits and add in 32: those weights need no bound.
        scales = choose_weight_scales(layer.weights) if groups == 1 else _spread_weights(layer.weights)
        weights = np.rint(layer.weights / scales[:, None, None, None]).astype(np.int8)
        bias_scales = scales * x.scale
        bias = np.rint(layer.bias.astype(np.float64) / bias_scales.astype(np.float64)).astype(np.int32)
        parameters = (
            self._dequantise_parameters(weights, scales),
            self._dequantise_parameters(bias, bias_scales),
        )
        result = self.add_convolution(self.dequantise(x), layer, parameters, groups=groups)
        return self.quantise(result, *self.choose_scale(tensor))

    def _dequantise_parameters(
        self, stored: NDArray[np.int8] | NDArray[np.int32], scales: NDArray[Any]
    ) -> str:
        zeros = self.add_constant(np.zeros(len(scales), stored.dtype))
        inputs = [self.add_constant(stored), self.add_constant(scales), zeros]
        return self.add("DequantizeLinear", inputs, axis=0)

    def _add_scale(self, scale: np.float32, zero_point: int) -> list[str]:
        return [
            self.add_constant(np.array(scale, np.float32)),
            self.add_constant(np.array(zero_point, np.uint8)),
        ]
