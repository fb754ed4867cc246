"""Builds the int8 form of CenterFace from activation ranges that ship with the product.

As `serving.packs.quantise` does for dlib's network: quantise/dequantise pairs around every convolution and
addition, activations uint8, weights int8 with one scale per output channel. There are no integer kernels for
transposed convolutions. These are 2x2 with a stride of 2, so their outputs do not overlap: each is a 1x1
convolution to four times the channels, which then move into 2x2 squares. The four heads, 15 channels in all,
stay in float32, because boxes and landmarks are read from them to a fraction of a pixel.

The ranges were measured by `python -m serving.evaluation.measure_centerface_ranges`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from serving.errors import PackError
from serving.packs.centerface_onnx import INPUT_NAME, OUTPUT_NAMES, convert_centerface
from serving.packs.dlib_format import Convolution
from serving.packs.quantise import Quantised, QuantisedGraph, Ranges

RANGES_FILE = "centerface-ranges.json"
_PIXELS = "input.1"
_CHANNELS = (1, 2, 2, 10)
_Weights = dict[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class _Layer:
    """A convolution and what follows it.

    source, result: tensors of the shipped graph; the result is that after the activation. doubles: the
    channels are those of 2x2 squares, to be moved there.
    """

    source: str
    result: str
    convolution: Convolution
    groups: int = 1
    doubles: bool = False


@dataclass(frozen=True, slots=True)
class _Sum:
    first: str
    second: str
    result: str


def quantise_centerface(data: bytes, ranges: Ranges) -> bytes:
    """Return the serialised int8 model, with the inputs and outputs of `convert_centerface`.

    Args:
        data: the file as shipped.

    Raises:
        PackError: data is not the shipped CenterFace model, or ranges lacks a tensor of it.
    """
    nodes, weights = _read_graph(data)
    graph = QuantisedGraph(ranges)
    planes = graph.add("Transpose", [INPUT_NAME], perm=[0, 3, 1, 2])
    tensors = {_PIXELS: Quantised(planes, np.float32(1), 0)}
    for step in _list_steps(nodes, weights):
        if isinstance(step, _Sum):
            total = graph.add("Add", [graph.dequantise(tensors[name]) for name in (step.first, step.second)])
            tensors[step.result] = graph.quantise(total, *graph.choose_scale(step.result))
            continue
        result = graph.add_quantised_convolution(
            tensors[step.source], step.convolution, step.result, step.groups
        )
        if step.doubles:
            squares = graph.add("DepthToSpace", [result.name], blocksize=2, mode="DCR")
            result = Quantised(squares, result.scale, result.zero_point)
        tensors[step.result] = result
    _add_heads(graph, tensors, nodes, weights)
    return graph.serialise(
        "centerface_int8",
        [helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, ["n", "h", "w", 3])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", channels, "h4", "w4"])
            for name, channels in zip(OUTPUT_NAMES, _CHANNELS, strict=True)
        ],
    )


def list_stored_tensors(data: bytes) -> list[str]:
    """Names of the tensors of the shipped file that the int8 model stores, and so needs ranges of.

    Raises:
        PackError: data is not the shipped CenterFace model.
    """
    return [step.result for step in _list_steps(*_read_graph(data))]


def _read_graph(data: bytes) -> tuple[list[onnx.NodeProto], _Weights]:
    graph = onnx.load_model_from_string(convert_centerface(data)).graph
    weights = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    return [node for node in graph.node if node.op_type not in ("Transpose", "Cast")], weights


def _list_steps(nodes: list[onnx.NodeProto], weights: _Weights) -> Iterator[_Layer | _Sum]:
    """The layers up to the heads, each with the activation that follows it."""
    followers = {name: node for node in nodes for name in node.input}
    for node in nodes:
        after = followers.get(node.output[0])
        if node.op_type == "Add":
            yield _Sum(node.input[0], node.input[1], node.output[0])
        elif node.op_type == "ConvTranspose":
            if after is None or after.op_type != "BatchNormalization":
                raise PackError("the detector's layers are not in the order this version knows")
            relu = followers[after.output[0]]
            yield _Layer(node.input[0], relu.output[0], _read_doubling(node, after, weights), doubles=True)
        elif node.op_type == "Conv" and after is not None and after.op_type != "Sigmoid":
            is_active = after.op_type == "Relu"
            settings = {each.name: helper.get_attribute_value(each) for each in node.attribute}
            convolution = Convolution(
                weights[node.input[1]],
                weights[node.input[2]],
                settings["strides"][0],
                settings["pads"][0],
            )
            result = after.output[0] if is_active else node.output[0]
            yield _Layer(node.input[0], result, convolution, settings["group"])


def _read_doubling(node: onnx.NodeProto, norm: onnx.NodeProto, weights: _Weights) -> Convolution:
    """A transposed convolution [in, out, 2, 2] and its normalisation as a 1x1 convolution to squares."""
    kernel = weights[node.input[1]].astype(np.float64)
    gain, shift, mean, variance = (weights[name].astype(np.float64) for name in norm.input[1:5])
    epsilon = next(each.f for each in norm.attribute if each.name == "epsilon")
    factor = gain / np.sqrt(variance + epsilon)
    scaled = (kernel * factor[None, :, None, None]).transpose(2, 3, 1, 0)
    bias = np.tile(shift - mean * factor, 4)
    return Convolution(
        scaled.reshape(-1, kernel.shape[0], 1, 1).astype(np.float32), bias.astype(np.float32), 1, 0
    )


def _add_heads(
    graph: QuantisedGraph, tensors: dict[str, Quantised], nodes: list[onnx.NodeProto], weights: _Weights
) -> None:
    """The four 1x1 convolutions as one in float32, split again; the first is the logit of the heat."""
    by_output = {node.output[0]: node for node in nodes}
    logit = by_output[by_output[OUTPUT_NAMES[0]].input[0]]
    heads = [logit, *(by_output[name] for name in OUTPUT_NAMES[1:])]
    together = Convolution(
        np.concatenate([weights[head.input[1]] for head in heads]),
        np.concatenate([weights[head.input[2]] for head in heads]),
        1,
        0,
    )
    maps = graph.add_convolution(graph.dequantise(tensors[logit.input[0]]), together)
    parts = graph.add_constant(np.array(_CHANNELS, np.int64))
    names = ["heat_logit", *OUTPUT_NAMES[1:]]
    graph.nodes.append(helper.make_node("Split", [maps, parts], names, name="split", axis=1))
    graph.add("Sigmoid", [names[0]], OUTPUT_NAMES[0])
