"""The result and its report: the schema holds, the page is well-formed and asks for nothing."""

from __future__ import annotations

import copy
import json
import re
from html.parser import HTMLParser
from importlib import resources
from typing import Any
from xml.etree import ElementTree

import jsonschema
import numpy as np
import pytest

from serving.evaluation.evaluation import SCHEMA, Question, Subjects, measure_pack
from serving.evaluation.fitting import describe_provenance, fit_calibration, list_versions
from serving.evaluation.measuring import Measured
from serving.evaluation.pairs import draw_pairs
from serving.evaluation.plots import Axis, probit_axis
from serving.evaluation.presentation_attacks import measure_attacks
from serving.evaluation.report import write_report
from serving.evaluation.result_store import PictureFacts
from serving.evaluation.scores import score_all_pairs
from serving.packs.calibration import Provenance
from tests.unit.evaluation.known_scores import NORMAL, draw_people
from tests.unit.evaluation.test_evaluation_inputs import FACE, GOOD

NASTY = '<script>alert("x")</script> & "quoted"'


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """A result with every section, of people that are drawn; one pack is calibrated, the other is not."""
    people, vectors = draw_people(150, 6, 0.9)
    facts = [PictureFacts(None, 200, 200, (FACE,), 0, GOOD, 14.0) for _ in people]
    facts[0] = PictureFacts("truncated_picture")
    usable = np.arange(len(people)) > 0
    measured = Measured(facts, usable, vectors[1:], np.full(len(people) - 1, 5.0))
    names = [f"person {person}" for person in people]
    groups = {name: ("even" if number % 2 else "odd") for number, name in enumerate(sorted(set(names)))}
    subjects = Subjects([], people, names, draw_pairs(people, 10), True, True)
    question = Question(subjects, groups=groups, replicates=100)
    scores = score_all_pairs(people, vectors)
    calibration = fit_calibration("one", scores, Provenance(NASTY, 150, 900, 1, 1, ""))
    packs = []
    for name, known in (("one", calibration), ("two", None)):
        section = measure_pack(question, measured, known)
        models = {f"{name}.onnx": "0" * 64}
        about = {"pack": name, "title": NASTY, "dimension": 32, "precision": "fp32", "models": models}
        packs.append(about | section | {"detection": None})
    return {
        "schema": SCHEMA,
        "made_at": "2024-02-29T12:00:00+00:00",
        "command": f"rollcall evaluate --people {NASTY}",
        "versions": list_versions(),
        "machine": {"processor": "x", "cores": 2, "system": "y"},
        "statistics": {"confidence": 0.95, "method": "bootstrap", "replicates": 100, "seed": 1},
        "data": {
            "pictures": 900,
            "people": 150,
            "pairs": 10,
            "pairs_are_drawn": True,
            "compared": "all pairs",
        },
        "packs": packs,
        "liveness": {"pack": "z"} | measure_attacks([0.9, 0.2], {NASTY: [0.1, 0.7, None]}, 0.5),
    }


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return json.loads((resources.files("serving.evaluation") / "schema.json").read_text())


def test_the_result_is_what_the_schema_says(document: dict[str, Any], schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(json.dumps(document, allow_nan=False)), schema)
    wrong = copy.deepcopy(document)
    wrong["packs"][0]["verification"]["true_match_rates"][0]["true_match_rate"]["value"] = 1.5
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema)
    del wrong["packs"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema)


class _Page(HTMLParser):
    """Collects tags, and fails on what no page of ours has."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert tag not in {"script", "link", "iframe", "img", "object", "form", "base"}
        for name, value in attributes:
            assert not name.startswith("on"), name
            assert name not in {"src", "href", "xlink:href", "srcset", "action", "style"}, name
            assert "url(" not in (value or "")


def test_the_report_is_well_formed_and_asks_for_nothing(document: dict[str, Any]) -> None:
    text = write_report(document)
    root = ElementTree.fromstring(text.removeprefix("<!DOCTYPE html>"))
    page = _Page()
    page.feed(text)
    assert "<script" not in text
    assert "http:" not in text
    assert "https:" not in text
    style = root.find("head/style")
    assert style is not None
    assert not re.search(r"url\(|@import|expression", style.text or "")
    assert "default-src 'none'" in text
    assert root.get("lang") == "en"
    # The nasty names arrive as text, whole.
    assert NASTY in "".join(root.itertext())


def test_figures_say_what_they_show_without_being_seen(document: dict[str, Any]) -> None:
    root = ElementTree.fromstring(write_report(document).removeprefix("<!DOCTYPE html>"))
    figures = root.findall(".//figure")
    assert len(figures) == 5  # ROC, DET, identification, and the scores of each pack
    for figure in figures:
        (plot,) = figure.findall("svg")
        assert plot.get("role") == "img"
        assert plot.findtext("title")
        assert plot.findtext("desc")
        assert figure.findall("figcaption")
        assert len(figure.findall("details//tbody/tr")) > 5
    headings = [heading.text for heading in root.iter("h2")]
    for part in ("What a threshold costs", "By group", "Several pictures at once", "Presentation attacks"):
        assert part in headings


def test_a_result_without_most_sections_has_a_report(document: dict[str, Any]) -> None:
    bare = copy.deepcopy(document)
    bare["liveness"] = None
    for pack in bare["packs"]:
        pack |= {"calibration": None, "identification": None, "groups": None, "held_out": [], "fusion": []}
        pack["verification"] |= {"accuracy": None, "equal_error_rate": None, "curve": []}
        for point in pack["verification"]["true_match_rates"]:
            point |= {"supported": False, "threshold": None, "true_match_rate": None}
    text = write_report(bare)
    ElementTree.fromstring(text.removeprefix("<!DOCTYPE html>"))
    assert "not supported by the data" in text


def test_probit_axes_are_even_in_the_deviate() -> None:
    axis = probit_axis("x", 1e-3, 0.5)
    middle = NORMAL.cdf((NORMAL.inv_cdf(1e-3) + NORMAL.inv_cdf(0.5)) / 2)
    assert axis.place(middle) == pytest.approx(0.5)
    assert (axis.place(0), axis.place(1)) == (0, 1)
    assert [text for _, text in axis.ticks][:2] == ["0.1 %", "0.5 %"]
    assert Axis("y", 0, 2, ()).place(1) == 0.5


def test_provenance_names_data_versions_and_models(tmp_path) -> None:
    from types import SimpleNamespace

    people, vectors = draw_people(60, 3, 0.5)
    model = tmp_path / "model.onnx"
    model.write_bytes(b"x")
    files = SimpleNamespace(detector_path=model, embedder_path=model)
    scores = score_all_pairs(people, vectors)
    found = describe_provenance(files, scores, 180, 60, data="our guests", command="rollcall calibrate")  # type: ignore[arg-type]
    assert (found.data, found.people, found.impostor_pairs) == ("our guests", 60, scores.impostor_pairs)
    assert found.models["model.onnx"].startswith("2d711642")  # SHA-256 of "x"
    assert {"rollcall", "onnxruntime", "numpy"} <= set(found.versions)
    assert found.made_at.endswith("+00:00")
