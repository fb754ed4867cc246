"""Makes SCRFD graphs, as InsightFace exports them, usable for any batch and picture size.

The exports take one picture: each head ends in a Transpose that puts the batch between the anchors and a
Reshape that merges the two, so the answers of several pictures could not be told apart. The heads are cut off
before that and get new ends which keep the batch first. The class in serving.vision.scrfd decodes them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from serving.errors import PackError
from serving.packs.onnx_rewriting import (
    MEAN,
    find_picture_input,
    make_pixel_nodes,
    read_attribute,
    read_constants,
    read_model,
    select_initialisers,
    select_used,
    serialise,
)
from serving.vision.inference import open_session

INPUT_NAME = "pictures"
_PART = "detector"
_SCALE = 1 / 128
_LEVELS = (3, 5)
_KINDS = {1: "scores", 4: "boxes", 10: "points"}
_TAIL_OPERATORS = frozenset({"Sigmoid", "Reshape", "Transpose"})
_ONE_PICTURE_ORDER, _BATCH_ORDER = [2, 3, 0, 1], [0, 2, 3, 1]
_CHECK_SHAPE = (128, 256)
_CHECK_TOLERANCE = 1e-4


@dataclass(frozen=True)
class _Head:
    """One output: the tensor [n, anchors * values, h, w] it is made from; values per anchor: 1, 4 or 10."""

    source: str
    values: int
    sigmoid: bool


def convert_scrfd(data: bytes) -> bytes:
    """Return the model with `pictures` uint8 [n, h, w, 3] RGB in and, per stride, three outputs.

    The outputs are `scores_8` float32 [n, m, 1] in 0..1, `boxes_8` [n, m, 4] and `points_8` [n, m, 10], and
    so on for the strides 8, 16, 32 (or 8 to 128), with m = anchors * h / stride * w / stride, row by row; box
    distances and points are in units of the stride. h and w must be multiples of 32 and of the largest
    stride. Pixels are scaled to (p - 127.5) / 128 inside the graph.

    Raises:
        PackError: data is not an SCRFD model with landmarks.
    """
    source = read_model(data, _PART)
    graph = source.graph
    planes = find_picture_input(graph, _PART).name
    heads = _order_heads([_trace_head(graph, output) for output in graph.output])
    nodes, constants = make_pixel_nodes(INPUT_NAME, planes, mean=MEAN, scale=_SCALE)
    body = select_used(graph.node, [head.source for head in heads.values()])
    body, upscaling = _free_sizes(body, graph)
    nodes, constants = nodes + body, constants + upscaling
    for name, head in heads.items():
        shape = numpy_helper.from_array(np.array([0, -1, head.values], np.int64), f"{name}_shape")
        rows = f"{name}_rows" if head.sigmoid else name
        nodes.append(helper.make_node("Transpose", [head.source], [f"{name}_last"], perm=_BATCH_ORDER))
        nodes.append(helper.make_node("Reshape", [f"{name}_last", shape.name], [rows]))
        if head.sigmoid:
            nodes.append(helper.make_node("Sigmoid", [rows], [name]))
        constants.append(shape)
    converted = serialise(
        helper.make_graph(
            nodes,
            "scrfd",
            [helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, ["n", "h", "w", 3])],
            [
                helper.make_tensor_value_info(
                    name, TensorProto.FLOAT, ["n", f"m_{name.rpartition('_')[2]}", head.values]
                )
                for name, head in heads.items()
            ],
            constants + select_initialisers(nodes, graph.initializer),
        ),
        source,
        _PART,
    )
    _check_batches(converted, heads)
    return converted


def _trace_head(graph: onnx.GraphProto, output: onnx.ValueInfoProto) -> _Head:
    """Walk back from an output to the map that it lists."""
    makers = {name: node for node in graph.node for name in node.output}
    constants = read_constants(graph)
    name, values, sigmoid, turned = output.name, 0, False, False
    dims = output.type.tensor_type.shape.dim
    if dims:
        values = dims[-1].dim_value
    while (node := makers.get(name)) is not None and node.op_type in _TAIL_OPERATORS:
        if node.op_type == "Sigmoid":
            sigmoid = True
        elif node.op_type == "Reshape":
            shape = constants.get(node.input[1])
            values = values or (int(shape[-1]) if shape is not None and shape.size else 0)
        else:
            turned = read_attribute(node, "perm") in (_ONE_PICTURE_ORDER, _BATCH_ORDER)
        name = node.input[0]
    if not turned or values not in _KINDS or sigmoid != (values == 1):
        raise PackError(f"output {output.name} of the detector is none of SCRFD's scores, boxes or landmarks")
    return _Head(name, values, sigmoid)


def _order_heads(heads: list[_Head]) -> dict[str, _Head]:
    """Name the heads by kind and stride; in SCRFD's exports those of each kind go from fine to coarse."""
    ordered: dict[str, _Head] = {}
    for values, kind in _KINDS.items():
        members = [head for head in heads if head.values == values]
        if values == 10 and not members:
            raise PackError("the detector finds no landmarks, which alignment needs; take one `with kps`")
        if len(members) not in _LEVELS or len(members) * len(_KINDS) < len(heads):
            raise PackError(f"the detector has {len(members)} outputs of {kind}, not 3 or 5")
        ordered |= {f"{kind}_{8 << level}": head for level, head in enumerate(members)}
    return ordered


def _free_sizes(
    body: list[onnx.NodeProto], graph: onnx.GraphProto
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Replace the constant target sizes of exports made for one picture size by the factor 2 they stand for.

    The feature pyramid doubles its maps and does nothing else with Resize.
    """
    constants = read_constants(graph)
    factors = numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "twice")
    freed, changed = [], False
    for node in body:
        copied = onnx.NodeProto()
        copied.CopyFrom(node)
        if node.op_type == "Resize" and len(node.input) == 4 and node.input[3] in constants:
            copied.input[:] = [node.input[0], node.input[1], factors.name]
            changed = True
        freed.append(copied)
    return freed, [factors] if changed else []


def _check_batches(converted: bytes, heads: dict[str, _Head]) -> None:
    """Raise PackError unless two different pictures in one run get what each gets alone."""
    height, width = _CHECK_SHAPE
    pictures = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), np.uint8)
    session = open_session(converted)
    names = list(heads)
    try:
        both = session.run(names, {INPUT_NAME: pictures})
        alone = [session.run(names, {INPUT_NAME: pictures[i : i + 1]}) for i in range(2)]
    except Exception as error:
        raise PackError(f"the detector does not run on a batch: {str(error)[:300]}") from error
    for position, name in enumerate(names):
        stride = int(name.rpartition("_")[2])
        single = np.concatenate([outputs[position] for outputs in alone])
        cells = (height // stride) * (width // stride)
        if both[position].shape != single.shape or single.shape[1] not in (cells, 2 * cells):
            raise PackError(f"the detector's {name} have the shape {single.shape} on {height}x{width} pixels")
        if not np.allclose(both[position], single, atol=_CHECK_TOLERANCE):
            raise PackError("the detector's answer for a picture depends on the others in its batch")
