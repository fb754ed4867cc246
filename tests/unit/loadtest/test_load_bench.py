"""The benchmark: what it says of each target, and that the JSON of a run fits its schema."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from loadtest.bench import BROKEN, PARTS, SCHEMA_FILE, Part, main
from loadtest.replicas import fix_replicas
from loadtest.targets import TARGETS, NotMeasured, Target


def judge(limit: float, measured: Any, *, at_least: bool = False) -> dict[str, Any]:
    def read(document: Any) -> float:
        if document["is"] is None:
            raise NotMeasured("nobody came")
        return float(document["is"])

    return Target("row", "part", limit, read, at_least).judge(measured, "no part")


@pytest.mark.parametrize(
    ("limit", "measured", "at_least", "state", "why"),
    [
        (2.0, {"is": 2.0}, False, "met", None),
        (2.0, {"is": 2.1}, False, "missed", None),
        (2.0, {"is": 2.0}, True, "met", None),
        (2.0, {"is": 1.9}, True, "missed", None),
        (2.0, {"is": None}, True, "not run", "nobody came"),
        (2.0, None, True, "not run", "no part"),
    ],
)
def test_a_row_is_met_missed_or_not_run(
    limit: float, measured: Any, at_least: bool, state: str, why: str | None
) -> None:
    row = judge(limit, measured, at_least=at_least)
    assert (row["state"], row["why"]) == (state, why)
    assert (row["reached"] is None) == (state == "not run")


def test_every_target_has_a_part_and_every_part_is_a_command() -> None:
    assert {target.part for target in TARGETS} == {part.name for part in PARTS}
    for part in PARTS:
        assert callable(importlib.import_module(f"loadtest.{part.name}").main)


def test_the_json_of_a_tiny_run_fits_the_schema(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """One part for real; one not asked for, one that the machine lacks something for, one that breaks."""
    work = Part("work", (), ("--rounds", "1", "--without-large"), (5, 5), json_option="--output")
    others = [
        Part("gpu", (), (), (1, 1), explain_absence=lambda: "no such machine"),
        Part("matcher", (), ("--no-such-option",), (1, 1)),
    ]
    rest = [part for part in PARTS if part.name not in ("work", "gpu", "matcher")]
    monkeypatch.setattr("loadtest.bench.PARTS", (work, *others, *rest))
    file = tmp_path / "bench.json"
    status = main(["--quick", "--only", "work,gpu,matcher", "--json", str(file)])
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    document = json.loads(file.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    jsonschema.validate(document, schema)
    rows = {row["row"]: row for row in document["rows"]}
    assert rows["the work, one face in 640x480, in process"]["reached"] > 1
    assert rows["12 MP to the detector's input / whole decode"]["why"] == "no picture of 12 MP"
    assert rows["GPU: of bare ONNX Runtime"]["why"] == "no such machine"
    assert rows["replicas 1 -> 8: of linear"]["why"] == "not asked for"
    assert "it broke" in rows["the same: recall@1, known"]["why"]
    assert (document["parts"]["matcher"]["state"], status) == ("broken", BROKEN)
    told = capfd.readouterr().out
    assert "About 1 min" in told
    assert "not run: no such machine" in told

    del document["rows"][0]["reached"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema)


def test_a_part_that_does_not_exist_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--only", "works"])
    assert "there is no part works" in capsys.readouterr().err


def test_the_number_of_replicas_is_fixed_in_the_config() -> None:
    content = yaml.safe_load(
        (Path(__file__).parents[3] / "config/sixteen-cores.yaml").read_text(encoding="utf-8")
    )
    fix_replicas(content, 5)
    found = {each["name"]: each["autoscaling_config"] for each in content["applications"][0]["deployments"]}
    bounds = ("min_replicas", "max_replicas")
    assert [found["Detector"][bound] for bound in bounds] == [5, 5]
    assert [found["Embedder"][bound] for bound in bounds] == [3, 3]
