"""The measure of a start: what it prints and writes, and what the benchmark reads of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loadtest import start
from loadtest.targets import TARGETS

ROUNDS = [
    {"ready_s": 12.5, "cpu_s": {"ingress": 2.4, "detector": 3.0}},
    {"ready_s": 14.5, "cpu_s": {"ingress": 2.6, "detector": 3.2}},
    {"ready_s": 13.0, "cpu_s": {"ingress": 2.5}},
]


def test_medians_are_told_and_every_round_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rounds = iter(ROUNDS)
    monkeypatch.setattr(start, "start_once", lambda config: next(rounds))
    file = tmp_path / "deep" / "start.json"
    assert start.main(["--rounds", "3", "--json", str(file)]) == 0
    rows = [line.split("│") for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert {cells[1].strip(): cells[2].strip() for cells in rows} == {
        "until it is ready": "13.0",
        "CPU of all processes": "5.5",
        "detector": "3.0",
        "ingress": "2.5",
    }
    document = json.loads(file.read_text())
    assert document["rounds"] == ROUNDS
    assert document["machine"]["cores"] > 0
    [target] = [each for each in TARGETS if each.part == "start"]
    assert target.read(document) == 13.0
