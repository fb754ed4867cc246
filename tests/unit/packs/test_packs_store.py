"""The cache: damage, concurrency, and that nothing but our models lies in it."""

from __future__ import annotations

import ast
import multiprocessing
import shutil
from pathlib import Path

import pytest

from serving.errors import PackError
from serving.packs.catalogue import PACKS, find_pack
from serving.packs.store import PackStore, PreparedPack


@pytest.fixture
def offline_store(
    tmp_path: Path, pack_store: PackStore, prepared: dict[str, PreparedPack], monkeypatch: pytest.MonkeyPatch
) -> PackStore:
    """A fresh cache that holds the downloaded sources, and no way to download more."""
    store = PackStore(tmp_path)
    shutil.copytree(pack_store.directory / "sources", store.directory / "sources")

    def refuse(member: object) -> bytes:
        raise PackError(f"no network for {member}")

    monkeypatch.setattr("serving.packs.sources.fetch_member", refuse)
    return store


def test_models_are_rebuilt_from_their_sources_bit_by_bit(offline_store: PackStore) -> None:
    """Every conversion gives exactly the bytes whose hash the catalogue names."""
    steps: list[tuple[str, float]] = []
    for pack in PACKS.values():
        offline_store.prepare(pack, lambda step, fraction: steps.append((step, fraction)))
        offline_store.verify(pack)
    assert steps[-1] == ("ready", 1.0)
    assert all(0 <= fraction <= 1 for _, fraction in steps)
    models = sorted(path.name for path in offline_store.directory.glob("*.onnx"))
    assert len(models) == 4  # two detectors and two embedders: variants share what is equal


def test_a_second_call_makes_nothing_anew(pack_store: PackStore, prepared: dict[str, PreparedPack]) -> None:
    steps: list[str] = []
    pack_store.prepare(find_pack("starter"), lambda step, _: steps.append(step))
    checks, [last] = steps[:-1], steps[-1:]
    assert checks
    assert all(step.startswith("check ") for step in checks)
    assert last == "ready"


@pytest.mark.parametrize("damage", ["flip", "cut", "delete"])
def test_a_damaged_model_is_noticed_and_rebuilt(offline_store: PackStore, damage: str) -> None:
    pack = find_pack("starter")
    path = offline_store.prepare(pack).embedder_path
    good = path.read_bytes()
    if damage == "delete":
        path.unlink()
    else:
        path.write_bytes(good[:1000] if damage == "cut" else good[:-1] + bytes([good[-1] ^ 1]))
    assert not offline_store.is_ready(pack)
    with pytest.raises(PackError, match="packs prepare"):
        offline_store.verify(pack)
    assert offline_store.prepare(pack).embedder_path.read_bytes() == good


def test_a_damaged_source_is_fetched_again(offline_store: PackStore) -> None:
    for source in (offline_store.directory / "sources").iterdir():
        source.write_bytes(b"damaged")
    with pytest.raises(PackError, match="no network"):
        offline_store.prepare(find_pack("starter"))


def _prepare(directory: Path) -> str:
    return str(PackStore(directory).prepare(find_pack("starter")).embedder_path)


def test_many_processes_may_prepare_at_once(offline_store: PackStore) -> None:
    directory = offline_store.directory.parent
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        paths = pool.map(_prepare, [directory] * 3)
    assert len(set(paths)) == 1
    offline_store.verify(find_pack("starter"))
    assert not list(offline_store.directory.glob(".*"))  # no temporary files stay


def test_the_unlicensed_predictor_is_not_in_the_cache(
    pack_store: PackStore, prepared: dict[str, PreparedPack]
) -> None:
    assert not [path for path in pack_store.directory.rglob("*") if "predictor" in path.name]


def test_an_unwritable_cache_is_a_pack_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PackError):
        PackStore(tmp_path / "file").prepare(find_pack("starter"))


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(PackError, match="starter-int8-mirror"):
        find_pack("nobody")
    with pytest.raises(PackError):
        find_pack("starter-fp32", precision="int8")
    with pytest.raises(PackError):
        find_pack("starter", precision="fp16")


def test_every_variant_has_its_own_id_and_calibration(prepared: dict[str, PreparedPack]) -> None:
    assert {find_pack("starter", p, m).id for p in ("fp32", "int8") for m in (False, True)} == set(PACKS)
    for name, one in prepared.items():
        assert one.pack.id == one.calibration.pack == name
    assert find_pack("starter") in PACKS.values()


def test_only_the_settings_open_the_cache(repository: Path) -> None:
    """A command that opened it by itself would pass over the licences and the mirror that they name."""
    opened = {
        str(path.relative_to(repository))
        for folder in ("serving", "loadtest")
        for path in (repository / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "PackStore"
    }
    assert opened == {"serving/packs/configured.py"}
