"""What the conversions of ONNX files share: reading one, feeding it raw pixels, writing it reproducibly."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from serving.errors import PackError

MEAN = 127.5
"""Subtracted from pixels of 0..255 by the InsightFace models, in all three channels."""


def read_model(data: bytes, part: str) -> onnx.ModelProto:
    """Parse an ONNX file with all its weights inside.

    Raises:
        PackError: data is no such file; the message says which part ("detector", "embedder") it is for.
    """
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:
        raise PackError(f"the {part} file is not an ONNX model") from error
    if not model.graph.node:
        raise PackError(f"the {part} file is not an ONNX model")
    if any(one.data_location == TensorProto.EXTERNAL for one in _list_tensors(model)):
        raise PackError(f"the {part} file keeps its weights in another file; save it as one file")
    return model


def check_is_whole(path: Path, part: str) -> None:
    """Check that a file is a model with all its weights inside: what lies elsewhere no hash would cover.

    Raises:
        PackError: it is none, or cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PackError(f"{path} cannot be read: {error}") from error
    read_model(data, part)


def _list_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor that a model stores, wherever it may be."""
    graphs = [model.graph]
    nodes = [node for function in model.functions for node in function.node]
    while graphs or nodes:
        if graphs:
            graph = graphs.pop()
            yield from graph.initializer
            for sparse in graph.sparse_initializer:
                yield from (sparse.values, sparse.indices)
            nodes += graph.node
        for attribute in (one for node in nodes for one in node.attribute):
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            graphs += ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs)
        nodes = []


def find_picture_input(graph: onnx.GraphProto, part: str) -> onnx.ValueInfoProto:
    """The one input that is not a weight: float32 [batch, 3, height, width].

    Raises:
        PackError: there is none, or more than one.
    """
    weights = {one.name for one in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    if len(inputs) == 1:
        tensor = inputs[0].type.tensor_type
        dims = tensor.shape.dim
        if tensor.elem_type == TensorProto.FLOAT and len(dims) == 4 and dims[1].dim_value == 3:
            return inputs[0]
    raise PackError(f"the {part} does not take one batch of pictures, float32 [n, 3, h, w]")


def make_pixel_nodes(pixels: str, planes: str, *, mean: float, scale: float) -> tuple[list[Any], list[Any]]:
    """Nodes and constants that turn uint8 [n, h, w, 3] into float32 [n, 3, h, w], (pixels - mean) * scale."""
    constants = [
        numpy_helper.from_array(np.array(value, np.float32), f"{pixels}_{name}")
        for name, value in (("mean", mean), ("scale", scale))
    ]
    nodes = [
        helper.make_node("Transpose", [pixels], [f"{pixels}_planes"], name="to_planes", perm=[0, 3, 1, 2]),
        helper.make_node("Cast", [f"{pixels}_planes"], [f"{pixels}_float"], to=TensorProto.FLOAT),
        helper.make_node("Sub", [f"{pixels}_float", f"{pixels}_mean"], [f"{pixels}_centred"]),
        helper.make_node("Mul", [f"{pixels}_centred", f"{pixels}_scale"], [planes]),
    ]
    return nodes, constants


def read_constants(graph: onnx.GraphProto) -> dict[str, NDArray[Any]]:
    """Values of initialisers and Constant nodes of integer type, by name: shapes, axes, sizes."""
    tensors = {one.name: one for one in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            tensors.update((node.output[0], one.t) for one in node.attribute if one.name == "value")
    integers = (TensorProto.INT64, TensorProto.INT32)
    return {name: numpy_helper.to_array(one) for name, one in tensors.items() if one.data_type in integers}


def read_attribute(node: onnx.NodeProto, name: str) -> Any:
    """The value of an attribute, or None."""
    return next((helper.get_attribute_value(one) for one in node.attribute if one.name == name), None)


def select_used(nodes: Iterable[onnx.NodeProto], outputs: Sequence[str]) -> list[onnx.NodeProto]:
    """The nodes that the outputs depend on, in their order."""
    wanted = set(outputs)
    chosen = []
    for node in reversed(list(nodes)):
        if wanted.intersection(node.output):
            chosen.append(node)
            wanted.update(node.input)
    return chosen[::-1]


def select_initialisers(
    nodes: Iterable[onnx.NodeProto], initialisers: Iterable[onnx.TensorProto]
) -> list[onnx.TensorProto]:
    """The initialisers that the nodes use."""
    used = {name for node in nodes for name in node.input}
    return [one for one in initialisers if one.name in used]


def split_prelu(body: list[onnx.NodeProto], graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Replace PRelu by Mul and Max, which give the same bits in less time on a CPU.

    Only where no slope exceeds 1; beyond that the maximum is the other one.
    """
    weights = {one.name: one for one in graph.initializer}
    split = []
    for node in body:
        slopes = weights.get(node.input[1]) if node.op_type == "PRelu" else None
        if slopes is None or not numpy_helper.to_array(slopes).max() <= 1:
            split.append(node)
            continue
        x, output = node.input[0], node.output[0]
        split.append(helper.make_node("Mul", [x, slopes.name], [f"{output}_sloped"]))
        split.append(helper.make_node("Max", [x, f"{output}_sloped"], [output]))
    return split


def serialise(graph: onnx.GraphProto, source: onnx.ModelProto, part: str) -> bytes:
    """Return the checked model with the operator sets of source; the same graph gives the same bytes.

    Raises:
        PackError: the graph is not valid.
    """
    model = helper.make_model(
        graph,
        opset_imports=list(source.opset_import),
        ir_version=source.ir_version,
        producer_name="rollcall",
    )
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise PackError(f"the {part} cannot be converted: {str(error)[:300]}") from error
    data: bytes = model.SerializeToString(deterministic=True)
    return data
