"""The command that measures the work of a recognition: what it writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loadtest import work


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    path = tmp_path_factory.mktemp("work") / "deep" / "work.json"
    assert work.main(["--rounds", "1", "--output", str(path)]) == 0
    return json.loads(Path(path).read_text())


def test_every_round_and_the_machine_are_written(result: dict[str, dict[str, object]]) -> None:
    assert set(result["machine"]) >= {"processor", "python", "onnxruntime", "pillow"}
    assert result["pack"] == "starter-int8-mirror"
    assert {"one face, 640x480", "six faces, 12 MP"} <= set(result["seconds"])
    for ways in result["seconds"].values():
        assert [len(rounds) for rounds in ways.values()] == [1, 1]
        for rounds in ways.values():
            for stages in rounds:
                assert {"decode", "detect", "align", "quality", "embed", "total"} <= set(stages)
                assert stages["total"] >= 0.9 * sum(
                    spent for stage, spent in stages.items() if stage != "total"
                )


def test_both_ways_of_decoding_are_measured(result: dict[str, list[dict[str, float]]]) -> None:
    for each in result["decoding_seconds"]:
        assert set(each) == {
            f"{what} {way}" for what in ("decode", "to the input,") for way in ("reduced", "whole")
        }
        assert all(spent_s > 0 for spent_s in each.values())
