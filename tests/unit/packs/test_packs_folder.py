"""Packs added from a folder, fetched from the web, licensed, calibrated and removed."""

from __future__ import annotations

import io
import json
import multiprocessing
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from serving.errors import (
    LicenceNotAccepted,
    ManifestInvalid,
    PackDownloadFailed,
    PackError,
    PackNotCalibrated,
)
from serving.packs import pack_folder
from serving.packs.calibration import load_calibration
from serving.packs.catalogue import find_pack
from serving.packs.loading import load_embedder, load_finder
from serving.packs.manifest import Pack
from serving.packs.model_check import check_models
from serving.packs.pack_folder import add_pack, read_pack_folder
from serving.packs.removal import plan_removal, remove_packs
from serving.packs.store import PackStore, sidecar_of
from tests.unit.packs.file_server import FileServer, serve_files
from tests.unit.packs.own_pack import DETECTOR, EMBEDDER, sha256, write_folder

REAL_ID = "buffalo_sc-int8"
TERMS = {"summary": "Ours.", "text": "Do no harm.", "url": "https://example.org/licence"}


@pytest.fixture
def store(tmp_path: Path) -> PackStore:
    return PackStore(tmp_path / "cache")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serve_files() as started:
        yield started


def _zip(**members: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"nested/{name}.onnx", content)
    return data.getvalue()


def _add(store: PackStore, folder: Path, pack_id: str | None = None) -> Pack:
    return add_pack(store, read_pack_folder(store, folder, pack_id)).pack


def _add_served(store: PackStore, folder: Path, server: FileServer, **changes: object) -> Pack:
    """A pack that is added without files, for they lie in an archive on the web."""
    archive = {"urls": [f"{server.url}/ours.zip"], "max_bytes": 10**6}
    server.files["/ours.zip"] = _zip(find=DETECTOR, embed=EMBEDDER, other=b"not wanted")
    write_folder(folder, detector__file__archive=archive, embedder__file__archive=archive, **changes)
    for name in ("find.onnx", "embed.onnx"):
        (folder / name).unlink()
    return _add(store, folder)


def test_an_own_pack_is_known_once_added(store: PackStore, tmp_path: Path) -> None:
    pack = _add(store, write_folder(tmp_path / "ours"))
    assert pack.imported
    assert store.find_pack("our-pack").id == "our-pack"
    assert "our-pack" in store.pack_ids
    assert store.state_of(pack) == "ready"
    assert store.prepare_files(pack).detector_path.read_bytes() == DETECTOR
    assert store.verify_files(pack).embedder_path.read_bytes() == EMBEDDER
    _add(store, tmp_path / "ours")  # again, and nothing changes
    with pytest.raises(PackError, match="there is no pack"):
        find_pack("our-pack")
    assert find_pack("our-pack", cache_dir=store.cache_dir).imported


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"id": "buffalo_l"}, ManifestInvalid, "a pack of Rollcall's own"),
        ({"id": "minifasnet"}, ManifestInvalid, "a liveness pack's"),
        ({"detector__file__name": "lost.onnx"}, PackError, "lacks lost.onnx"),
        ({"detector__file__max_bytes": 10}, PackError, "larger than 10 bytes"),
        ({"detector__file__sha256": "0" * 64}, PackError, "was expected"),
        ({"detector__conversion": "scrfd"}, PackError, "our-pack: find.onnx: "),
        ({"calibration": "ours.json"}, ManifestInvalid, "calibration: "),
        ({"title": None}, ManifestInvalid, "title: missing"),
    ],
)
def test_a_folder_with_a_fault_leaves_no_pack(
    store: PackStore, tmp_path: Path, changes: dict[str, object], kind: type[PackError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        _add(store, write_folder(tmp_path / "ours", **changes))
    assert "our-pack" not in store.pack_ids
    assert not [path for path in store.directory.rglob("*.onnx") if path.is_file()]


def test_vectors_of_two_packs_of_one_id_cannot_meet(store: PackStore, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "ours")
    _add(store, folder)
    (folder / "embed.onnx").write_bytes(b"another model")
    with pytest.raises(PackError, match="was expected"):  # the hash was recorded
        _add(store, folder)
    with pytest.raises(PackError, match="another manifest"):
        _add(store, write_folder(folder, dimension=128))


def test_an_own_pack_may_bring_its_calibration(store: PackStore, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "ours", calibration="ours.json")
    stored = load_calibration(find_pack("starter")).to_json()
    (folder / "ours.json").write_text(json.dumps(stored))
    with pytest.raises(PackError, match="calibrates starter-int8-mirror, not our-pack"):
        _add(store, folder)
    (folder / "ours.json").write_text(json.dumps(stored | {"pack": "our-pack"}))
    pack = _add(store, folder)
    assert store.prepare(pack).calibration.pack == "our-pack"


def test_the_users_calibration_wins(store: PackStore, tmp_path: Path) -> None:
    pack = _add(store, write_folder(tmp_path / "ours"))
    with pytest.raises(PackNotCalibrated, match="rollcall calibrate --pack our-pack"):
        store.prepare(pack)
    assert not store.is_calibrated(pack)
    for one in (pack, find_pack("starter")):
        stored = load_calibration(find_pack("starter")).to_json()
        path = store.calibration_path(one)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(stored | {"pack": one.id, "default_threshold": 0.5}))
        assert store.load_calibration(one).default_threshold == 0.5
    path.write_text(json.dumps(stored | {"pack": "somebody-else"}))
    with pytest.raises(PackError, match="not starter"):
        store.load_calibration(find_pack("starter"))


def test_terms_must_be_accepted_once_for_each_text(store: PackStore, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "ours", licence=TERMS)
    with pytest.raises(LicenceNotAccepted, match="our-pack"):
        _add(store, folder)
    assert "our-pack" not in store.pack_ids
    offered = read_pack_folder(store, folder).pack
    store.licences.accept(offered, "a test")
    accepted = store.licences.read(offered)
    assert accepted is not None
    assert (accepted.text_sha256, accepted.how) == (sha256(b"Do no harm."), "a test")
    pack = _add(store, folder)
    again = PackStore(store.cache_dir)
    again.prepare_files(pack)
    other = read_pack_folder(
        again, write_folder(tmp_path / "other", licence=TERMS | {"text": "Do good."}, id="other")
    ).pack
    assert not again.licences.is_accepted(other)
    again.licences.forget(pack)
    with pytest.raises(LicenceNotAccepted):
        again.prepare_files(pack)


def test_settings_accept_for_machines_without_a_terminal(store: PackStore, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "ours", licence=TERMS)
    settled = PackStore(store.cache_dir, accepted_licences=["our-pack"])
    pack = _add(settled, folder)
    recorded = store.licences.read(pack)
    assert recorded is not None
    assert "pack.accept_licence" in recorded.how
    store.prepare_files(pack)


def test_an_archive_is_fetched_once_for_both_files(
    store: PackStore, tmp_path: Path, server: FileServer
) -> None:
    pack = _add_served(store, tmp_path / "ours", server)
    assert len(server.requests) == 1
    assert store.verify_files(pack).detector_path.read_bytes() == DETECTOR
    left = sorted(path.name for path in (store.directory / "downloads").iterdir())
    assert left == []
    assert not [path for path in store.directory.rglob("*") if "other" in path.name]


def test_what_was_seen_first_holds(store: PackStore, tmp_path: Path, server: FileServer) -> None:
    pack = _add_served(store, tmp_path / "ours", server)
    path = store.verify_files(pack).embedder_path
    path.unlink()
    assert store.state_of(pack) == "not fetched"
    server.files["/ours.zip"] = _zip(find=DETECTOR, embed=b"swapped")
    with pytest.raises(PackError, match="was expected"):
        store.prepare_files(pack)
    server.files["/ours.zip"] = _zip(find=DETECTOR, embed=EMBEDDER)
    assert store.prepare_files(pack).embedder_path.read_bytes() == EMBEDDER


def test_a_mirror_is_asked_instead(store: PackStore, tmp_path: Path, server: FileServer) -> None:
    folder = write_folder(tmp_path / "ours", detector__file__urls=["https://models.invalid/v1/find.onnx"])
    (folder / "find.onnx").unlink()
    server.files["/packs/find.onnx"] = DETECTOR
    mirrored = PackStore(store.cache_dir, mirror_url=f"{server.url}/packs/")
    assert add_pack(mirrored, read_pack_folder(mirrored, folder)).detector_path.read_bytes() == DETECTOR
    del server.files["/packs/find.onnx"]
    with pytest.raises(PackDownloadFailed, match=r"/packs/buffalo_l\.zip: the server answered 404"):
        PackStore(
            store.cache_dir, mirror_url=f"{server.url}/packs", accepted_licences=["buffalo_l"]
        ).prepare_files(find_pack("buffalo_l"))


def _prepare(cache_dir: Path) -> str:
    store = PackStore(cache_dir)
    return str(store.prepare_files(store.find_pack("our-pack")).detector_path)


def test_two_processes_fetch_once(store: PackStore, tmp_path: Path, server: FileServer) -> None:
    pack = _add_served(store, tmp_path / "ours", server)
    shutil.rmtree(store.directory / "sources")
    server.requests.clear()
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        paths = pool.map(_prepare, [store.cache_dir] * 2)
    assert paths[0] == paths[1]
    assert len(server.requests) == 1
    assert store.state_of(pack) == "ready"


def test_removing_leaves_what_another_pack_needs(store: PackStore, tmp_path: Path) -> None:
    first = _add(store, write_folder(tmp_path / "a", id="pack-a"))
    folder = write_folder(tmp_path / "b", id="pack-b")
    (folder / "embed.onnx").write_bytes(b"of b alone")
    second = _add(store, folder)
    shared = store.verify_files(first).detector_path
    store.calibration_path(first).parent.mkdir()
    store.calibration_path(first).write_text("{}")
    removal = plan_removal(store, [first])
    assert removal.shared_with == ("pack-b",)
    assert shared not in removal.deleted
    assert store.calibration_path(first) in removal.deleted
    remove_packs(store, removal)
    assert "pack-a" not in store.pack_ids
    assert "pack-b" in store.pack_ids
    assert store.state_of(second) == "ready"
    assert shared.is_file()
    unfinished = store.directory / "downloads" / "pack-b-find.onnx.part"
    unfinished.write_bytes(b"half")
    remove_packs(store, plan_removal(store, [second]))
    assert not shared.exists()
    left = [path for path in store.directory.rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert left == []


def test_a_folder_among_many_files_is_found(
    store: PackStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / "ours")
    (folder / "more").mkdir()
    for number in range(20):
        (folder / "more" / f"{number}.txt").touch()
    (folder / "more" / "find.onnx").write_bytes(b"an older one")
    monkeypatch.setattr(pack_folder, "MAX_FILES", 10)
    assert _add(store, folder).id == "our-pack"


def test_folders_that_hold_no_pack_say_what_is_missing(store: PackStore, tmp_path: Path) -> None:
    (tmp_path / "det_10g.onnx").write_bytes(b"not it")
    for place, pack_id, words in (
        (tmp_path / "nowhere", None, "does not exist"),
        (tmp_path, None, "no file of a known pack is there"),
        (tmp_path, "buffalo_l", "w600k_r50.onnx is missing"),
        (tmp_path, "starter-int8", "comes from the package registry"),
        (tmp_path, "nothing", "there is no pack"),
    ):
        with pytest.raises(PackError, match=words):
            read_pack_folder(store, place, pack_id)


@pytest.fixture
def real_store(shared_dir: Path, tmp_path: Path) -> PackStore:
    """A cache with the InsightFace pack that can be made of the test data."""
    store = PackStore(tmp_path / "cache", accepted_licences=[REAL_ID])
    assert _add(store, shared_dir / "models").id == REAL_ID
    return store


def test_a_real_insightface_pack_comes_from_a_folder_and_works(
    real_store: PackStore, samples: dict[str, Path]
) -> None:
    files = real_store.verify_files(find_pack(REAL_ID))
    check_models(files)
    finder, embedder = load_finder(files), load_embedder(files)
    found = finder.find([samples[name].read_bytes() for name in ("group", "guest", "portrait")])
    assert not any(isinstance(one, Exception) for one in found)
    assert [len(one.faces) for one in found] == [6, 1, 1]
    vectors = embedder.embed(np.stack([face.crop for one in found for face in one.faces]))
    assert vectors.shape == (8, 512)
    cosines = np.sort(vectors[:6] @ vectors[6])
    assert cosines[-1] > 0.6  # the guest
    assert cosines[-2] < 0.4  # everybody else
    assert (vectors[:7] @ vectors[7]).max() < 0.4


def test_a_converted_model_is_held_to_what_it_was_when_made(real_store: PackStore) -> None:
    pack = find_pack(REAL_ID)
    path = real_store.verify_files(pack).embedder_path
    good = path.read_bytes()
    for damage in (lambda: path.write_bytes(good[:-1] + b"x"), lambda: sidecar_of(path).unlink()):
        damage()
        assert real_store.state_of(pack) == "damaged"
        with pytest.raises(PackError, match="rollcall packs fetch"):
            real_store.verify_files(pack)
        assert real_store.prepare_files(pack).embedder_path.read_bytes() == good  # from its source, offline


SCRFD = {"kind": "scrfd", "file__name": "det_2.5g.onnx", "conversion": "scrfd"}
CENTERFACE = {"kind": "centerface", "file__name": "centerface.onnx", "conversion": "centerface"}


@pytest.mark.parametrize("detector", [SCRFD, CENTERFACE], ids=["SCRFD-like", "CenterFace-like"])
def test_any_detector_goes_with_any_embedder_by_manifest(
    shared_dir: Path,
    store: PackStore,
    pack_store: PackStore,
    prepared: object,
    samples: dict[str, Path],
    tmp_path: Path,
    detector: dict[str, str],
) -> None:
    folder, models = tmp_path / "ours", shared_dir / "models"
    write_folder(
        folder,
        dimension=512,
        embedder__file={"name": "w600k_mbf_int8.onnx", "max_bytes": 10**7},
        embedder__conversion="arcface",
        detector__file__max_bytes=10**7,
        **{f"detector__{key}": value for key, value in detector.items()},
    )
    for name in ("det_2.5g.onnx", "w600k_mbf_int8.onnx"):
        shutil.copy(models / name, folder)
    centerface = pack_store.sources.path_of(find_pack("starter").detector.artefact.source)
    assert centerface is not None
    shutil.copy(centerface, folder / "centerface.onnx")
    files = add_pack(store, read_pack_folder(store, folder))
    check_models(files)
    found = load_finder(files).find([samples[name].read_bytes() for name in ("group", "guest")])
    group, guest = (one.faces for one in found if not isinstance(one, Exception))
    assert (len(group), len(guest)) == (6, 1)
    vectors = load_embedder(files).embed(np.stack([face.crop for face in (*group, *guest)]))
    cosines = np.sort(vectors[:6] @ vectors[6])
    assert cosines[-1] > 0.6
    assert cosines[-2] < 0.4


def test_files_without_a_known_checksum_need_a_word(store: PackStore, tmp_path: Path) -> None:
    for name in ("det_10g_wo.onnx", "w600k_mbf.onnx"):
        (tmp_path / name).write_bytes(b"whatever")
    with pytest.raises(PackError, match="no whole pack"):
        read_pack_folder(store, tmp_path)
    assert read_pack_folder(store, tmp_path, "raccoon_s").pack.id == "raccoon_s"
    named = tmp_path / "raccoon_s"
    named.mkdir()
    for name in ("det_10g_wo.onnx", "w600k_mbf.onnx"):
        (tmp_path / name).rename(named / name)
    assert read_pack_folder(store, named).pack.id == "raccoon_s"


def test_files_that_fit_several_packs_need_a_word(shared_dir: Path, store: PackStore, tmp_path: Path) -> None:
    """buffalo_s and buffalo_sc have the same two models; here both lack the recogniser."""
    shutil.copy(shared_dir / "models" / "det_500m.onnx", tmp_path)
    with pytest.raises(PackError, match=r"buffalo_s: w600k_mbf\.onnx is missing; buffalo_sc: w600k_mbf"):
        read_pack_folder(store, tmp_path)


def test_an_archive_of_a_known_pack_is_checked_member_by_member(
    shared_dir: Path, store: PackStore, tmp_path: Path
) -> None:
    models = shared_dir / "models"
    archive = tmp_path / f"{REAL_ID}.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        for name in ("det_500m.onnx", "w600k_mbf_int8.onnx"):
            opened.write(models / name, f"{REAL_ID}/{name}")
    offer = read_pack_folder(store, archive)
    assert (offer.pack.id, offer.archive) == (REAL_ID, archive)
    store.licences.accept(offer.pack, "a test")
    add_pack(store, offer)
    assert store.state_of(offer.pack) == "ready"
