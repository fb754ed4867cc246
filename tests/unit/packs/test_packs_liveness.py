"""Liveness manifests: what ships, what is refused, and the conversion that makes the models quicker."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper

from serving.errors import LicenceNotAccepted, ManifestInvalid, PackError
from serving.packs.configured_liveness import load_configured_scorer
from serving.packs.conversions import find_conversion
from serving.packs.liveness import find_liveness_pack, list_liveness_packs, parse_liveness_manifest
from serving.packs.liveness_folder import (
    LivenessFolder,
    add_liveness_pack,
    read_liveness_folder,
    remove_liveness_pack,
)
from serving.packs.store import PackStore
from serving.settings import load_settings
from serving.vision.inference import open_session
from serving.vision.liveness_crops import AlignedCut, BoxCut
from tests.unit.packs.own_pack import MERGE_BOMB

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
    "text",
    [
        "",
        "[]",
        "a: [",
        "- " * 3000 + "a",
        "!!python/object:os.system {}",
        "a: &a [*a]",
        "2020-13-45",
        MERGE_BOMB,
    ],
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


def copy_models(shared_dir: Path, folder: Path) -> Path:
    folder.mkdir()
    for artefact in find_liveness_pack("minifasnet").artefacts:
        shutil.copy(shared_dir / "models" / artefact.source.name, folder)
    return folder


def test_the_real_models_come_from_a_folder_and_go_again(shared_dir: Path, tmp_path: Path) -> None:
    store = PackStore(tmp_path / "cache")
    folder = copy_models(shared_dir, tmp_path / "models")
    offer = read_liveness_folder(store, folder)
    assert offer is not None
    assert offer.pack.id == "minifasnet"
    assert not store.is_ready(offer.pack)
    add_liveness_pack(store, offer)
    assert store.is_ready(offer.pack)
    shutil.rmtree(folder)
    settings = load_settings({"cache_dir": str(store.cache_dir), "liveness": {"model": "minifasnet"}})
    load_configured_scorer(settings).check()
    assert remove_liveness_pack(store, offer.pack)
    assert not store.is_ready(offer.pack)
    assert [path for path in store.directory.rglob("*.onnx") if path.is_file()] == []


def test_other_files_under_the_names_are_no_pack(shared_dir: Path, tmp_path: Path) -> None:
    store = PackStore(tmp_path / "cache")
    folder = copy_models(shared_dir, tmp_path / "models")
    spoilt = folder / "minifasnet_v2_2.7.onnx"
    content = spoilt.read_bytes()
    spoilt.unlink()
    spoilt.write_bytes(content[:-1] + b"x")
    assert read_liveness_folder(store, folder) is None
    with pytest.raises(PackError, match=r"minifasnet_v2_2\.7\.onnx"):
        read_liveness_folder(store, folder, "minifasnet")


def write_own(folder: Path, output: str = "live_probability", **changes: object) -> Path:
    """A folder with a pack of the user's own: one network that calls bright faces live."""
    folder.mkdir()
    nodes = [
        helper.make_node("ReduceMean", ["faces"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Sigmoid", ["mean"], ["live"]),
    ]
    values = [("faces", ["n", 3, 32, 32]), ("live", ["n"])]
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in values]
    graph = helper.make_graph(nodes, "own", infos[:1], infos[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    data = model.SerializeToString()
    (folder / "mine.onnx").write_bytes(data)
    manifest = yaml.safe_load(yaml.safe_dump(GOOD))
    entry = manifest["models"][0]
    entry["file"] = {"name": "mine.onnx", "max_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    entry["cut"]["size_px"] = 32
    entry["input"].update(output=output, live_class=1)
    (folder / "liveness.yaml").write_text(yaml.safe_dump({**manifest, **changes}))
    return folder


def test_models_of_the_users_own_are_added_by_a_manifest(tmp_path: Path) -> None:
    store = PackStore(tmp_path / "cache")
    offer = read_liveness_folder(store, write_own(tmp_path / "mine"))
    assert offer is not None
    add_liveness_pack(store, offer)
    pack = find_liveness_pack("mine", cache_dir=store.cache_dir)
    assert pack.imported
    settings = load_settings({"cache_dir": str(store.cache_dir), "liveness": {"model": "mine"}})
    white = np.full((1, 32, 32, 3), 255, np.uint8)
    scores = load_configured_scorer(settings).score([white])
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-127.5 * 0.0078125)), atol=1e-4)
    remove_liveness_pack(store, pack)
    with pytest.raises(PackError, match="no liveness pack"):
        find_liveness_pack("mine", cache_dir=store.cache_dir)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"output": "logits"}, "do not run"),  # it gives one number, and class 1 is asked for
        ({"id": "minifasnet"}, "Rollcall's own"),
        ({"id": "buffalo_l"}, "of another pack"),
        ({"id": "starter"}, "of another pack"),
        ({"threshold": 2}, "threshold"),
    ],
)
def test_models_that_do_not_fit_their_manifest_are_not_added(
    tmp_path: Path, changes: dict[str, object], told: str
) -> None:
    store = PackStore(tmp_path / "cache")

    def add() -> None:
        offer = read_liveness_folder(store, write_own(tmp_path / "mine", **changes))  # type: ignore[arg-type]
        assert offer is not None
        add_liveness_pack(store, offer)

    with pytest.raises(PackError, match=told):
        add()
    assert list_liveness_packs(store.cache_dir) == list_liveness_packs()


def test_models_with_weights_elsewhere_are_not_added(tmp_path: Path) -> None:
    """A hash of the model says nothing about the file that its weights are read from."""
    store, folder = PackStore(tmp_path / "cache"), write_own(tmp_path / "mine")
    (tmp_path / "weights").write_bytes(bytes(64))
    weight = TensorProto(name="shift", data_type=TensorProto.FLOAT, dims=[1])
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=str(tmp_path / "weights"))
    model = onnx.load(folder / "mine.onnx")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["shift"], value=weight))
    data = model.SerializeToString()
    (folder / "mine.onnx").write_bytes(data)
    manifest = yaml.safe_load((folder / "liveness.yaml").read_text())
    manifest["models"][0]["file"].update(max_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    for conversion in ("none", "split-prelu"):
        manifest["models"][0]["conversion"] = conversion
        (folder / "liveness.yaml").write_text(yaml.safe_dump(manifest))
        offer = read_liveness_folder(store, folder)
        assert offer is not None
        with pytest.raises(PackError, match="in another file"):
            add_liveness_pack(store, offer)
    assert list_liveness_packs(store.cache_dir) == list_liveness_packs()


def test_restricted_models_are_not_added_without_acceptance(tmp_path: Path) -> None:
    offer = LivenessFolder(find_liveness_pack("insightface-liveness"), tmp_path)
    with pytest.raises(LicenceNotAccepted):
        add_liveness_pack(PackStore(tmp_path / "cache"), offer)


def test_the_command_takes_and_checks_liveness_packs(shared_dir: Path, tmp_path: Path) -> None:
    folder = copy_models(shared_dir, tmp_path / "models")
    environment = {**os.environ, "ROLLCALL_CACHE_DIR": str(tmp_path / "cache")}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "serving.cli", "packs", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)

    added = run("add", str(folder))
    assert added.returncode == 0, added.stderr
    assert "liveness.model" in " ".join(added.stdout.split())
    assert run("verify", "minifasnet").returncode == 0
    rows = {row["id"]: row for row in json.loads(run("list", "--json").stdout)}
    assert (rows["minifasnet"]["kind"], rows["minifasnet"]["state"]) == ("liveness", "ready")


def test_what_is_no_model_is_not_converted() -> None:
    with pytest.raises(PackError, match="liveness model"):
        find_conversion("split-prelu").convert(b"no model")
