"""Liveness manifests: what ships, what is refused, and the conversion that makes the models quicker."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml

from serving.errors import ManifestInvalid, PackError
from serving.packs.conversions import find_conversion
from serving.packs.liveness import find_liveness_pack, list_liveness_packs, parse_liveness_manifest
from serving.vision.inference import open_session
from serving.vision.liveness_crops import AlignedCut, BoxCut

GOOD = {
    "format": 1,
    "id": "mine",
    "title": "Mine",
    "licence": {"summary": "MIT"},
    "threshold": 0.5,
    "threshold_provenance": "measured",
    "models": [
        {
            "file": {"name": "mine.onnx", "max_bytes": 100, "sha256": "0" * 64},
            "conversion": "none",
            "cut": {"kind": "box", "size_px": 128, "scale": 1.5},
            "input": {
                "channels": "rgb",
                "mean": [127.5, 127.5, 127.5],
                "scale": 0.0078125,
                "output": "logits",
            },
        }
    ],
}


def test_the_packs_that_ship() -> None:
    packs = {pack.id: pack for pack in list_liveness_packs()}
    assert set(packs) == {"insightface-liveness", "minifasnet", "minifasnet-yakhyo"}
    for name in ("minifasnet", "minifasnet-yakhyo"):
        assert [model.cut for model in packs[name].models] == [BoxCut(80, 2.7), BoxCut(80, 4.0)]
        assert {model.fed.channels for model in packs[name].models} == {"bgr"}
        assert packs[name].terms is None
    add_on = packs["insightface-liveness"]
    assert add_on.terms is not None
    assert "non-commercial" in add_on.licence
    assert isinstance(add_on.models[0].cut, AlignedCut)
    assert add_on.models[0].fed.output == "live_probability"
    # Only files that somebody publishes can be downloaded.
    assert {name: [a.source.is_downloadable for a in pack.artefacts] for name, pack in packs.items()} == {
        "insightface-liveness": [True],
        "minifasnet": [False, False],
        "minifasnet-yakhyo": [True, True],
    }


def test_a_pack_of_another_name_is_an_error_that_lists_them() -> None:
    with pytest.raises(PackError, match="minifasnet"):
        find_liveness_pack("nothing")


def test_a_manifest_of_a_user_is_read() -> None:
    pack = parse_liveness_manifest(yaml.safe_dump(GOOD), "mine.yaml")
    assert pack.models[0].cut == BoxCut(128, 1.5)
    assert pack.artefacts[0].name == "mine.onnx"


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (("threshold",), 1.0, "threshold"),
        (("threshold",), None, "threshold"),
        (("models",), [], "models"),
        (("models", 0, "cut", "kind"), "oval", "cut"),
        (("models", 0, "cut", "scale"), 0.5, "scale"),
        (("models", 0, "cut", "size_px"), 100000, "size_px"),
        (("models", 0, "input", "channels"), "rbg", "channels"),
        (("models", 0, "input", "scale"), 0, "scale"),
        (("models", 0, "conversion"), "none-such", "conversion"),
        (("models", 0, "file", "sha256"), "abc", "sha256"),
        (("models", 0, "file", "name"), "../mine.onnx", "name"),
        (("models", 0, "file", "urls"), ["file:///etc/passwd"], "urls"),
        (("licence", "text"), "must be accepted", "licence"),
        (("surprise",), 1, "surprise"),
    ],
)
def test_a_manifest_with_a_fault_is_refused_by_the_name_of_the_key(
    path: tuple[str | int, ...], value: object, told: str
) -> None:
    manifest = yaml.safe_load(yaml.safe_dump(GOOD))
    part = manifest
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    with pytest.raises(ManifestInvalid, match=f"mine.yaml: .*{told}"):
        parse_liveness_manifest(yaml.safe_dump(manifest), "mine.yaml")


@pytest.mark.parametrize(
    "text", ["", "[]", "a: [", "- " * 3000 + "a", "!!python/object:os.system {}", "a: &a [*a]"]
)
def test_what_is_no_manifest_is_refused(text: str) -> None:
    with pytest.raises(ManifestInvalid, match=r"mine\.yaml"):
        parse_liveness_manifest(text, "mine.yaml")


def test_the_converted_real_models_answer_the_same_bits(shared_dir: Path) -> None:
    crops = np.random.default_rng(5).integers(0, 256, (3, 3, 80, 80)).astype(np.float32)
    for artefact in find_liveness_pack("minifasnet").artefacts:
        published = (shared_dir / "models" / artefact.source.name).read_bytes()
        converted = find_conversion(artefact.conversion).convert(published)
        assert converted == find_conversion(artefact.conversion).convert(published)
        kinds = [
            {node.op_type for node in onnx.load_from_string(model).graph.node}
            for model in (published, converted)
        ]
        assert ["PRelu" in each for each in kinds] == [True, False]
        before, after = (
            open_session(model).run(None, {"input": crops})[0] for model in (published, converted)
        )
        np.testing.assert_array_equal(before, after)


def test_what_is_no_model_is_not_converted() -> None:
    with pytest.raises(PackError, match="liveness model"):
        find_conversion("split-prelu").convert(b"no model")
