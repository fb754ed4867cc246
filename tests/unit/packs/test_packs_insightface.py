"""Conversions of InsightFace's exports: the same answers, in batches."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from loadtest.random_models import (
    BUILDERS,
    SCRFD_10G,
    ScrfdPlan,
    build_iresnet,
    build_scrfd,
    count_multiply_adds,
    count_parameters,
)
from serving.errors import PackError
from serving.packs.arcface_onnx import convert_arcface
from serving.packs.scrfd_onnx import convert_scrfd
from serving.vision.inference import open_session
from serving.vision.scrfd import Scrfd

_TINY = ScrfdPlan((1, 1, 1, 1), (8, 8, 8, 8), neck=8, head=8, head_depth=1)
_TINY_IRESNET = (1, 1, 1, 1), (8, 8, 8, 8)
_CHIPS = np.random.default_rng(2).integers(0, 256, (3, 112, 112, 3), np.uint8)


@pytest.fixture(scope="module")
def models(shared_dir: Path) -> dict[str, bytes]:
    return {file.stem: file.read_bytes() for file in sorted((shared_dir / "models").glob("[dw]*.onnx"))}


def _run_export(data: bytes, pixels: np.ndarray, divisor: float) -> list[np.ndarray]:
    """An export as InsightFace runs it: RGB planes, (p - 127.5) / divisor."""
    session = open_session(data)
    planes = np.ascontiguousarray(((pixels.astype(np.float32) - 127.5) / divisor).transpose(0, 3, 1, 2))
    outputs: list[np.ndarray] = session.run(None, {session.get_inputs()[0].name: planes})
    return outputs


@pytest.mark.parametrize("name", ["det_500m", "det_2.5g", "tiny"])
def test_converted_scrfd_gives_what_the_export_gives(name: str, request: pytest.FixtureRequest) -> None:
    source = build_scrfd(_TINY) if name == "tiny" else request.getfixturevalue("models")[name]
    converted = convert_scrfd(source)
    assert converted == convert_scrfd(source), "the same bytes every time"
    pictures = np.random.default_rng(1).integers(0, 256, (3, 96, 160, 3), np.uint8)
    session = open_session(converted)
    ours = session.run(None, {"pictures": pictures})
    for row in range(3):
        theirs = _run_export(source, pictures[row : row + 1], 128)
        assert len(ours) == len(theirs) == 9
        for mine, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(mine[row], other, atol=1e-4)


def test_exports_for_one_picture_size_are_freed_of_it() -> None:
    """Simplified exports hold the target sizes of Resize as constants."""
    model = onnx.load_model_from_string(build_scrfd(_TINY))
    sizes = iter(([1, 8, 40, 40], [1, 8, 80, 80]))
    for node in model.graph.node:
        if node.op_type == "Resize":
            model.graph.initializer.append(
                numpy_helper.from_array(np.array(next(sizes), np.int64), f"{node.output[0]}_size")
            )
            node.input[3] = f"{node.output[0]}_size"
    fixed = model.SerializeToString()
    pictures = np.random.default_rng(1).integers(0, 256, (2, 64, 96, 3), np.uint8)
    expected = open_session(convert_scrfd(build_scrfd(_TINY))).run(None, {"pictures": pictures})
    freed = open_session(convert_scrfd(fixed)).run(None, {"pictures": pictures})
    for mine, other in zip(freed, expected, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-5)


def test_graphs_that_are_no_scrfd_are_refused(dlib_bytes: bytes) -> None:
    model = onnx.load_model_from_string(build_scrfd(_TINY))
    without_points = onnx.ModelProto()
    without_points.CopyFrom(model)
    del without_points.graph.output[6:]
    two_levels = onnx.ModelProto()
    two_levels.CopyFrom(model)
    for place in (8, 5, 2):
        del two_levels.graph.output[place]
    embedder = build_iresnet(*_TINY_IRESNET)
    for data, message in (
        (b"", "not an ONNX"),
        (dlib_bytes[:5000], "not an ONNX"),
        (without_points.SerializeToString(), "landmarks"),
        (two_levels.SerializeToString(), "not 3 or 5"),
        (embedder, "none of SCRFD's"),
    ):
        with pytest.raises(PackError, match=message):
            convert_scrfd(data)


@pytest.mark.parametrize("name", ["w600k_mbf_dequant_fp32", "w600k_mbf_int8", "iresnet"])
def test_converted_arcface_gives_what_the_export_gives(name: str, request: pytest.FixtureRequest) -> None:
    source = build_iresnet(*_TINY_IRESNET) if name == "iresnet" else request.getfixturevalue("models")[name]
    converted = convert_arcface(source)
    assert converted == convert_arcface(source), "the same bytes every time"
    session = open_session(converted)
    together = session.run(None, {"chips": _CHIPS})[0]
    for row, chip in enumerate(_CHIPS):
        theirs = _run_export(source, chip[None], 127.5)[0][0]
        # Rounding activations to 8 bits, which the conversion undoes, turns vectors of noise by this much.
        least = 0.98 if name == "w600k_mbf_int8" else 1 - 1e-6
        assert _cosine(together[row], theirs) >= least
        np.testing.assert_allclose(session.run(None, {"chips": chip[None]})[0][0], together[row], atol=1e-4)


def test_dynamic_quantisation_mixes_a_batch_and_the_conversion_does_not(models: dict[str, bytes]) -> None:
    source = models["w600k_mbf_int8"]
    chips = _CHIPS // np.array([1, 2, 4], np.uint8)[:, None, None, None]
    mixed = _run_export(source, chips, 127.5)[0]
    alone = _run_export(source, chips[2:], 127.5)[0]
    assert _cosine(mixed[2], alone[0]) < 0.999, "the reason for the conversion"
    session = open_session(convert_arcface(source))
    mixed, alone = (session.run(None, {"chips": some})[0] for some in (chips, chips[2:]))
    np.testing.assert_allclose(mixed[2], alone[0], atol=1e-5)
    assert not {"DynamicQuantizeLinear", "ConvInteger", "PRelu"} & set(_operators(convert_arcface(source)))


def test_embedders_that_depend_on_their_batch_or_are_none_are_refused() -> None:
    model = onnx.load_model_from_string(build_iresnet(*_TINY_IRESNET))
    model.graph.node.extend(
        [
            helper.make_node("ReduceMean", ["vector"], ["centre"], axes=[0], keepdims=1),
            helper.make_node("Sub", ["vector", "centre"], ["centred"]),
        ]
    )
    model.graph.output[0].name = "centred"
    mixing = model.SerializeToString()
    fixed = onnx.load_model_from_string(build_iresnet(*_TINY_IRESNET))
    node = next(node for node in fixed.graph.node if node.op_type == "Flatten")
    fixed.graph.initializer.append(numpy_helper.from_array(np.array([1, 8 * 49], np.int64), "row"))
    node.CopyFrom(helper.make_node("Reshape", [node.input[0], "row"], list(node.output)))
    convert_arcface(fixed.SerializeToString())
    for data, message in (
        (b"junk", "not an ONNX"),
        (mixing, "depends on the others"),
        (build_scrfd(_TINY), "square chips"),
    ):
        with pytest.raises(PackError, match=message):
            convert_arcface(data)


def test_graphs_that_scale_their_own_pixels_get_them_raw() -> None:
    model = onnx.load_model_from_string(build_iresnet(*_TINY_IRESNET))
    nodes = list(model.graph.node)
    nodes[0].input[0] = "scaled"
    for name, value in (("mean", 127.5), ("factor", 0.0078125)):
        model.graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), name))
    del model.graph.node[:]
    model.graph.node.extend(
        [
            helper.make_node("Sub", ["input.1", "mean"], ["centred"]),
            helper.make_node("Mul", ["centred", "factor"], ["scaled"]),
            *nodes,
        ]
    )
    source = model.SerializeToString()
    raw = np.ascontiguousarray(_CHIPS.transpose(0, 3, 1, 2)).astype(np.float32)
    expected = open_session(source).run(None, {"input.1": raw})[0]
    ours = open_session(convert_arcface(source)).run(None, {"chips": _CHIPS})[0]
    np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-4)


def test_builder_lays_out_the_real_scrfd_2_5g_with_random_weights(models: dict[str, bytes]) -> None:
    """The builder is right where a real export is at hand, so it can be believed where none is."""
    ours, real = BUILDERS["scrfd-2.5g"](), models["det_2.5g"]
    assert _convolutions(ours) == _convolutions(real)
    assert count_parameters(ours) == count_parameters(real)
    assert count_multiply_adds(ours, 480, 640) == count_multiply_adds(real, 480, 640)


def test_scrfd_10g_of_random_weights_has_the_published_size_and_runs_in_batches() -> None:
    """Published for SCRFD_10G_KPS at 640x480: 4.23 M parameters, 10 GFLOPs."""
    source = build_scrfd(SCRFD_10G)
    assert count_parameters(source) == pytest.approx(4.23e6, rel=0.005)
    assert count_multiply_adds(source, 480, 640) == pytest.approx(10e9, rel=0.01)
    detector = Scrfd(open_session(convert_scrfd(source)), score_threshold=0.02, max_batch=2)
    pictures = list(np.random.default_rng(4).integers(0, 256, (2, 120, 160, 3), np.uint8))
    for whole, picture in zip(detector.detect(pictures, 160), pictures, strict=True):
        single = detector.detect([picture], 160)[0]
        np.testing.assert_allclose(whole.boxes, single.boxes, atol=1e-4)
        np.testing.assert_allclose(whole.scores, single.scores, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "parameters", "multiply_adds", "convolutions"),
    [("iresnet50", 43.59e6, 6.31e9, 53), ("iresnet100", 65.16e6, 12.09e9, 103)],
)
def test_iresnet_of_random_weights_has_the_published_size(
    name: str, parameters: float, multiply_adds: float, convolutions: int
) -> None:
    source = BUILDERS[name]()
    assert count_parameters(source) == pytest.approx(parameters, rel=0.001)
    assert count_multiply_adds(source, 112, 112) == pytest.approx(multiply_adds, rel=0.002)
    assert _operators(source)["Conv"] == convolutions


def _cosine(first: np.ndarray, second: np.ndarray) -> float:
    return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))


def _operators(data: bytes) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load_model_from_string(data).graph.node)


def _convolutions(data: bytes) -> list[tuple[int, ...]]:
    graph = onnx.load_model_from_string(data).graph
    shapes = {one.name: tuple(one.dims) for one in graph.initializer}
    return sorted(shapes[node.input[1]] for node in graph.node if node.op_type == "Conv")
