"""One process after another of a service on one machine is killed, and its model files are corrupted."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.settings import Settings
from tests.chaos.harness import Target, start_target


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the prepared models."""
    copy = tmp_path_factory.mktemp("chaos") / "cache"
    shutil.copytree(Settings().cache_dir, copy)
    return copy


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Iterator[Target]:
    directory = tmp_path_factory.mktemp("chaos")
    with start_target(directory, environment={"ROLLCALL_CACHE_DIR": str(cache_dir)}) as target:
        yield target


@pytest.mark.parametrize(
    ("failure", "role"),
    [
        ("kill -9 of a detector", "Detector"),
        ("kill -9 of the gallery's owner", "gallery"),
        ("kill -9 of the only ingress", "Ingress"),
        ("kill -9 of the only embedder", "Embedder"),
        ("kill -9 of the only matcher", "Matcher"),
        ("kill -9 of HAProxy", "haproxy"),
        ("kill -9 of HAProxy's manager", "HAProxyManager"),
        ("kill -9 of Serve's fallback proxy", "ProxyActor"),
        ("kill -9 of Serve's controller", "controller"),
    ],
)
def test_a_process_that_is_killed_loses_nothing(target: Target, failure: str, role: str) -> None:
    row = target.suffer_kill(failure, role)
    assert row.recovery_s is not None
    assert row.whole_s is not None


@pytest.mark.parametrize("role", ["Detector", "Embedder"])
def test_corrupt_models_are_made_again_by_the_replica_that_needs_them(
    target: Target, cache_dir: Path, role: str
) -> None:
    """Those that run have read theirs; the next replica finds what is wrong and makes the files again."""
    damaged = {path: path.read_bytes() for path in (cache_dir / "packs").glob("*.onnx")}
    assert damaged

    def damage() -> None:
        for path, content in damaged.items():
            path.write_bytes(content[:1000] + b"\xff" * 1000 + content[2000:])

    row = target.suffer(f"model files corrupted on disk ({role.lower()} runs on)", damage)
    assert row.failed_total == 0
    row = target.suffer_kill(f"kill -9 of the {role.lower()} whose model file is corrupt", role)
    assert row.recovery_s is not None
    assert row.whole_s is not None
    remade = [path for path, content in damaged.items() if path.read_bytes() == content]
    assert remade
