"""Takes ONNX Runtime's dynamic quantisation back out of a graph.

Such graphs choose the scale of their activations by the extremes of the whole batch, so what they say of one
item depends on the others in its run. Their integer operators are replaced by the float32 ones that they
approximate, with the float32 weights that the stored integers stand for: each item then counts for itself,
and the graph runs on providers that have no kernels for integers.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from serving.errors import PackError

_FLOAT_OPERATORS = {"ConvInteger": "Conv", "MatMulInteger": "MatMul"}
_AROUND = ("DynamicQuantizeLinear", "Cast", "Mul", "Mul")


def restore_floats(
    body: list[onnx.NodeProto], graph: onnx.GraphProto
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Return the nodes of body with each integer operator replaced, and the weights they now use besides.

    The nodes around an integer operator, which quantise its input and scale its output, are left for the
    caller to drop with whatever else nothing depends on.

    Raises:
        PackError: an integer operator does not stand among the nodes that dynamic quantisation writes.
    """
    tensors = {one.name: one for one in graph.initializer}
    makers = {name: node for node in body for name in node.output}
    readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in body:
        for name in node.input:
            readers[name].append(node)
    replaced: dict[str, onnx.NodeProto] = {}
    weights: list[onnx.TensorProto] = []
    for node in body:
        if node.op_type not in _FLOAT_OPERATORS:
            continue
        try:
            quantiser = makers[node.input[0]]
            (cast,) = readers[node.output[0]]
            (product,) = readers[cast.output[0]]
            (scales,) = (makers[name] for name in product.input if name != cast.output[0])
            (scale,) = (tensors[name] for name in scales.input if name != quantiser.output[1])
            if tuple(one.op_type for one in (quantiser, cast, scales, product)) != _AROUND:
                raise ValueError(f"around {node.op_type}")
            values = _dequantise(node, tensors, numpy_helper.to_array(scale))
        except (KeyError, ValueError, IndexError) as error:
            raise PackError(f"a {node.op_type} of the model is not quantised as ONNX Runtime does") from error
        weights.append(numpy_helper.from_array(values, f"{node.output[0]}_weights"))
        restored = onnx.NodeProto()
        restored.CopyFrom(node)
        restored.op_type = _FLOAT_OPERATORS[node.op_type]
        restored.input[:] = [quantiser.input[0], weights[-1].name]
        restored.output[:] = list(product.output)
        replaced[product.output[0]] = restored
    return [replaced.get(node.output[0], node) for node in body], weights


def _dequantise(
    node: onnx.NodeProto, tensors: dict[str, onnx.TensorProto], scale: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The float32 weights of an integer operator; scale and zero point are one number or one per output."""
    stored = numpy_helper.to_array(tensors[node.input[1]]).astype(np.float32)
    zero = numpy_helper.to_array(tensors[node.input[3]]) if len(node.input) > 3 else np.zeros((), np.uint8)
    outputs_first = node.op_type == "ConvInteger"
    shape = (-1,) + (1,) * (stored.ndim - 1) if outputs_first else (-1,)
    values: NDArray[np.float32] = (stored - zero.astype(np.float32).reshape(shape)) * scale.reshape(shape)
    return values
