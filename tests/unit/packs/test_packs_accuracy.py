"""What the packs promise: accuracy on LFW, calibrated rates, and the one right answer to the samples."""

from __future__ import annotations

import io
import itertools
import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from serving.errors import ConfigurationError, EvaluationDataError, PackError
from serving.evaluation.fitting import check_held_out, fit_calibration, folds_of_pictures
from serving.evaluation.pairs import PairList, read_lfw_pairs
from serving.evaluation.people_folder import ChipSet, collect_chips
from serving.evaluation.scores import score_all_pairs
from serving.evaluation.verification import measure_accuracy
from serving.packs.calibration import Calibration, Provenance, load_calibration, parse_calibration
from serving.packs.catalogue import PACKS, find_pack
from serving.packs.loading import load_embedder, load_finder
from serving.packs.samples import prepare_samples
from serving.packs.store import PackStore, PreparedPack
from serving.vision.pipeline import FacePipeline

_NOWHERE = Provenance("", 0, 0, 0, 0, "")


@pytest.fixture(scope="module", params=sorted(PACKS))
def calibration(request: pytest.FixtureRequest) -> Calibration:
    return load_calibration(PACKS[request.param])


@pytest.fixture(scope="module")
def lfw_chips(shared_dir: Path, prepared: dict[str, PreparedPack]) -> ChipSet:
    """All of folds 1-3: every pair of the protocol is measured, nothing is sampled."""
    return collect_chips(shared_dir / "lfw" / "images", load_finder(prepared["starter-fp32"]))


@pytest.fixture(scope="module")
def lfw_vectors(lfw_chips: ChipSet, pack_store: PackStore) -> np.ndarray:
    return load_embedder(pack_store.prepare(find_pack("starter"))).embed(lfw_chips.chips)


@pytest.fixture(scope="module")
def lfw_pairs(shared_dir: Path, lfw_chips: ChipSet) -> PairList:
    pictures = [(path.parent.name, path) for path in lfw_chips.paths]
    return read_lfw_pairs(shared_dir / "lfw" / "pairs.txt", pictures)


@pytest.mark.timeout(900)  # whoever is first makes all the vectors: a minute's work where nothing else runs
def test_accuracy_of_the_default_on_lfw(lfw_pairs: PairList, lfw_vectors: np.ndarray) -> None:
    accuracy = measure_accuracy(lfw_pairs, lfw_vectors)
    assert (accuracy.pairs, accuracy.folds) == (1800, 10)
    # The last ONNX Runtime for Python 3.10 makes other int8 models: 98.56 %, docs/accuracy.md.
    is_current = tuple(map(int, onnxruntime.__version__.split(".")[:2])) > (1, 23)
    assert accuracy.mean >= (0.986 if is_current else 0.985)


def test_predicted_false_match_rates_hold_for_other_people(
    lfw_pairs: PairList, lfw_chips: ChipSet, lfw_vectors: np.ndarray
) -> None:
    folds = folds_of_pictures(lfw_pairs, lfw_chips.people)
    checks = check_held_out(lfw_chips.people, lfw_vectors, folds)
    assert len(checks) == 6
    for check in checks:
        assert 0.5 <= check["ratio"] <= 2, check


def test_stored_calibration_is_what_the_command_computes(lfw_chips: ChipSet, lfw_vectors: np.ndarray) -> None:
    stored = load_calibration(find_pack("starter"))
    fitted = fit_calibration(stored.pack, score_all_pairs(lfw_chips.people, lfw_vectors), _NOWHERE)
    for rate in (1e-2, 1e-3, 1e-4):
        assert fitted.threshold_for(rate) == pytest.approx(stored.threshold_for(rate), abs=5e-4)


def test_rates_fall_with_the_cosine_and_stay_in_bounds(calibration: Calibration) -> None:
    rates = [calibration.false_match_rate(cosine) for cosine in np.linspace(-1, 1, 2001)]
    assert all(a >= b for a, b in itertools.pairwise(rates))
    assert rates[0] == 1
    assert rates[-1] == calibration.floor > 0
    assert calibration.false_match_rate(float("nan")) == 1
    assert calibration.false_match_rate(2.0) == calibration.floor


def test_threshold_and_rate_are_inverse(calibration: Calibration) -> None:
    for rate in np.geomspace(calibration.floor, 1, 200):
        rate = min(float(rate), 1.0)
        threshold = calibration.threshold_for(max(rate, calibration.floor))
        assert calibration.false_match_rate(threshold) == pytest.approx(rate, rel=1e-6)


def test_default_threshold_and_bands_are_in_order(calibration: Calibration) -> None:
    assert calibration.false_match_rate(calibration.default_threshold) == pytest.approx(1e-3, rel=0.01)
    lowest = list(calibration.bands.values())
    assert lowest == sorted(lowest, reverse=True)
    assert calibration.band_of(1.0) == "high"
    assert calibration.band_of(calibration.default_threshold) == "medium"
    assert calibration.band_of(0.0) == "none"


@pytest.mark.parametrize("rate", [0.0, -1.0, 1.1, float("nan"), 1e-9])
def test_rates_without_support_are_refused(calibration: Calibration, rate: float) -> None:
    with pytest.raises(ConfigurationError):
        calibration.threshold_for(rate)


def test_calibration_survives_storage(calibration: Calibration) -> None:
    assert parse_calibration(json.dumps(calibration.to_json())) == calibration
    stored = calibration.to_json()
    falling = stored | {"curve": [[0.5, 0.1], [0.4, 0.01]]}
    other_bands = stored | {"bands": {"certain": 0.9}}
    for text in ("", "[]", "{}", json.dumps(falling), json.dumps(other_bands)):
        with pytest.raises(PackError):
            parse_calibration(text)


def test_curve_of_known_scores() -> None:
    """Vectors of random directions: the fitted rate equals the share of pairs above the threshold."""
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(400, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    fitted = fit_calibration("x", score_all_pairs(np.arange(400) // 2, vectors), _NOWHERE)
    cosines = (vectors @ vectors.T)[np.triu_indices(400, 1)]
    for rate in (0.1, 0.01):
        assert (cosines >= fitted.threshold_for(rate)).mean() == pytest.approx(rate, rel=0.1)


def test_too_little_data_is_refused() -> None:
    with pytest.raises(EvaluationDataError):
        fit_calibration("x", score_all_pairs(np.arange(10) // 2, np.eye(10, dtype=np.float32)), _NOWHERE)


@pytest.mark.parametrize("name", sorted(PACKS))
def test_guest_is_recognised_in_the_group_and_nobody_else(
    name: str, prepared: dict[str, PreparedPack], samples: dict[str, Path]
) -> None:
    pipeline = FacePipeline(load_finder(prepared[name]), load_embedder(prepared[name]))
    group, guest, portrait = pipeline.recognise(
        [samples[key].read_bytes() for key in ("group", "guest", "portrait")]
    )
    assert isinstance(group, list)
    assert isinstance(guest, list)
    assert isinstance(portrait, list)
    assert (len(group), len(guest), len(portrait)) == (6, 1, 1)
    cosines = np.sort([float(vector @ guest[0][1]) for _, vector in group])
    threshold = prepared[name].calibration.default_threshold
    assert cosines[-1] >= threshold
    assert cosines[-2] < threshold
    assert all(float(vector @ portrait[0][1]) < threshold for _, vector in [*group, *guest])


def test_samples_are_not_fetched_twice(samples: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(members: object) -> list[bytes]:
        raise AssertionError("downloaded again")

    monkeypatch.setattr("serving.packs.samples.fetch_members", refuse)
    assert prepare_samples(samples["group"].parent) == samples
    assert Image.open(io.BytesIO(samples["guest"].read_bytes())).format == "JPEG"
