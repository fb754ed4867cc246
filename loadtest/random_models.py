"""Builds graphs of InsightFace's architectures with random weights, laid out as the project exports them.

They find and recognise nobody. They take the shapes, the memory and the time of models whose weights may
not be at hand: SCRFD (Guo et al., arXiv:2105.04714; layer plans from the project's scrfd_2.5g_bnkps and
scrfd_10g_bnkps configurations) and IResNet (Deng et al., arXiv:1801.07698; the project's arcface_torch).
Batch normalisation that follows a convolution is folded into it, as in the exports.

    python -m loadtest.random_models scrfd-10g FILE.onnx
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

_OPSET, _IR_VERSION = 11, 6
_POINTS = 5
_SCORE_BIAS = -4.595
"""What SCRFD's score layer starts training with: few anchors are faces."""


@dataclass(frozen=True)
class ScrfdPlan:
    """Channels and depths: of the backbone's four stages, of the pyramid, and of the heads."""

    blocks: tuple[int, int, int, int]
    planes: tuple[int, int, int, int]
    neck: int
    head: int
    head_depth: int
    anchors: int = 2


SCRFD_2_5G = ScrfdPlan((3, 5, 3, 2), (24, 48, 48, 80), neck=24, head=64, head_depth=2)
SCRFD_10G = ScrfdPlan((3, 4, 2, 3), (56, 88, 88, 224), neck=56, head=80, head_depth=3)
IRESNET_50 = (3, 4, 14, 3)
IRESNET_100 = (3, 13, 30, 3)


def build_scrfd(plan: ScrfdPlan, seed: int = 0) -> bytes:
    """The export of a detector with key points: float32 [1, 3, h, w] in, nine outputs, batch fixed at one."""
    graph = _Graph(seed)
    x, width = graph.picture, plan.planes[0]
    for source, channels, stride in ((3, width // 2, 2), (width // 2, width // 2, 1), (width // 2, width, 1)):
        x = graph.add("Relu", [graph.convolve(x, source, channels, stride=stride)])
    x = graph.add("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2])
    stages = []
    for number, (count, channels) in enumerate(zip(plan.blocks, plan.planes, strict=True)):
        for block in range(count):
            stride = 2 if number and not block else 1
            x = _add_basic_block(graph, x, width, channels, stride)
            width = channels
        stages.append((x, channels))
    for level, feature in enumerate(_add_pyramid(graph, stages[1:], plan.neck)):
        _add_head(graph, feature, plan, level)
    kinds = (("score", 1), ("box", 4), ("points", 2 * _POINTS))
    outputs = [(f"{name}_{level}", [None, size]) for name, size in kinds for level in range(3)]
    return graph.serialise([1, 3, None, None], outputs)


def build_iresnet(
    blocks: tuple[int, int, int, int], planes: tuple[int, int, int, int] = (64, 128, 256, 512), seed: int = 0
) -> bytes:
    """The export of an embedder: float32 [n, 3, 112, 112] in, float32 [n, 512] out."""
    graph = _Graph(seed)
    x, width = graph.convolve(graph.picture, 3, planes[0]), planes[0]
    x = graph.add_prelu(x, width)
    for count, channels in zip(blocks, planes, strict=True):
        for block in range(count):
            stride = 1 if block else 2
            inner = graph.convolve(graph.normalise(x, width), width, channels)
            # At half the gain, so that fifty additions in a row do not grow without end.
            inner = graph.convolve(
                graph.add_prelu(inner, channels), channels, channels, stride=stride, gain=0.5
            )
            shortcut = x if block else graph.convolve(x, width, channels, kernel=1, stride=stride)
            x, width = graph.add("Add", [inner, shortcut]), channels
    x = graph.add("Flatten", [graph.normalise(x, width)], axis=1)
    dense = graph.add_weights((512, width * 49), width * 49)
    x = graph.add("Gemm", [x, dense, graph.add_constant(np.zeros(512))], transB=1)
    graph.normalise(x, 512, output="vector")
    return graph.serialise([None, 3, 112, 112], [("vector", [None, 512])])


def count_parameters(data: bytes) -> int:
    """Weights of convolutions and dense layers, biases included."""
    graph = onnx.load_model_from_string(data).graph
    sizes = {one.name: math.prod(one.dims) for one in graph.initializer}
    counted = ("Conv", "Gemm", "PRelu", "BatchNormalization")
    return sum(
        sizes.get(name, 0) for node in graph.node if node.op_type in counted for name in node.input[1:]
    )


def count_multiply_adds(data: bytes, height: int, width: int) -> int:
    """Multiplications of convolutions and dense layers for one picture of this size."""
    model = onnx.load_model_from_string(data)
    for dim, size in zip(model.graph.input[0].type.tensor_type.shape.dim, (1, 3, height, width), strict=True):
        dim.dim_value = size
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    weights = {one.name: list(one.dims) for one in graph.initializer}
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in [*graph.value_info, *graph.output]
    }
    total = 0
    for node in graph.node:
        if node.op_type == "Conv":
            total += math.prod(weights[node.input[1]]) * math.prod(shapes[node.output[0]][2:])
        elif node.op_type == "Gemm":
            total += math.prod(weights[node.input[1]])
    return total


def _add_basic_block(graph: _Graph, x: str, source: int, channels: int, stride: int) -> str:
    inner = graph.add("Relu", [graph.convolve(x, source, channels, stride=stride)])
    inner = graph.convolve(inner, channels, channels)
    shortcut = x
    if stride == 2:
        pooled = graph.add("AveragePool", [x], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
        shortcut = graph.convolve(pooled, source, channels, kernel=1)
    elif source != channels:
        shortcut = graph.convolve(x, source, channels, kernel=1)
    return graph.add("Relu", [graph.add("Add", [inner, shortcut])])


def _add_pyramid(graph: _Graph, stages: list[tuple[str, int]], width: int) -> list[str]:
    """PAFPN: top down by doubling, then bottom up by strided convolutions."""
    features = [graph.convolve(x, channels, width, kernel=1) for x, channels in stages]
    for level in (1, 0):
        features[level] = graph.add(
            "Add", [features[level], graph.resize(features[level + 1], features[level])]
        )
    smooth = [graph.convolve(x, width, width) for x in features]
    for level in (1, 2):
        down = graph.convolve(smooth[level - 1], width, width, stride=2)
        smooth[level] = graph.add("Add", [smooth[level], down])
    return [smooth[0], *(graph.convolve(x, width, width) for x in smooth[1:])]


def _add_head(graph: _Graph, x: str, plan: ScrfdPlan, level: int) -> None:
    source = plan.neck
    for _ in range(plan.head_depth):
        x = graph.add("Relu", [graph.convolve(x, source, plan.head)])
        source = plan.head
    scores = graph.convolve(x, source, plan.anchors, bias=_SCORE_BIAS)
    boxes = graph.convolve(x, source, 4 * plan.anchors, bias=1.0)
    boxes = graph.add("Mul", [boxes, graph.add_constant(np.array(1.0))])
    points = graph.convolve(x, source, 2 * _POINTS * plan.anchors)
    graph.add("Sigmoid", [graph.list_rows(scores, 1)], f"score_{level}")
    graph.list_rows(boxes, 4, f"box_{level}")
    graph.list_rows(points, 2 * _POINTS, f"points_{level}")


class _Graph:
    """Nodes and random weights in order, with generated names."""

    def __init__(self, seed: int) -> None:
        self.picture = "input.1"
        self._random = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def add(self, operator: str, inputs: list[str], output: str | None = None, **attributes: object) -> str:
        name = output or f"t{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def add_constant(self, value: NDArray[np.float64] | NDArray[np.float32] | NDArray[np.int64]) -> str:
        name = f"c{len(self._constants)}"
        kind = np.int64 if value.dtype == np.int64 else np.float32
        self._constants.append(numpy_helper.from_array(np.asarray(value, kind), name))
        return name

    def add_weights(self, shape: tuple[int, ...], inputs: int, gain: float = 1.0) -> str:
        """Normal weights; with the gain 1, what goes through them keeps its variance."""
        values = self._random.standard_normal(shape, np.float32)
        return self.add_constant(values * np.float32(gain * math.sqrt(1.5 / inputs)))

    def convolve(
        self,
        x: str,
        source: int,
        channels: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        bias: float = 0.0,
        gain: float = 1.0,
    ) -> str:
        weights = self.add_weights((channels, source, kernel, kernel), source * kernel * kernel, gain)
        return self.add(
            "Conv",
            [x, weights, self.add_constant(np.full(channels, bias))],
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            pads=[kernel // 2] * 4,
        )

    def normalise(self, x: str, channels: int, output: str | None = None) -> str:
        one, zero = np.ones(channels), np.zeros(channels)
        parameters = [self.add_constant(value) for value in (one, zero, zero, one)]
        return self.add("BatchNormalization", [x, *parameters], output, epsilon=1e-5)

    def add_prelu(self, x: str, channels: int) -> str:
        return self.add("PRelu", [x, self.add_constant(np.full((channels, 1, 1), 0.25))])

    def resize(self, x: str, like: str) -> str:
        """Nearest neighbour, to the height and width of another tensor."""
        ends = [self.add_constant(np.array([end])) for end in (0, 2, 4)]
        batch = self.add("Slice", [self.add("Shape", [x]), ends[0], ends[1]])
        size = self.add("Slice", [self.add("Shape", [like]), ends[1], ends[2]])
        target = self.add("Concat", [batch, size], axis=0)
        nothing = self.add_constant(np.zeros(0))
        return self.add(
            "Resize",
            [x, nothing, nothing, target],
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )

    def list_rows(self, x: str, size: int, output: str | None = None) -> str:
        """[1, anchors * size, h, w] as [h * w * anchors, size], as the project's exports do."""
        turned = self.add("Transpose", [x], perm=[2, 3, 0, 1])
        return self.add("Reshape", [turned, self.add_constant(np.array([-1, size]))], output)

    def serialise(self, shape: list[int | None], outputs: list[tuple[str, list[int | None]]]) -> bytes:
        graph = helper.make_graph(
            self._nodes,
            "random_weights",
            [helper.make_tensor_value_info(self.picture, TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in outputs],
            self._constants,
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION
        )
        data: bytes = model.SerializeToString(deterministic=True)
        return data


BUILDERS: dict[str, Callable[[], bytes]] = {
    "scrfd-2.5g": lambda: build_scrfd(SCRFD_2_5G),
    "scrfd-10g": lambda: build_scrfd(SCRFD_10G),
    "iresnet50": lambda: build_iresnet(IRESNET_50),
    "iresnet100": lambda: build_iresnet(IRESNET_100),
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", choices=sorted(BUILDERS))
    parser.add_argument("file", type=Path)
    options = parser.parse_args(arguments)
    options.file.write_bytes(BUILDERS[options.model]())


if __name__ == "__main__":
    main()
