"""Manifests: what ships is whole and as it was, and a fault names the file and the key."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.errors import ManifestInvalid, PackError
from serving.packs.catalogue import PACKS, find_pack, list_ids, shipped_ids
from serving.packs.conversions import CONVERSIONS
from serving.packs.manifest import ModelFile, WheelMember
from serving.packs.manifest_format import (
    MAX_MANIFEST_BYTES,
    DetectorForm,
    EmbedderForm,
    FileForm,
    LicenceForm,
    ModelForm,
    PackForm,
    QualityScaleForm,
    TemplateForm,
    parse_manifest,
)
from serving.vision.quality import STARTER_SCALE
from tests.unit.packs.own_pack import MERGE_BOMB, write_manifest

SHA = "ab" * 32


def test_the_starter_is_what_it_was() -> None:
    """Ids and converted bytes go with every stored vector and every model cache."""
    assert {name: [artefact.sha256 for artefact in pack.artefacts] for name, pack in PACKS.items()} == {
        name: [
            "75e91c62cd7bbdabb8ff5c460c238db881c02c139473e8b648e5b061ccfcbaf4",
            "437d4c8fd6e97b8b1e2409fa8ac3f395827b2fd4afec1798fbb3c4b0f90310e6",
        ]
        if "fp32" in name
        else [
            "6629abe32d3a21aad5ed085256c118ee85121ad53d801c9493715206710b1519",
            "a17b6a31448d26862366e7eb652b431989daaf93cb0ba4c7d452b33655238d39",
        ]
        for name in ("starter-fp32", "starter-fp32-mirror", "starter-int8", "starter-int8-mirror")
    }
    for name, pack in PACKS.items():
        assert pack.embedder.mirrored == name.endswith("mirror")
        assert (pack.dimension, pack.terms, pack.embedder.scale) == (128, None, 1 / 256)
        assert pack.calibration_file == f"{name}.json"


@pytest.mark.parametrize("name", ["buffalo_l", "buffalo_m", "buffalo_s", "buffalo_sc", "antelopev2"])
def test_an_insightface_pack_is_pinned_to_the_byte(name: str) -> None:
    pack = find_pack(name)
    for artefact in pack.artefacts:
        source = artefact.source
        assert isinstance(source, ModelFile)
        assert source.sha256 is not None
        assert source.archive is not None
        assert source.archive.sha256 is not None
        assert all(url.endswith(f"/{name}.zip") for url in source.archive.urls)
        assert source.max_bytes < source.archive.max_bytes * 2


@pytest.mark.parametrize("name", [name for name in shipped_ids() if name not in PACKS])
def test_insightface_packs_have_terms_and_the_standard_crop(name: str) -> None:
    pack = find_pack(name)
    assert pack.terms is not None
    assert "non-commercial" in pack.terms.text
    assert "non-commercial" in pack.licence
    assert (pack.dimension, pack.embedder.size_px, pack.template.size_px) == (512, 112, 112)
    assert pack.detector.kind == "scrfd"
    assert pack.detector.quality_scale != STARTER_SCALE
    assert (pack.calibration_file is not None) == (name == "buffalo_sc-int8"), "the weights at hand"
    assert [artefact.conversion for artefact in pack.artefacts] == ["scrfd", "arcface"]


def test_the_same_file_has_the_same_hash_in_every_pack() -> None:
    seen: dict[str, set[tuple[str, int]]] = {}
    for name in list_ids():
        for artefact in find_pack(name).artefacts:
            source = artefact.source
            if source.sha256 is not None:
                seen.setdefault(source.name, set()).add((source.sha256, source.max_bytes))
    assert all(len(facts) == 1 for facts in seen.values()), seen


def test_what_is_not_known_is_not_claimed() -> None:
    for name in ("raccoon_s", "raccoon_l"):
        pack = find_pack(name)
        assert all(artefact.source.sha256 is None for artefact in pack.artefacts)
        assert "never run" in pack.notes


def test_an_own_pack_is_read_whole() -> None:
    pack = parse_manifest(
        write_manifest(
            template={
                "points": [[30, 40], [80, 40], [56, 60], [40, 90], [70, 90]],
                "weights": [1, 1, 2, 1, 1],
            },
            embedder__channels="bgr",
            embedder__file__urls=["http://models.example/embed.onnx"],
            detector__file__wheel={"requirement": "x==1.0", "sha256": SHA, "path": "x/find.onnx"},
            detector__file__sha256=SHA,
            licence__text="Do no harm.",
            licence__url="https://example.org/licence",
        ),
        "pack.yaml",
    )
    assert isinstance(pack.detector.artefact.source, WheelMember)
    assert isinstance(pack.embedder.artefact.source, ModelFile)
    assert pack.embedder.artefact.source.is_downloadable
    assert pack.embedder.channels == "bgr"
    assert np.array_equal(pack.template.weights, [1, 1, 2, 1, 1])
    assert pack.template.size_px == 112
    assert pack.terms is not None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"id": None}, "id: missing"),
        ({"id": "Über"}, "id: "),
        ({"id": "../x"}, "id: "),
        ({"id": "starter"}, "id 'starter' has a meaning of its own"),
        ({"format": 2}, "format: "),
        ({"dimension": 0}, "dimension: "),
        ({"dimension": "many"}, "dimension: "),
        ({"precison": "fp32"}, "precison: there is no such key; did you mean precision?"),
        ({"detector__kind": "yolo"}, "detector.kind: "),
        ({"detector__conversion": "magic"}, "detector: conversion is none of centerface"),
        ({"detector__score_threshold": 1.5}, "detector.score_threshold: "),
        ({"detector__nms_iou": float("nan")}, "detector.nms_iou: "),
        ({"detector__file__name": "../../etc/passwd"}, "detector.file.name: "),
        ({"detector__file__max_bytes": 10**15}, "detector.file.max_bytes: "),
        ({"detector__file__sha256": "abc"}, "detector.file.sha256: "),
        (
            {"detector__file__sha256": 12345},
            "detector.file.sha256: should be a valid string (put it in quotes)",
        ),
        ({"detector__file__urls": ["ftp://x/y"]}, "detector.file.urls.0: "),
        ({"detector__file__urls": ["file:///etc/passwd"]}, "detector.file.urls.0: "),
        (
            {
                "detector__file__urls": ["https://x/y"],
                "detector__file__archive": {"urls": ["https://x/z"], "max_bytes": 9},
            },
            "detector.file: give at most one of urls, archive and wheel",
        ),
        (
            {"detector__file__wheel": {"requirement": "x==1", "sha256": SHA, "path": "x/find.onnx"}},
            "detector.file: a file from a wheel needs its sha256",
        ),
        ({"embedder__mean": [1, 2]}, "embedder.mean"),
        ({"embedder__scale": 0}, "embedder.scale: "),
        ({"embedder__channels": "grey"}, "embedder.channels: "),
        ({"embedder__size_px": 150}, "template arcface-112 is for crops of 112 px"),
        ({"template": {}}, "template: give either preset or points"),
        ({"template": {"points": [[1, 2]]}}, "template.points"),
        ({"template": {"points": [[1, 2]] * 4 + [[1, 900]]}}, "outside the crop"),
        ({"licence": {"summary": "x", "text": "y"}}, "licence: terms that must be accepted need both"),
        ({"licence": {"summary": "two\nlines"}}, "licence.summary: "),
    ],
)
def test_a_fault_names_file_and_key(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ManifestInvalid) as caught:
        parse_manifest(write_manifest(**changes), "somewhere/pack.yaml")
    assert caught.value.detail.startswith("somewhere/pack.yaml: ")
    assert words in caught.value.detail
    assert "docs/packs.md" in caught.value.cure


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "just words",
        "a: [1, 2",
        "!!python/object/apply:os.system ['true']",
        "2020-13-45",
        "[" * 5000,
        "x" * (MAX_MANIFEST_BYTES + 1),
        "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]",
        MERGE_BOMB,
        MERGE_BOMB.replace("<<", "!!merge x"),
    ],
)
def test_what_is_no_manifest_is_told_so(text: str) -> None:
    with pytest.raises(ManifestInvalid, match=r"^pack\.yaml: "):
        parse_manifest(text, "pack.yaml")


def test_of_many_faults_some_are_told() -> None:
    with pytest.raises(ManifestInvalid, match=r"and \d+ more$") as caught:
        parse_manifest("".join(f"k{number}:\n" for number in range(1000)), "pack.yaml")
    assert len(caught.value.detail) < 2000


@settings(max_examples=100, deadline=None)
@given(
    st.text(max_size=200) | st.recursive(st.none() | st.integers() | st.text(max_size=5), st.lists).map(repr)
)
def test_no_text_does_more_than_be_refused(text: str) -> None:
    with pytest.raises(ManifestInvalid):
        parse_manifest(text, "pack.yaml")


def test_every_conversion_refuses_what_it_does_not_know() -> None:
    for conversion in CONVERSIONS.values():
        if conversion.name != "none":
            with pytest.raises(PackError):
                conversion.convert(b"not a model")


def test_the_page_has_every_key_and_pack_and_an_example_that_holds(repository: Path) -> None:
    page = (repository / "docs" / "packs.md").read_text()
    example = re.search(r"```yaml\n(.+?)```", page, re.S)
    assert example is not None
    pack = parse_manifest(example[1], "docs/packs.md")
    assert (pack.id, pack.imported) == ("staff-entrance", False)
    for name in shipped_ids():
        assert f"`{name}`" in page
    forms = (PackForm, LicenceForm, ModelForm, DetectorForm, EmbedderForm, TemplateForm, FileForm)
    for form in (*forms, QualityScaleForm):
        for key in form.model_fields:
            if key not in ("licence", "detector", "embedder", "template", "file", "conversion"):
                assert re.search(rf"`(\w+\.)?{key}`", page), key
