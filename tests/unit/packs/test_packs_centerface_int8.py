"""The int8 form of CenterFace: the same bytes everywhere, and nearly the same faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import load_model_from_string, numpy_helper

from serving.errors import PackError
from serving.evaluation.measure_centerface_ranges import measure_centerface_ranges
from serving.packs.catalogue import find_pack
from serving.packs.centerface_int8 import RANGES_FILE, list_stored_tensors, quantise_centerface
from serving.packs.quantise import load_ranges
from serving.packs.store import PackStore
from serving.vision.centerface import CenterFace
from serving.vision.inference import open_session
from serving.vision.picture import decode_picture


@pytest.fixture(scope="module")
def shipped(pack_store: PackStore) -> bytes:
    pack = find_pack("starter-int8")
    pack_store.prepare(pack)
    path = pack_store.sources.path_of(pack.detector.artefact.source)
    assert path is not None
    return path.read_bytes()


@pytest.fixture(scope="module")
def quantised(shipped: bytes) -> bytes:
    return quantise_centerface(shipped, load_ranges(RANGES_FILE))


def test_conversion_is_reproducible(shipped: bytes, quantised: bytes) -> None:
    assert quantise_centerface(shipped, load_ranges(RANGES_FILE)) == quantised
    assert len(quantised) < len(shipped) / 3


def test_ranges_are_those_of_the_stored_tensors(shipped: bytes) -> None:
    ranges = load_ranges(RANGES_FILE)
    assert set(ranges) == set(list_stored_tensors(shipped))
    for low, high in ranges.values():
        assert low <= 0 < high


def test_ranges_can_be_measured_again(shipped: bytes, samples: dict[str, Path]) -> None:
    """On other pictures they differ, but not by much."""
    pictures = [decode_picture(samples[name].read_bytes()) for name in ("guest", "portrait")]
    measured, stored = measure_centerface_ranges(shipped, pictures), load_ranges(RANGES_FILE)
    ratios = [measured[name][1] / stored[name][1] for name in stored]
    assert 0.7 < np.median(ratios) < 1.3
    with pytest.raises(PackError, match="no pictures"):
        measure_centerface_ranges(shipped, [])


def test_faults_are_pack_errors(shipped: bytes) -> None:
    with pytest.raises(PackError, match="lack"):
        quantise_centerface(shipped, {})
    for data in (b"", b"junk", shipped[:4096]):
        with pytest.raises(PackError):
            quantise_centerface(data, load_ranges(RANGES_FILE))


def test_weights_cannot_saturate_a_16_bit_sum(quantised: bytes) -> None:
    """Without this the faces would differ between processors with and without VNNI."""
    graph = load_model_from_string(quantised).graph
    stored = [numpy_helper.to_array(each).astype(int) for each in graph.initializer if len(each.dims) == 4]
    dense = [each for each in stored if each.shape[1] > 1 and np.abs(each).max() > 1]
    assert len(dense) > 30
    for weights in dense:
        if weights.shape[0] == 15:
            continue  # the heads, in float32
        for order in (weights, weights.transpose(0, 2, 3, 1)):
            flat = order.reshape(len(weights), -1)
            assert np.abs(flat[:, 1:] + flat[:, :-1]).max() * 255 < 2**15


@pytest.mark.parametrize("side_px", [320, 640])
def test_finds_the_faces_that_float32_finds(
    pack_store: PackStore, quantised: bytes, samples: dict[str, Path], side_px: int
) -> None:
    group = decode_picture(samples["group"].read_bytes())
    exact = CenterFace(open_session(pack_store.prepare(find_pack("starter-fp32")).detector_path))
    (expected,) = exact.detect([group], side_px)
    (found,) = CenterFace(open_session(quantised)).detect([group], side_px)
    assert len(found) == len(expected) == 6
    for box, landmarks, score in zip(expected.boxes, expected.landmarks, expected.scores, strict=True):
        nearest = int(np.argmin(np.abs(found.boxes[:, :2] - box[:2]).sum(axis=1)))
        side = float(np.sqrt(box[2] * box[3]))
        np.testing.assert_allclose(found.boxes[nearest], box, atol=0.15 * side)
        np.testing.assert_allclose(found.landmarks[nearest], landmarks, atol=0.1 * side)
        assert found.scores[nearest] == pytest.approx(score, abs=0.1)
