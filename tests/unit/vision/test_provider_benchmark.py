"""`python -m loadtest.providers` on this machine, with next to no time for each measurement."""

from __future__ import annotations

import argparse

import numpy as np
import pytest

from loadtest.providers import compare, run
from serving.settings import load_settings


def test_every_model_is_measured_and_a_refusal_is_a_row() -> None:
    arguments = argparse.Namespace(
        providers=["cpu", "cuda"],
        batches=[1, 2],
        side=64,
        threads=1,
        seconds=0.001,
        rounds=1,
        pack=["starter-int8"],
        models=[],
        random=["scrfd-2.5g"],
    )
    report = run(arguments, load_settings())
    assert report["machine"]["gpus"] == []
    assert any(name.startswith("onnxruntime") for name in report["versions"])
    measured = [row for row in report["rows"] if "refused" not in row]
    assert [(row["provider"], row["batch"]) for row in measured] == [("cpu", 1), ("cpu", 2)] * 3
    models = list(dict.fromkeys(row["model"] for row in measured))
    assert models == ["starter-int8 detector", "starter-int8 embedder", "scrfd-2.5g, random weights"]
    assert all(row["per_s"] > 0 and row["cosine_to_cpu"] == pytest.approx(1, abs=1e-5) for row in measured)
    refused = [row for row in report["rows"] if "refused" in row]
    assert [row["provider"] for row in refused] == ["cuda"] * 3
    assert refused[0]["refused"].startswith("cuda: ")


def test_outputs_are_compared_by_the_worst() -> None:
    one, other = np.array([[1.0, 0.0]]), np.array([[1.0, 1.0]])
    assert compare([one, one], [one, one]) == pytest.approx(1)
    assert compare([one, one], [one, other]) == pytest.approx(0.5**0.5)
    assert compare([one * 0], [one * 0]) == 1
    assert compare([one * 0], [one]) == 0
