"""Other bytes from a conversion need another version: files of two releases may share a cache."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from loadtest.random_models import ScrfdPlan, build_iresnet, build_scrfd
from serving.packs.catalogue import find_pack, starter_ids
from serving.packs.conversions import CONVERSIONS, NO_CONVERSION

_TINY = {
    "scrfd": ("scrfd", 1, "117dc93ccb2a", "c4e8d9935eb92e9c"),
    "iresnet": ("arcface", 2, "a676bf664721", "5c52d0bc82d08070"),
    "quantised": ("arcface", 2, "8ba1499de69b", "c681a8c24734e097"),
    "prelu": ("split-prelu", 1, "437c2f925095", "f1913be26f2d302d"),
}
"""Conversion, its version, and how the SHA-256 of source and result begin."""

_REAL = {
    "det_500m": ("scrfd", 1, "5e4447f50245", "a98629626e1c633b"),
    "det_2.5g": ("scrfd", 1, "041f73f47371", "1725af5d6809e5fd"),
    "w600k_mbf_int8": ("arcface", 2, "7caa7fb0ad6c", "02b2b7f273781202"),
    "w600k_mbf_dequant_fp32": ("arcface", 2, "e6bda65f4571", "cb231ca5d75e3f4f"),
    "minifasnet_v2_2.7": ("split-prelu", 1, "23c35d6762dc", "d061a1d80dd413bc"),
}


def _build(name: str) -> bytes:
    if name == "scrfd":
        return build_scrfd(ScrfdPlan((1, 1, 1, 1), (8, 8, 8, 8), neck=8, head=8, head_depth=1))
    if name == "iresnet":
        return build_iresnet((1, 1, 1, 1), (8, 8, 8, 8))
    return _build_quantised() if name == "quantised" else _build_prelu()


def _build_quantised() -> bytes:
    """One convolution as ONNX Runtime's dynamic quantisation writes it, then PRelu."""
    weights = (np.arange(4 * 3 * 8 * 8) * 37 % 251).astype(np.uint8).reshape(4, 3, 8, 8)
    constants = {
        "weights": weights,
        "zero": np.array(128, np.uint8),
        "scale": np.array(1 / 64, np.float32),
        "slopes": np.full((4, 1, 1), 0.25, np.float32),
        "row": np.array([1, 16], np.int64),
    }
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["planes_in"], ["q", "q_scale", "q_zero"]),
        helper.make_node("ConvInteger", ["q", "weights", "q_zero", "zero"], ["sums"], strides=[8, 8]),
        helper.make_node("Cast", ["sums"], ["sums_float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["q_scale", "scale"], ["scales"]),
        helper.make_node("Mul", ["sums_float", "scales"], ["planes"]),
        helper.make_node("PRelu", ["planes", "slopes"], ["bent"]),
        helper.make_node("Reshape", ["bent", "row"], ["vector"]),
    ]
    return _serialise(nodes, constants, "planes_in", [1, 3, 16, 16], ("vector", [1, 16]))


def _build_prelu() -> bytes:
    node = helper.make_node("PRelu", ["planes", "slopes"], ["bent"])
    slopes = {"slopes": np.full((3, 1, 1), 0.25, np.float32)}
    return _serialise([node], slopes, "planes", [1, 3, 4, 4], ("bent", [1, 3, 4, 4]))


def _serialise(
    nodes: list[onnx.NodeProto],
    constants: dict[str, np.ndarray],
    name: str,
    shape: list[int],
    output: tuple[str, list[int]],
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output[0], TensorProto.FLOAT, output[1])],
        [numpy_helper.from_array(value, key) for key, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return model.SerializeToString(deterministic=True)


@pytest.fixture(scope="module", autouse=True)
def locked_onnx(repository: Path) -> None:
    """Bytes are the same only from the same onnx."""
    lock = (repository / "config" / "locks" / "requirements.txt").read_text()
    found = re.search(r"^onnx==(\S+)", lock, re.MULTILINE)
    assert found
    if onnx.__version__ != found[1]:
        pytest.skip(f"needs onnx {found[1]}, the locked one")


def _check(source: bytes, pinned: tuple[str, int, str, str]) -> None:
    conversion, version, source_sha256, sha256 = pinned
    assert hashlib.sha256(source).hexdigest().startswith(source_sha256), "this is about another source"
    converted = hashlib.sha256(CONVERSIONS[conversion].convert(source)).hexdigest()
    assert (CONVERSIONS[conversion].version, converted[:16]) == (version, sha256), (
        "other bytes: raise the version in serving/packs/conversions.py, and pin both here"
    )


@pytest.mark.parametrize("name", _TINY)
def test_the_version_rises_with_the_bytes(name: str) -> None:
    _check(_build(name), _TINY[name])


@pytest.mark.parametrize("name", _REAL)
def test_the_version_rises_with_the_bytes_of_real_models(name: str, shared_dir: Path) -> None:
    _check((shared_dir / "models" / f"{name}.onnx").read_bytes(), _REAL[name])


def test_every_conversion_is_pinned_here_or_by_its_manifests() -> None:
    """Manifests that hold the SHA-256 of what comes out name the file by it."""
    here = {conversion for conversion, *_ in _TINY.values()}
    artefacts = [artefact for pack_id in starter_ids() for artefact in find_pack(pack_id).artefacts]
    assert all(artefact.sha256 for artefact in artefacts)
    assert here | {artefact.conversion for artefact in artefacts} | {NO_CONVERSION} == set(CONVERSIONS)
