"""Makes ArcFace-like embedders, as InsightFace exports them, usable for any batch and fed with raw chips.

Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition" (arXiv:1801.07698); the input
constants are those of the InsightFace project: RGB, (p - 127.5) / 127.5.

Dynamically quantised graphs get float32 arithmetic back, see `serving.packs.dynamic_quantisation`: as they
come, the vector of a face depends on the faces it happens to share a run with.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from serving.errors import PackError
from serving.packs.dynamic_quantisation import restore_floats
from serving.packs.onnx_rewriting import (
    MEAN,
    find_picture_input,
    make_pixel_nodes,
    read_constants,
    read_model,
    select_initialisers,
    select_used,
    serialise,
    split_prelu,
)
from serving.vision.inference import open_session

INPUT_NAME = "chips"
OUTPUT_NAME = "vectors"
_PART = "embedder"
_CHECK_CHIPS = 3
_MIN_CHECK_COSINE = 1 - 1e-5


def convert_arcface(data: bytes) -> bytes:
    """Return the model with `chips` uint8 [n, side, side, 3] RGB in and `vectors` float32 [n, dimension] out.

    Pixels are scaled inside the graph: to (p - 127.5) / 127.5, or not at all where the graph begins with a
    scaling of its own (Sub, then Mul or Div), as exports from MXNet do.

    Raises:
        PackError: data is not an embedder of one batch of chips, or its vectors depend on the batch.
    """
    source = read_model(data, _PART)
    graph = source.graph
    value = find_picture_input(graph, _PART)
    side = value.type.tensor_type.shape.dim[2].dim_value
    if side == 0 or side != value.type.tensor_type.shape.dim[3].dim_value or len(graph.output) != 1:
        raise PackError("the embedder does not turn square chips of one size into vectors")
    output = graph.output[0].name
    body, restored = restore_floats(select_used(graph.node, [output]), graph)
    body = _free_batch(split_prelu(select_used(body, [output]), graph), graph)
    mean, scale = (0.0, 1.0) if _scales_itself(body, value.name) else (MEAN, 1 / MEAN)
    nodes, constants = make_pixel_nodes(INPUT_NAME, value.name, mean=mean, scale=scale)
    nodes += [*body, helper.make_node("Identity", [output], [OUTPUT_NAME])]
    constants += select_initialisers(body, [*graph.initializer, *restored])
    converted = serialise(
        helper.make_graph(
            nodes,
            "arcface",
            [helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, ["n", side, side, 3])],
            [helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, ["n", "dimension"])],
            constants,
        ),
        source,
        _PART,
    )
    _check_batches(converted, side)
    return converted


def _free_batch(body: list[onnx.NodeProto], graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Let reshapes of activations to one row, [1, k], keep the batch they are given."""
    constants = read_constants(graph)
    weights = {one.name for one in graph.initializer}
    freed = []
    for node in body:
        shape = constants.get(node.input[1]) if node.op_type == "Reshape" else None
        if shape is None or node.input[0] in weights or len(shape) != 2 or shape[0] != 1:
            freed.append(node)
            continue
        free = numpy_helper.from_array(np.array([0, shape[1]], np.int64), f"{node.output[0]}_shape")
        freed.append(helper.make_node("Constant", [], [free.name], value=free))
        freed.append(helper.make_node("Reshape", [node.input[0], free.name], list(node.output)))
    return freed


def _scales_itself(body: list[onnx.NodeProto], planes: str) -> bool:
    readers = [node for node in body if planes in node.input]
    if len(readers) != 1 or readers[0].op_type != "Sub":
        return False
    following = [node for node in body if readers[0].output[0] in node.input]
    return len(following) == 1 and following[0].op_type in ("Mul", "Div")


def _check_batches(converted: bytes, side: int) -> None:
    """Raise PackError unless different chips in one run get the vectors that each gets alone."""
    session = open_session(converted)
    # Chips of different contrast, since it is by their extremes that dynamic quantisation mixes them.
    chips = np.random.default_rng(0).integers(0, 256, (_CHECK_CHIPS, side, side, 3), np.uint8)
    chips //= np.arange(1, _CHECK_CHIPS + 1, dtype=np.uint8)[:, None, None, None]
    try:
        together = session.run(None, {INPUT_NAME: chips})[0]
        alone = np.concatenate([session.run(None, {INPUT_NAME: chip[None]})[0] for chip in chips])
    except Exception as error:
        raise PackError(f"the embedder does not run on a batch: {str(error)[:300]}") from error
    if together.ndim != 2 or together.shape != alone.shape:
        raise PackError(f"the embedder gives {together.shape} for {_CHECK_CHIPS} chips, not one vector each")
    if not (_normalise(together) * _normalise(alone)).sum(axis=1).min() >= _MIN_CHECK_COSINE:
        raise PackError("the embedder's vector of a face depends on the others in its batch")


def _normalise(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float32] = vectors / np.maximum(norms, np.float32(1e-12))
    return unit
