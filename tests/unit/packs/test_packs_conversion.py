"""The converted models against the library they come from, and the parser against damaged files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.errors import PackError
from serving.evaluation.people_folder import collect_chips
from serving.packs.centerface_onnx import convert_centerface
from serving.packs.dlib_format import read_network
from serving.packs.dlib_onnx import convert_network
from serving.packs.loading import load_finder
from serving.packs.quantise import choose_weight_scales, load_ranges, quantise_network
from serving.packs.store import PackStore, PreparedPack
from serving.vision.inference import open_session
from serving.vision.picture import decode_picture

_TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def network(dlib_bytes: bytes):
    return read_network(dlib_bytes)


@pytest.fixture(scope="module")
def dlib_model(dlib_bytes: bytes, tmp_path_factory: pytest.TempPathFactory):
    dlib = pytest.importorskip("dlib")
    path = tmp_path_factory.mktemp("dlib") / "resnet.dat"
    path.write_bytes(dlib_bytes)
    return dlib.face_recognition_model_v1(str(path))


def _compare(dlib_model, prepared: PreparedPack, chips: np.ndarray) -> float:
    """Largest difference of the raw vectors, before normalisation."""
    session = open_session(prepared.embedder_path)
    ours = session.run(None, {"chips": chips})[0]
    theirs = np.array([dlib_model.compute_face_descriptor(np.ascontiguousarray(chip)) for chip in chips])
    return float(np.abs(ours - theirs).max())


def test_fp32_equals_dlib_on_the_samples(dlib_model, prepared, samples: dict[str, Path]) -> None:
    finder = load_finder(prepared["starter-fp32"])
    pictures = [decode_picture(path.read_bytes()) for path in samples.values()]
    chips = np.stack([face.crop for found in finder.find_decoded(pictures) for face in found.faces])
    assert len(chips) == 8
    assert _compare(dlib_model, prepared["starter-fp32"], chips) < _TOLERANCE


def test_fp32_equals_dlib_on_lfw(dlib_model, prepared, shared_dir: Path, tmp_path: Path) -> None:
    people = sorted((shared_dir / "lfw" / "images").iterdir())[::60]
    for person in people:
        (tmp_path / person.name).symlink_to(person)
    chips = collect_chips(tmp_path, load_finder(prepared["starter-fp32"])).chips
    assert len(chips) > 20
    assert _compare(dlib_model, prepared["starter-fp32"], chips) < _TOLERANCE


def test_conversions_are_reproducible(network) -> None:
    assert convert_network(network) == convert_network(network)
    assert quantise_network(network, load_ranges()) == quantise_network(network, load_ranges())


def test_int8_weights_cannot_saturate_a_16_bit_sum(network) -> None:
    """Without this the vectors would differ between processors with and without VNNI."""
    for block in network.blocks:
        for layer in (block.first, block.second):
            scales = choose_weight_scales(layer.weights)
            stored = np.rint(layer.weights / scales[:, None, None, None]).astype(int)
            assert np.abs(stored).max() <= 127
            for order in (stored, stored.transpose(0, 2, 3, 1)):
                flat = order.reshape(len(stored), -1)
                pairs = np.abs(flat[:, 1:] + flat[:, :-1])
                assert pairs.max() * 255 < 2**15


def test_missing_ranges_are_a_pack_error(network) -> None:
    with pytest.raises(PackError, match="stem"):
        quantise_network(network, {})


def test_sources_that_are_something_else_are_refused(dlib_bytes: bytes) -> None:
    for data in (b"", b"junk", dlib_bytes[:4096]):
        with pytest.raises(PackError):
            read_network(data)
        with pytest.raises(PackError):
            convert_centerface(data)


def test_every_truncation_is_refused(dlib_bytes: bytes) -> None:
    ends = [*range(0, 700, 7), *np.linspace(700, len(dlib_bytes) - 1, 60).astype(int)]
    for end in ends:
        with pytest.raises(PackError):
            read_network(dlib_bytes[:end])
    with pytest.raises(PackError, match="too many"):
        read_network(dlib_bytes + b"\0")


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_changed_bytes_give_pack_errors_only(dlib_bytes: bytes, data: st.DataObject) -> None:
    """A change inside a weight may pass the parser (the hash catches it); nothing else may come out."""
    near_fields = st.integers(0, 500) | st.integers(0, len(dlib_bytes) - 1)
    changed = bytearray(dlib_bytes)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(near_fields)] ^= 1 << data.draw(st.integers(0, 7))
    try:
        read_network(bytes(changed))
    except PackError:
        return


def test_store_hash_catches_a_changed_weight(dlib_bytes: bytes, tmp_path: Path, monkeypatch) -> None:
    from serving.packs.catalogue import find_pack

    changed = bytearray(dlib_bytes)
    changed[100_000] ^= 1
    store = PackStore(tmp_path)
    monkeypatch.setattr("serving.packs.sources.fetch_member", lambda member: bytes(changed))
    with pytest.raises(PackError):
        store.prepare(find_pack("starter", "fp32"))
