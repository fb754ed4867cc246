"""Puts an ONNX graph together node by node, with generated names and a reproducible serialisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from serving.packs.dlib_format import CHIP_SIDE_PX, DIMENSION, Convolution

OPSET = 17
IR_VERSION = 8
INPUT_NAME = "chips"
OUTPUT_NAME = "vectors"


class GraphBuilder:
    """Nodes and constants in order, with generated names."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, operator: str, inputs: list[str], output: str | None = None, **attributes: object) -> str:
        name = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def add_constant(self, value: NDArray[Any]) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def add_convolution(
        self,
        x: str,
        layer: Convolution,
        parameters: tuple[str, str] | None = None,
        output: str | None = None,
        groups: int = 1,
    ) -> str:
        """Add a Conv; parameters names tensors that stand in for the layer's own weights and bias."""
        weights, bias = parameters or (self.add_constant(layer.weights), self.add_constant(layer.bias))
        return self.add(
            "Conv",
            [x, weights, bias],
            output,
            kernel_shape=list(layer.weights.shape[2:]),
            strides=[layer.stride] * 2,
            pads=[layer.pad] * 4,
            **({"group": groups} if groups > 1 else {}),
        )

    def add_padding(self, x: str, *, channels: int, side: int, value: str | None = None) -> str:
        """Grow [n, c, h, w] at the end of c, and of h and w, with zeros or with the constant named value."""
        if channels == 0 and side == 0:
            return x
        pads = np.array([0, 0, 0, 0, 0, channels, side, side], np.int64)
        return self.add("Pad", [x, self.add_constant(pads), *([value] if value else [])])

    def serialise(
        self,
        name: str = "dlib_face_recognition_resnet_v1",
        inputs: Sequence[onnx.ValueInfoProto] = (),
        outputs: Sequence[onnx.ValueInfoProto] = (),
    ) -> bytes:
        """Return the checked model; the same nodes and constants always give the same bytes.

        inputs, outputs: empty means chips and vectors of dlib's network.
        """
        chips = ["n", CHIP_SIDE_PX, CHIP_SIDE_PX, 3]
        graph = helper.make_graph(
            self.nodes,
            name,
            list(inputs) or [helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, chips)],
            list(outputs)
            or [helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, ["n", DIMENSION])],
            self.constants,
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="rollcall",
        )
        onnx.checker.check_model(model)
        data: bytes = model.SerializeToString(deterministic=True)
        return data
