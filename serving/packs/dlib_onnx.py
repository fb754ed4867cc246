"""Builds the ONNX graph of dlib's face network in float32.

The graph takes raw pixels, `chips` uint8 [n, 150, 150, 3] RGB, so a caller moves a quarter of the bytes and
no NumPy arithmetic runs per face; (x - mean) / 256 is folded into the stem, which is exact because the stem
does not pad. The output is `vectors` float32 [n, 128], not normalised.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from serving.packs.dlib_format import CHIP_SIDE_PX, DIMENSION, Block, Convolution, FaceNetwork

OPSET = 17
IR_VERSION = 8
INPUT_NAME = "chips"
OUTPUT_NAME = "vectors"
_INPUT_SCALE = 256.0


def convert_network(network: FaceNetwork) -> bytes:
    """Return the serialised float32 model; the same network always gives the same bytes."""
    graph = _Graph()
    x = graph.add("Cast", [graph.add("Transpose", [INPUT_NAME], perm=[0, 3, 1, 2])], to=TensorProto.FLOAT)
    x = graph.add("Relu", [graph.add_convolution(x, fold_input(network.stem, network.mean))])
    x = graph.add("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2])
    side, channels = side_after_stem(), network.stem.weights.shape[0]
    for block in network.blocks:
        x = _add_block(graph, x, block, side, channels)
        side, channels = side_after(block, side), block.second.weights.shape[0]
    x = graph.add("Flatten", [graph.add("GlobalAveragePool", [x])])
    graph.add("MatMul", [x, graph.add_constant(network.projection)], output=OUTPUT_NAME)
    return assemble(graph.nodes, graph.constants)


def fold_input(stem: Convolution, mean: np.ndarray) -> Convolution:
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


def assemble(nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto]) -> bytes:
    """Wrap nodes into a checked, deterministically serialised model with the embedder's input and output."""
    graph = helper.make_graph(
        nodes,
        "dlib_face_recognition_resnet_v1",
        [helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, ["n", CHIP_SIDE_PX, CHIP_SIDE_PX, 3])],
        [helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, ["n", DIMENSION])],
        constants,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="rollcall"
    )
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _add_block(graph: _Graph, x: str, block: Block, side: int, channels: int) -> str:
    branch = graph.add("Relu", [graph.add_convolution(x, block.first)])
    branch = graph.add_convolution(branch, block.second)
    shortcut = x
    if block.halves:
        shortcut = graph.add("AveragePool", [x], kernel_shape=[2, 2], strides=[2, 2])
        # dlib's add pads the smaller operand with zeros at the end of each axis.
        grown = block.second.weights.shape[0] - channels
        shortcut = graph.add_padding(shortcut, channels=grown, side=0)
        branch = graph.add_padding(branch, channels=0, side=shortcut_side(side) - branch_side(side))
    return graph.add("Relu", [graph.add("Add", [shortcut, branch])])


class _Graph:
    """Nodes and constants in order, with generated names."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, operator: str, inputs: list[str], output: str | None = None, **attributes: object) -> str:
        name = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def add_constant(self, value: np.ndarray) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add_convolution(self, x: str, layer: Convolution) -> str:
        weights, bias = self.add_constant(layer.weights), self.add_constant(layer.bias)
        return self.add(
            "Conv",
            [x, weights, bias],
            kernel_shape=list(layer.weights.shape[2:]),
            strides=[layer.stride] * 2,
            pads=[layer.pad] * 4,
        )

    def add_padding(self, x: str, *, channels: int, side: int) -> str:
        if channels == 0 and side == 0:
            return x
        pads = np.array([0, 0, 0, 0, 0, channels, side, side], np.int64)
        return self.add("Pad", [x, self.add_constant(pads)])
