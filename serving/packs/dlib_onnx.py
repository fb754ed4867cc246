"""Builds the ONNX graph of dlib's face network in float32.

The graph takes raw pixels, `chips` uint8 [n, 150, 150, 3] RGB, so a caller moves a quarter of the bytes and
no NumPy arithmetic runs per face; (x - mean) / 256 is folded into the stem, which is exact because the stem
does not pad. The output is `vectors` float32 [n, 128], not normalised.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from serving.packs.dlib_format import CHIP_SIDE_PX, Block, Convolution, FaceNetwork
from serving.packs.graph_builder import INPUT_NAME, OUTPUT_NAME, GraphBuilder

STEM_OUTPUT = "stem"
_INPUT_SCALE = 256.0


def convert_network(network: FaceNetwork) -> bytes:
    """Return the serialised float32 model; the same network always gives the same bytes."""
    graph = GraphBuilder()
    x = graph.add("Cast", [graph.add("Transpose", [INPUT_NAME], perm=[0, 3, 1, 2])], to=TensorProto.FLOAT)
    x = graph.add_convolution(x, fold_input(network.stem, network.mean))
    x = graph.add("Relu", [x], output=STEM_OUTPUT)
    x = graph.add("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2])
    side, channels = side_after_stem(), network.stem.weights.shape[0]
    for number, block in enumerate(network.blocks):
        x = _add_block(graph, x, number, block, side, channels)
        side, channels = side_after(block, side), block.second.weights.shape[0]
    x = graph.add("Flatten", [graph.add("GlobalAveragePool", [x])])
    graph.add("MatMul", [x, graph.add_constant(network.projection)], output=OUTPUT_NAME)
    return graph.serialise()


def name_block_outputs(number: int) -> tuple[str, str, str]:
    """Names of a block's tensors: after its first convolution, after its second, and of its result."""
    return f"block{number}_first", f"block{number}_second", f"block{number}"


def fold_input(stem: Convolution, mean: NDArray[Any]) -> Convolution:
    """The stem for raw pixels: W((x - mean) / 256) + b = (W / 256)x + (b - W mean / 256), in float64."""
    weights = stem.weights.astype(np.float64) / _INPUT_SCALE
    bias = stem.bias.astype(np.float64) - np.einsum("oihw,i->o", weights, mean.astype(np.float64))
    return Convolution(weights.astype(np.float32), bias.astype(np.float32), stem.stride, stem.pad)


def side_after_stem() -> int:
    """Side of the feature map at the first block: 150 -> 72 (7x7, stride 2) -> 35 (pool 3, stride 2)."""
    after_convolution = (CHIP_SIDE_PX - 7) // 2 + 1
    return (after_convolution - 3) // 2 + 1


def shortcut_side(side: int) -> int:
    """Side after the 2x2 average pool of a halving block."""
    return (side - 2) // 2 + 1


def branch_side(side: int) -> int:
    """Side after the unpadded 3x3 stride 2 convolution of a halving block."""
    return (side - 3) // 2 + 1


def side_after(block: Block, side: int) -> int:
    """Side after a block; dlib's add grows both operands to the larger one, so the larger side wins."""
    return max(shortcut_side(side), branch_side(side)) if block.halves else side


def _add_block(graph: GraphBuilder, x: str, number: int, block: Block, side: int, channels: int) -> str:
    first, second, whole = name_block_outputs(number)
    branch = graph.add("Relu", [graph.add_convolution(x, block.first)], output=first)
    branch = graph.add_convolution(branch, block.second, output=second)
    shortcut = x
    if block.halves:
        shortcut = graph.add("AveragePool", [x], kernel_shape=[2, 2], strides=[2, 2])
        # dlib's add pads the smaller operand with zeros at the end of each axis.
        grown = block.second.weights.shape[0] - channels
        shortcut = graph.add_padding(shortcut, channels=grown, side=0)
        branch = graph.add_padding(branch, channels=0, side=shortcut_side(side) - branch_side(side))
    return graph.add("Relu", [graph.add("Add", [shortcut, branch])], output=whole)
