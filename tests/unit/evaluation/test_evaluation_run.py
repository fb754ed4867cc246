"""The commands on real pictures: a sample against docs/accuracy.md, resuming, calibrating, forgetting."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import stat
from collections.abc import Iterator
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import jsonschema
import pytest
from typer.testing import CliRunner

import serving.packs
from serving.cli import app
from serving.errors import CommandError, PackNotCalibrated
from serving.evaluation import measuring
from serving.evaluation.measuring import FinderOptions, measure_pictures
from serving.evaluation.people_folder import list_pictures
from serving.evaluation.result_store import ResultStore
from serving.packs.calibration import parse_calibration
from serving.packs.catalogue import find_pack
from serving.packs.manifest import Pack
from serving.packs.store import PackStore, PreparedPack
from serving.settings import load_settings
from serving.vision.execution import Execution

PACK = "starter-int8-mirror"
EVERY = 16
"""Of LFW's 1,241 people every sixteenth: 78 people, about 3 s of CPU."""

FULL = {"genuine": 0.9546, "impostor": 0.8400, "fnmr": 0.0657, "fmr": 1e-3}
"""On all of folds 1-3: mean cosines, and the rates at the default threshold of docs/accuracy.md."""
SPREAD = {"genuine": 0.0033, "impostor": 0.0035, "fnmr": 0.033, "fmr": 5.3e-4}
"""Standard deviation of each over the sixteen samples that there are; four of them are the bounds."""


@pytest.fixture(scope="module")
def store() -> PackStore:
    return PackStore(load_settings().cache_dir)


@pytest.fixture(scope="module")
def prepared(store: PackStore) -> PreparedPack:
    return store.prepare(find_pack(PACK))


@pytest.fixture(scope="module")
def sample(shared_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Links to every n-th person, so that nothing is copied."""
    directory = tmp_path_factory.mktemp("people")
    for person in sorted((shared_dir / "lfw" / "images").iterdir())[::EVERY]:
        (directory / person.name).symlink_to(person)
    return directory


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results") / "kept"


@pytest.fixture(scope="module")
def evaluated(sample: Path, cache: Path, prepared: PreparedPack, tmp_path_factory) -> dict[str, Any]:
    """What `rollcall evaluate` writes of the sample, with everything that can be asked for."""
    directory = tmp_path_factory.mktemp("out")
    names = sorted(person.name for person in sample.iterdir())
    groups = directory / "groups.csv"
    groups.write_text(
        "person,group\n" + "".join(f"{n},{'one' if i % 2 else 'two'}\n" for i, n in enumerate(names))
    )
    result, report = directory / "r.json", directory / "r.html"
    run(
        "evaluate", "--people", sample, "--pack", PACK, "--groups", groups, "--json", result,
        "--html", report, "--cache", cache, "--draws", 200, "--workers", 2,
    )  # fmt: skip
    assert "<svg" in report.read_text()
    found: dict[str, Any] = json.loads(result.read_text())
    return found


def run(*words: object, code: int = 0) -> str:
    """The command's output."""
    outcome = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=True)
    told = f"{outcome.output}{outcome.exception or ''}"
    assert outcome.exit_code == code, told
    return told


def _link_cache(directory: Path) -> None:
    """Make a folder of packs with the model files of the one in use, and nothing else of it."""
    directory.mkdir()
    for file in (load_settings().cache_dir / "packs").iterdir():
        if file.is_file():
            (directory / file.name).symlink_to(file)


def test_the_sample_agrees_with_what_the_docs_claim_of_all(evaluated: dict[str, Any]) -> None:
    """The sample is a draw of people from the whole, so it differs by no more than such draws do."""
    (pack,) = evaluated["packs"]
    schema = json.loads((resources.files("serving.evaluation") / "schema.json").read_text())
    jsonschema.validate(evaluated, schema)
    assert evaluated["data"]["people"] == 78
    assert pack["acquisition"]["failed_to_acquire"]["count"] == 0
    histogram = pack["verification"]["histogram"]
    middles = [(low + high) / 2 for low, high in pairwise(histogram["edges"])]
    found = {
        kind: sum(m * s for m, s in zip(middles, histogram[kind], strict=True))
        for kind in ("genuine", "impostor")
    }
    at_default = pack["calibration"]["at_default_threshold"]
    found |= {"fnmr": at_default["false_non_match_rate"], "fmr": at_default["false_match_rate"]}
    for name, value in found.items():
        assert value == pytest.approx(FULL[name], abs=4 * SPREAD[name]), name
    accuracy = pack["verification"]["accuracy"]
    assert accuracy["folds"] == 10
    assert accuracy["mean"] >= 0.95
    assert [group["people"] for group in pack["groups"]["groups"]] == [39, 39]
    assert [point["supported"] for point in pack["verification"]["true_match_rates"]] == [True, False, False]


def test_a_second_run_measures_nothing_again(
    evaluated: dict[str, Any], sample: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: object) -> Iterator[object]:
        raise AssertionError("measured again")

    monkeypatch.setattr(measuring._Bench, "measure", refuse)
    result = tmp_path / "again.json"
    run("evaluate", "--people", sample, "--pack", PACK, "--cache", cache, "--json", result, "--draws", 200)
    again = json.loads(result.read_text())
    assert again["packs"][0]["verification"] == evaluated["packs"][0]["verification"]


def test_an_interrupted_run_goes_on_where_it_was(
    sample: Path, prepared: PreparedPack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = [path for _, path in list_pictures(sample)][:24]
    options = FinderOptions.of(load_settings())
    seen: list[Path] = []
    measure = measuring._Bench.measure
    limit = 19

    def count(bench: Any, task: Any) -> Any:
        if len(seen) == limit:
            raise KeyboardInterrupt
        seen.append(task.path)
        return measure(bench, task)

    monkeypatch.setattr(measuring._Bench, "measure", count)
    with ResultStore(tmp_path / "kept") as results, pytest.raises(KeyboardInterrupt):
        measure_pictures(pictures, [prepared], options, results)
    assert seen == pictures[:19]
    seen.clear()
    limit = 1000
    progress: list[int] = []
    with ResultStore(tmp_path / "kept") as results:
        found = measure_pictures(
            pictures, [prepared], options, results, on_progress=lambda done, total: progress.append(done)
        )
    assert seen == pictures[16:]  # two whole chunks of eight were kept
    assert progress[0] == 16
    assert progress[-1] == len(pictures)
    assert found[PACK].usable.all()
    assert found[PACK].vectors.shape == (24, 128)


def test_workers_that_do_not_get_on_are_ended(
    prepared: PreparedPack, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "_STALL_S", 0.0)
    pictures = [path for _, path in list_pictures(sample)][:16]
    with ResultStore(tmp_path / "kept") as results, pytest.raises(CommandError, match="no picture was fin"):
        measure_pictures(pictures, [prepared], FinderOptions.of(load_settings()), results, workers=2)


def test_other_options_and_other_pictures_are_measured_anew(
    prepared: PreparedPack, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = FinderOptions.of(load_settings())
    other = dataclasses.replace(options, detection_side_px=320)
    assert measuring.finder_key(prepared, options) != measuring.finder_key(prepared, other)
    threads, device = (
        dataclasses.replace(options, execution=execution)
        for execution in (Execution(intra_op_threads=2), Execution(("cuda", "cpu")))
    )
    assert measuring.finder_key(prepared, options) == measuring.finder_key(prepared, threads)
    assert measuring.finder_key(prepared, options) != measuring.finder_key(prepared, device)
    plain = PackStore(load_settings().cache_dir).prepare(find_pack("starter-int8"))
    assert measuring.finder_key(prepared, options) == measuring.finder_key(plain, options)
    assert measuring.embedder_key(prepared, options) != measuring.embedder_key(plain, options)
    before = measuring.finder_key(prepared, options)
    monkeypatch.setattr(measuring, "list_versions", lambda: {"onnxruntime": "another"})
    assert measuring.finder_key(prepared, options) != before


def test_nothing_of_a_picture_is_kept_and_forgetting_removes_all(
    evaluated: dict[str, Any], cache: Path, tmp_path: Path
) -> None:
    (kept,) = cache.iterdir()
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    # A vector has 512 bytes and the facts a few hundred; a chip alone would have 67,500.
    assert kept.stat().st_size < evaluated["data"]["pictures"] * 4_000
    copy = tmp_path / "kept"
    with ResultStore(copy):
        (copy / "mine.txt").touch()
    run("evaluate", "--forget", "--cache", copy)
    assert [path.name for path in copy.iterdir()] == ["mine.txt"]
    (copy / "mine.txt").unlink()
    run("calibrate", "--forget", "--cache", copy)
    assert not copy.exists()


def test_calibrating_on_ones_own_people(
    evaluated: dict[str, Any], sample: Path, cache: Path, tmp_path: Path
) -> None:
    output = tmp_path / "mine.json"
    told = run(
        "calibrate",
        "--people",
        sample,
        "--pack",
        PACK,
        "--cache",
        cache,
        "--output",
        output,
        "--data",
        "our guests",
    )
    fitted = parse_calibration(output.read_text())
    assert (fitted.pack, fitted.provenance.data, fitted.provenance.people) == (PACK, "our guests", 78)
    assert fitted.provenance.command == f"rollcall calibrate --people DIR --pack {PACK} --data 'our guests'"
    assert len(fitted.provenance.models) == 2
    assert fitted.floor == pytest.approx(30 / fitted.provenance.impostor_pairs, rel=1e-4)
    assert "Not supported: 0.001, 0.0001, 2e-05" in told
    assert "cosine before" in told
    before = evaluated["packs"][0]["calibration"]["checks"][0]["threshold"]
    assert fitted.threshold_for(1e-2) == pytest.approx(before, abs=0.01)


def test_what_was_calibrated_is_what_serves_next(
    sample: Path, cache: Path, evaluated: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _link_cache(tmp_path / "packs")
    monkeypatch.setenv("ROLLCALL_CACHE_DIR", str(tmp_path))
    pack = find_pack(PACK)
    shipped = PackStore(tmp_path).load_calibration(pack)
    run("calibrate", "--people", sample, "--pack", PACK, "--cache", cache, "--dry-run")
    assert PackStore(tmp_path).load_calibration(pack) == shipped
    told = run("calibrate", "--people", sample, "--pack", PACK, "--cache", cache, "--data", "our guests")
    assert "when it starts again" in told
    assert PackStore(tmp_path).load_calibration(pack).provenance.data == "our guests"


def test_the_first_calibration_that_ships_has_none_before_it(
    sample: Path,
    cache: Path,
    evaluated: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(serving.packs, "__path__", [str(tmp_path)])
    shipped = find_pack(PACK)

    def find_uncalibrated(self: PackStore, name: str, *_: object) -> Pack:
        return dataclasses.replace(shipped, calibration_file="yet-to-be-made.json")

    monkeypatch.setattr(PackStore, "find_pack", find_uncalibrated)
    told = run("calibrate", "--people", sample, "--pack", PACK, "--cache", cache, "--shipped")
    assert "Nothing to compare with" in told
    fitted = parse_calibration((tmp_path / "data" / "yet-to-be-made.json").read_text())
    assert fitted.provenance.command == f"rollcall calibrate --people DIR --pack {PACK}"


def test_pictures_are_measured_where_the_settings_say(
    sample: Path, cache: Path, evaluated: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU that is not there nothing is measured, nor is what a CPU measured taken for it."""
    monkeypatch.setenv("ROLLCALL_PACK__PROVIDERS", '["cuda"]')
    for command in ("evaluate", "calibrate"):
        words = (command, "--people", sample, "--pack", PACK, "--cache", cache, "--workers", 1)
        assert "cuda: " in run(*words, *(["--dry-run"] if command == "calibrate" else []), code=1)


def test_liveness_can_be_measured_by_itself(
    shared_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _link_cache(tmp_path / "packs")
    monkeypatch.setenv("ROLLCALL_CACHE_DIR", str(tmp_path))
    run("packs", "add", shared_dir / "models", "--pack", "minifasnet")
    for kind, names in {"live": ("T1",), "attacks/print": ("F1", "F2")}.items():
        (tmp_path / kind).mkdir(parents=True)
        for name in names:
            file = f"image_{name}.jpg"
            (tmp_path / kind / file).symlink_to(shared_dir / "models" / "antispoof_samples" / file)
    uncalibrated = PackNotCalibrated("nobody knows what scores mean")
    monkeypatch.setattr(PackStore, "load_calibration", mock.Mock(side_effect=uncalibrated))
    told = run("evaluate", "--attacks", tmp_path, "--liveness", "minifasnet")
    assert re.search(r"print .*2 .*APCER .*0\.00%", told), told
    assert "give --people" in run("evaluate", "--attacks", tmp_path, "--html", tmp_path / "r.html", code=1)


def test_pairs_alone_are_enough(shared_dir: Path, cache: Path, sample: Path, tmp_path: Path) -> None:
    pictures = list_pictures(sample)[:40]
    rows = [f"{a},{b},{int(x == y)}" for i, (x, a) in enumerate(pictures) for y, b in pictures[i + 1 : i + 6]]
    pairs, result = tmp_path / "pairs.csv", tmp_path / "r.json"
    pairs.write_text("path1,path2,same\n" + "\n".join(rows) + "\n")
    run("evaluate", "--pairs", pairs, "--pack", PACK, "--cache", cache, "--json", result, "--draws", 100)
    found = json.loads(result.read_text())
    assert found["data"]["compared"] == "listed pairs"
    assert found["packs"][0]["identification"] is None
    assert found["packs"][0]["verification"]["impostor_pairs"] > 100
    message = run("calibrate", "--pairs", pairs, "--pack", PACK, "--cache", cache, "--dry-run", code=1)
    assert "too few" in message


@pytest.mark.parametrize(
    "words",
    [
        ("evaluate",),
        ("calibrate",),
        ("calibrate", "--people", ".", "--output", "x.json", "--dry-run"),
        ("evaluate", "--people", "."),
        ("evaluate", "--people", ".", "--pack", "no-such-pack"),
    ],
)
def test_what_makes_no_sense_is_refused(words: tuple[str, ...], tmp_path: Path) -> None:
    there = os.getcwd()
    os.chdir(tmp_path)
    try:
        run(*words, code=1)
    finally:
        os.chdir(there)


def test_a_folder_of_somebody_else_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(CommandError):
        ResultStore(tmp_path / "link")
