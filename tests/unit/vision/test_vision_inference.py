"""What runs the models: refused where it is not there, checked where it says it is, flat in memory."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from serving.errors import ConfigurationError, ProviderUnavailable
from serving.packs.catalogue import find_pack
from serving.packs.loading import load_embedder
from serving.packs.store import PackStore
from serving.vision import inference
from serving.vision.binding import MAX_SHAPES, BoundSession
from serving.vision.execution import CPU, ONNXRUNTIME_NAMES, Execution, parse_providers
from serving.vision.inference import check_placement, count_operators, open_session

CUDA = Execution(parse_providers(["cuda"]))
OPENVINO = Execution(parse_providers(["openvino"]))


@pytest.fixture(scope="module")
def detector_path(pack_store: PackStore) -> Path:
    return pack_store.prepare(find_pack("starter")).detector_path


def pictures(count: int, height: int, width: int, seed: int = 0) -> dict[str, np.ndarray]:
    values = np.random.default_rng(seed).integers(0, 256, (count, height, width, 3))
    return {"pictures": values.astype(np.uint8)}


@pytest.mark.parametrize(
    ("asked", "chain"),
    [
        (["cpu"], ("cpu",)),
        (["cuda"], ("cuda", "cpu")),
        (["tensorrt"], ("tensorrt", "cuda", "cpu")),
        (["tensorrt", "cpu"], ("tensorrt", "cuda", "cpu")),
        (["openvino"], ("openvino", "cpu")),
        (["CUDAExecutionProvider", "CPUExecutionProvider"], ("cuda", "cpu")),
        (["TensorrtExecutionProvider", "cuda"], ("tensorrt", "cuda", "cpu")),
    ],
)
def test_providers_are_completed_by_what_stands_behind_them(asked: list[str], chain: tuple[str, ...]) -> None:
    assert parse_providers(asked) == chain
    assert parse_providers(chain) == chain


@pytest.mark.parametrize(
    "asked",
    [[], ["gpu"], ["CUDA"], ["cpu", "cuda"], ["cuda", "tensorrt"], ["cuda", "openvino"], ["cpu", "cpu"]],
)
def test_providers_that_make_no_sense(asked: list[str]) -> None:
    with pytest.raises(ValueError, match=r"provider|behind"):
        parse_providers(asked)
    with pytest.raises(ConfigurationError):
        open_session(b"", asked)


@pytest.mark.parametrize("name", ["cuda", "tensorrt", "openvino"])
def test_what_is_not_in_this_onnx_runtime_is_refused(detector_path: Path, name: str) -> None:
    if ONNXRUNTIME_NAMES[name] in ort.get_available_providers():
        pytest.skip(f"this ONNX Runtime has {name}")
    with pytest.raises(ProviderUnavailable, match=f"{name}.*not in this ONNX Runtime") as caught:
        open_session(detector_path, [name])
    assert "rollcall[gpu]" in caught.value.cure
    assert "CUDA_VISIBLE_DEVICES" in caught.value.cure


def test_a_provider_that_does_not_start_is_not_replaced_by_the_cpu(
    monkeypatch: pytest.MonkeyPatch, detector_path: Path
) -> None:
    """ONNX Runtime itself opens this session, on the CPU, with a warning."""
    monkeypatch.setattr(inference, "check_providers", lambda execution: None)
    with (
        pytest.warns(UserWarning, match="CUDAExecutionProvider"),
        pytest.raises(ProviderUnavailable, match=r"cuda: did not start .* run on CPUExecutionProvider alone"),
    ):
        open_session(detector_path, CUDA)


def open_placed(path: Path) -> Any:
    options = ort.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@pytest.mark.skipif(
    not hasattr(ort.InferenceSession, "get_provider_graph_assignment_info"), reason="ONNX Runtime before 1.24"
)
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_gpu_that_leaves_the_work_to_the_cpu_is_refused(pack_store: PackStore, precision: str) -> None:
    session = open_placed(pack_store.prepare(find_pack("starter", precision)).embedder_path)
    assert sum(count_operators(session)["CPUExecutionProvider"].values()) > 50
    with pytest.raises(ProviderUnavailable, match=r"cuda: it would leave \d+ Conv") as caught:
        check_placement(session, CUDA)
    assert "pack.precision fp32" in caught.value.detail
    with pytest.raises(ProviderUnavailable, match="openvino: it takes no part"):
        check_placement(session, OPENVINO)


@pytest.mark.parametrize(
    ("execution", "placed", "refused"),
    [
        (CUDA, {"cuda": ["Conv", "Relu"], "cpu": ["Shape", "Gather"]}, False),
        (CUDA, {"cuda": ["Relu"], "cpu": ["ConvInteger"]}, True),
        (CUDA, {"cpu": ["Shape"]}, True),
        (Execution(parse_providers(["tensorrt"])), {"tensorrt": ["Conv"], "cuda": ["Cast"]}, False),
        (Execution(parse_providers(["tensorrt"])), {"cuda": ["Conv"]}, False),
        (OPENVINO, {"openvino": ["Conv"], "cpu": ["Conv"]}, False),
        (OPENVINO, {"cpu": ["Conv"]}, True),
        (replace(OPENVINO, openvino_device="GPU"), {"openvino": ["Conv"], "cpu": ["Conv"]}, True),
        (replace(OPENVINO, openvino_device="GPU"), {"openvino": ["Conv"], "cpu": ["Shape"]}, False),
    ],
)
def test_what_must_run_where(execution: Execution, placed: dict[str, list[str]], refused: bool) -> None:
    def tell() -> list[Any]:
        return [
            SimpleNamespace(
                ep_name=ONNXRUNTIME_NAMES[name],
                get_nodes=lambda kinds=kinds: [SimpleNamespace(op_type=kind) for kind in kinds],
            )
            for name, kinds in placed.items()
        ]

    session = SimpleNamespace(get_provider_graph_assignment_info=tell)
    assert count_operators(session) == {
        ONNXRUNTIME_NAMES[name]: Counter(kinds) for name, kinds in placed.items()
    }
    if refused:
        with pytest.raises(ProviderUnavailable, match=execution.provider):
            check_placement(session, execution)
    else:
        check_placement(session, execution)


def test_an_onnx_runtime_that_does_not_tell_is_refused() -> None:
    with pytest.raises(ProviderUnavailable, match=r"1\.24"):
        check_placement(SimpleNamespace(), CUDA)


def test_bound_runs_equal_plain_runs(detector_path: Path) -> None:
    plain = open_session(detector_path)
    bound = BoundSession(plain, "cpu")
    assert bound.get_inputs()[0].name == "pictures"
    answers = []
    for seed, (count, height, width) in enumerate([(1, 64, 96), (2, 64, 96), (1, 64, 96), (1, 96, 64)] * 2):
        feeds = pictures(count, height, width, seed)
        answers.append((plain.run(None, feeds), bound.run(None, feeds)))
    for plainly, boundly in answers:  # after all runs: an answer must not change with the next one
        assert len(plainly) == len(boundly) == 4
        for one, other in zip(plainly, boundly, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)
    [heat] = bound.run(["heat"], pictures(1, 64, 96))
    np.testing.assert_allclose(heat, plain.run(["heat"], pictures(1, 64, 96))[0], atol=1e-5)
    transposed = pictures(1, 64, 96)["pictures"][:, ::-1]
    np.testing.assert_allclose(
        bound.run(["heat"], {"pictures": transposed})[0],
        plain.run(["heat"], {"pictures": np.ascontiguousarray(transposed)})[0],
        atol=1e-5,
    )


def test_bound_runs_keep_buffers_for_few_shapes(detector_path: Path) -> None:
    bound = BoundSession(open_session(detector_path), "cpu")
    for count in (1, 2):
        for side in range(1, MAX_SHAPES):
            bound.run(["heat"], pictures(count, 32, 32 * side))
    assert len(bound._kept) == MAX_SHAPES


def test_bound_runs_of_several_threads_take_turns(detector_path: Path) -> None:
    plain = open_session(detector_path)
    bound = BoundSession(plain, "cpu")
    feeds = [pictures(1, 64, 64, seed) for seed in range(4)]
    wanted = [plain.run(["heat"], feed)[0] for feed in feeds]
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(20):
            [heat] = bound.run(["heat"], feeds[number])
            if not np.allclose(heat, wanted[number], atol=1e-5):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(feeds))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("mirrored", [False, True])
def test_padded_batches_give_the_same_vectors_in_few_shapes(
    monkeypatch: pytest.MonkeyPatch, pack_store: PackStore, mirrored: bool
) -> None:
    prepared = pack_store.prepare(find_pack("starter", "fp32", mirrored))
    plain, padded = load_embedder(prepared), load_embedder(prepared, max_batch=12)
    padded._few_shapes = True
    seen: set[int] = set()
    run = padded._session.run

    class Watched:
        def run(self, outputs: Any, feeds: dict[str, np.ndarray]) -> Any:
            seen.update(len(feed) for feed in feeds.values())
            return run(outputs, feeds)

    monkeypatch.setattr(padded, "_session", Watched())
    chips = np.random.default_rng(3).integers(0, 256, (25, plain.size_px, plain.size_px, 3)).astype(np.uint8)
    padded.warm_up()
    warmed = set(seen)
    for count in (1, 3, 11, 25):
        np.testing.assert_allclose(padded.embed(chips[:count]), plain.embed(chips[:count]), atol=1e-5)
    assert seen == warmed, "a batch that warming up has not run"
    assert seen <= {1, 2, 4, 8, 12}


def test_colours_are_put_in_the_models_order(pack_store: PackStore) -> None:
    prepared = pack_store.prepare(find_pack("starter", "fp32", False))
    plain, reversing = load_embedder(prepared), load_embedder(prepared)
    reversing._reversed = True
    chips = np.random.default_rng(3).integers(0, 256, (2, plain.size_px, plain.size_px, 3)).astype(np.uint8)
    swapped = np.ascontiguousarray(chips[:, :, :, ::-1])
    np.testing.assert_allclose(reversing.embed(swapped), plain.embed(chips), atol=1e-6)


MEMORY_RUN = """
import sys
import numpy as np
from serving.vision.execution import Execution
from serving.vision.inference import open_session

session = open_session(sys.argv[1], Execution())
def run(count, height, width):
    session.run(None, {"pictures": np.zeros((count, height, width, 3), np.uint8)})
def measure_mib():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20
largest = (4, 416, 416)
run(*largest)
before, random = measure_mib(), np.random.default_rng(1)
for _ in range(300):
    run(int(random.integers(1, 5)), *(int(side) * 32 for side in random.integers(1, 6, 2)))
run(*largest)
print(measure_mib() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_stays_flat_under_varied_input(repository: Path, detector_path: Path) -> None:
    """300 batches and sizes at random after the largest: what that one took is enough for all.

    With memory patterns, ONNX Runtime's default, this grows by the size of the largest run.
    """
    command = [sys.executable, "-c", MEMORY_RUN, str(detector_path)]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 20


def test_threads_are_those_asked_for(detector_path: Path) -> None:
    assert open_session(detector_path, CPU).get_session_options().intra_op_num_threads == 1
    options = open_session(detector_path, Execution(intra_op_threads=3)).get_session_options()
    assert options.intra_op_num_threads == 3
