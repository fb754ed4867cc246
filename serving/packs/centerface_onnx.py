"""Makes the shipped CenterFace graph usable for any picture size and any batch.

The file declares a fixed 10x3x32x32 input although nothing in it depends on the size (convolutions and
transposed convolutions only), so new input and output shapes are enough. Its initialisers are also listed as
graph inputs, which keeps ONNX Runtime from folding them; they are taken off that list.
"""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from serving.errors import PackError

INPUT_NAME = "pictures"
OUTPUT_NAMES = ("heat", "log_size", "offset", "landmarks")
_SHIPPED_INPUT = "input.1"
_SHIPPED_OUTPUTS = (("537", 1), ("538", 2), ("539", 2), ("540", 10))
_OPERATORS = frozenset({"Conv", "Relu", "Add", "ConvTranspose", "BatchNormalization", "Sigmoid"})


def convert_centerface(data: bytes) -> bytes:
    """Return the model with `pictures` uint8 [n, h, w, 3] RGB in, and heat, log_size, offset, landmarks out.

    h and w must be multiples of 32 at run time; the outputs are float32 [n, c, h/4, w/4]. Casting and
    transposing inside the graph replaces a slower NumPy pass over every picture.

    Raises:
        PackError: data is not the shipped CenterFace model.
    """
    try:
        source = onnx.load_model_from_string(data)
    except Exception as error:
        raise PackError("the detector file is not an ONNX model") from error
    graph = source.graph
    constants = {constant.name for constant in graph.initializer}
    inputs = [value.name for value in graph.input if value.name not in constants]
    outputs = [value.name for value in graph.output]
    found = {node.op_type for node in graph.node}
    if inputs != [_SHIPPED_INPUT] or outputs != [name for name, _ in _SHIPPED_OUTPUTS] or found != _OPERATORS:
        raise PackError("the detector file is not the CenterFace model this version knows")

    renamed = {name: new for (name, _), new in zip(_SHIPPED_OUTPUTS, OUTPUT_NAMES, strict=True)}
    nodes = [
        helper.make_node("Transpose", [INPUT_NAME], ["planes"], name="to_planes", perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], [_SHIPPED_INPUT], name="to_float", to=TensorProto.FLOAT),
    ]
    for node in graph.node:
        copied = onnx.NodeProto()
        copied.CopyFrom(node)
        copied.input[:] = [renamed.get(name, name) for name in node.input]
        copied.output[:] = [renamed.get(name, name) for name in node.output]
        nodes.append(copied)
    used = {name for node in nodes for name in node.input}
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "centerface",
            [helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, ["n", "h", "w", 3])],
            [
                helper.make_tensor_value_info(renamed[name], TensorProto.FLOAT, ["n", channels, "h4", "w4"])
                for name, channels in _SHIPPED_OUTPUTS
            ],
            [constant for constant in graph.initializer if constant.name in used],
        ),
        opset_imports=list(source.opset_import),
        ir_version=source.ir_version,
        producer_name="rollcall",
    )
    onnx.checker.check_model(model)
    converted: bytes = model.SerializeToString(deterministic=True)
    return converted
