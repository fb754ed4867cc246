"""What ONNX Runtime is told of each provider, and what is read from an NVIDIA driver."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnxruntime as ort
import pytest

from serving.errors import ConfigurationError, ProviderUnavailable
from serving.settings import load_settings
from serving.vision import providers
from serving.vision.execution import Execution, parse_providers
from serving.vision.nvidia import Gpu, NvidiaDriver, read_driver
from serving.vision.providers import check_providers, find_gpu, make_chain, name_engine_folder

L4 = Gpu("NVIDIA L4", "8.9")
TWO_GPUS = NvidiaDriver("", "13.0", (L4, Gpu("NVIDIA H200", "9.0")))


def make_execution(provider: str, **values: Any) -> Execution:
    return Execution(parse_providers([provider]), **values)


@pytest.fixture
def gpu_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with two GPUs and all libraries, as far as Rollcall asks."""
    every = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(ort, "get_available_providers", lambda: every)
    monkeypatch.setattr(providers, "read_driver", lambda: TWO_GPUS)
    monkeypatch.setattr(providers, "load_libraries", lambda: "10.16.1")


@pytest.mark.usefixtures("gpu_machine")
def test_a_gpu_that_is_there_is_taken() -> None:
    for provider in ("cuda", "tensorrt", "cpu"):
        check_providers(make_execution(provider, device_id=1))
    assert find_gpu(make_execution("cuda", device_id=1)).name == "NVIDIA H200"


@pytest.mark.usefixtures("gpu_machine")
@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_what_a_gpu_lacks_is_named(monkeypatch: pytest.MonkeyPatch, provider: str) -> None:
    with pytest.raises(ProviderUnavailable, match=r"pack.device_id is 2, .* can see 2 GPU"):
        check_providers(make_execution(provider, device_id=2))
    monkeypatch.setattr(providers, "load_libraries", lambda: "")
    if provider == "tensorrt":
        with pytest.raises(ProviderUnavailable, match="libnvinfer"):
            check_providers(make_execution(provider))
    else:
        check_providers(make_execution(provider))  # which does not need TensorRT
    monkeypatch.setattr(providers, "read_driver", lambda: NvidiaDriver("no NVIDIA driver: gone"))
    with pytest.raises(ProviderUnavailable, match=f"{provider}: no NVIDIA driver: gone"):
        check_providers(make_execution(provider))


@pytest.mark.usefixtures("gpu_machine")
def test_a_driver_too_old_for_this_onnx_runtime_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "cuda_version", "13.0", raising=False)
    check_providers(make_execution("cuda"))
    monkeypatch.setattr(providers, "read_driver", lambda: NvidiaDriver("", "12.4", (L4,)))
    with pytest.raises(ProviderUnavailable, match=r"can run CUDA 12\.4, .* built for 13\.0"):
        check_providers(make_execution("cuda"))


def test_cuda_keeps_memory_and_first_runs_small() -> None:
    chain = make_chain(make_execution("cuda", device_id=1, gpu_memory_bytes=2**30), b"model")
    assert chain == [
        (
            "CUDAExecutionProvider",
            {
                "device_id": "1",
                "arena_extend_strategy": "kSameAsRequested",
                "cudnn_conv_algo_search": "HEURISTIC",
                "cudnn_conv_use_max_workspace": "1",
                "gpu_mem_limit": str(2**30),
            },
        ),
        ("CPUExecutionProvider", {}),
    ]
    assert "gpu_mem_limit" not in make_chain(make_execution("cuda"), b"")[0][1]


@pytest.mark.usefixtures("gpu_machine")
def test_engines_are_kept_by_what_they_were_built_for(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"weights")
    execution = make_execution("tensorrt", fp16=True, cache_dir=tmp_path / "engines")
    (name, options), (second, _), (third, _) = make_chain(execution, model)
    assert (name, second, third) == (
        "TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider",
    )  # fmt: skip
    assert options["trt_fp16_enable"] == "1"
    engines = Path(options["trt_engine_cache_path"])
    assert engines.is_dir()
    assert engines.parent == tmp_path / "engines" / "tensorrt"
    assert options["trt_timing_cache_path"] == str(engines)
    assert engines.name.startswith(f"NVIDIA_L4-sm8.9-trt10.16.1-ort{ort.__version__}-fp16-")
    assert make_chain(execution, b"weights")[0][1] == options, "bytes and their file are one model"

    without = make_chain(make_execution("tensorrt"), model)[0][1]
    assert not any("cache" in key for key in without)
    assert without["trt_fp16_enable"] == "0"


def test_no_two_engines_share_a_folder() -> None:
    names = {
        name_engine_folder(gpu, tensorrt, fp16, model)
        for gpu in (L4, Gpu("NVIDIA L4", "9.0"), Gpu("NVIDIA L40", "8.9"))
        for tensorrt in ("10.13.3", "10.16.1")
        for fp16 in (False, True)
        for model in (b"one", b"two")
    }
    assert len(names) == 24
    assert all("/" not in name and " " not in name for name in names)


def test_openvino_takes_no_more_threads_than_it_is_given(tmp_path: Path) -> None:
    [(name, options), _] = make_chain(
        make_execution("openvino", intra_op_threads=3, cache_dir=tmp_path / "engines"), b""
    )
    assert (name, options["device_type"]) == ("OpenVINOExecutionProvider", "CPU")
    assert json.loads(options["load_config"]) == {
        "CPU": {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": "3", "NUM_STREAMS": "1"}
    }
    on_gpu = make_execution("openvino", openvino_device="GPU.1", fp16=True, cache_dir=tmp_path / "engines")
    options = make_chain(on_gpu, b"")[0][1]
    assert json.loads(options["load_config"]) == {"GPU": {"INFERENCE_PRECISION_HINT": "f16"}}
    assert Path(options["cache_dir"]).is_dir()


class Driver:
    """libcuda's functions, as ctypes calls them: results are written where `byref` points."""

    def __init__(self, init: int = 0, gpus: tuple[Gpu, ...] = ()) -> None:
        self.init, self.gpus = init, gpus

    def cuInit(self, flags: int) -> int:
        return self.init

    def cuDriverGetVersion(self, version: Any) -> int:
        version._obj.value = 13010
        return 0

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = len(self.gpus)
        return 0

    def cuDeviceGet(self, device: Any, place: int) -> int:
        device._obj.value = place
        return 0

    def cuDeviceGetName(self, name: Any, size: int, device: Any) -> int:
        name.value = self.gpus[device.value].name.encode()[: size - 1]
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: Any) -> int:
        major, minor = self.gpus[device.value].compute_capability.split(".")
        value._obj.value = int({75: major, 76: minor}[attribute])
        return 0


def loading(driver: Driver | None) -> Callable[[str], Any]:
    def load(name: str) -> Any:
        assert name == "libcuda.so.1"
        if driver is None:
            raise OSError(f"{name}: cannot open shared object file")
        return driver

    return load


def test_a_driver_tells_its_gpus() -> None:
    assert read_driver(loading(Driver(gpus=TWO_GPUS.gpus))) == NvidiaDriver("", "13.1", TWO_GPUS.gpus)


@pytest.mark.parametrize(
    ("driver", "visible", "words"),
    [
        (None, None, "no NVIDIA driver: libcuda.so.1 is not on this machine"),
        (Driver(init=100), "", "shows no GPU (cuInit: 100); CUDA_VISIBLE_DEVICES is ''"),
        (Driver(init=100), None, "shows no GPU (cuInit: 100)"),
        (Driver(), "7", "shows no GPU; CUDA_VISIBLE_DEVICES is '7'"),
    ],
)
def test_why_there_is_no_gpu(
    monkeypatch: pytest.MonkeyPatch, driver: Driver | None, visible: str | None, words: str
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    read = read_driver(loading(driver))
    assert read.problem.endswith(words)
    assert read.gpus == ()


@pytest.mark.parametrize(
    ("pack", "words"),
    [
        (
            {"providers": ["gpu"]},
            "pack.providers: gpu: not a provider; there are tensorrt, cuda, openvino, cpu",
        ),
        ({"providers": []}, "pack.providers: nothing: not a provider"),
        ({"providers": ["cpu", "cuda"]}, "pack.providers: cpu, cuda: behind cpu can stand nothing"),
        ({"providers": "cuda", "fp16": True}, "fp16 does nothing for cuda"),
        ({"providers": "openvino", "fp16": True}, "fp16 does nothing for openvino"),
        ({"openvino_device": "CUDA"}, "pack.openvino_device"),
        ({"gpu_memory_bytes": 4}, "pack.gpu_memory_bytes"),
        ({"device_id": -1}, "pack.device_id"),
        ({"intra_op_threads": 0}, "pack.intra_op_threads"),
    ],
)
def test_settings_that_cannot_be_run(pack: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings({"pack": pack})
    assert words in caught.value.detail


def test_settings_become_an_execution(tmp_path: Path) -> None:
    pack = {"providers": "tensorrt", "fp16": True, "device_id": 1, "gpu_memory_bytes": 2**30}
    settings = load_settings({"cache_dir": tmp_path, "pack": pack})
    execution = settings.make_execution(threads=4)
    assert execution == Execution(
        ("tensorrt", "cuda", "cpu"), 4, 1, True, 2**30, cache_dir=tmp_path / "engines"
    )
    assert execution.on_nvidia
    assert not execution.on_cpu
    chosen = load_settings({"pack": {"intra_op_threads": 2, "cpu_arena": False}})
    assert chosen.make_execution(threads=4).intra_op_threads == 2
    assert not chosen.make_execution().cpu_arena
    assert chosen.make_execution().provider == "cpu"


@pytest.mark.parametrize(
    ("cpus", "threads"), [(None, 1), ({}, 1), ({"CPU": 0.3}, 1), ({"CPU": 1.0}, 1), ({"CPU": 2.5}, 3)]
)
def test_a_replica_runs_as_many_threads_as_it_has_cpus(
    monkeypatch: pytest.MonkeyPatch, cpus: dict[str, float] | None, threads: int
) -> None:
    from serving.deployments import replica

    context = SimpleNamespace(get_assigned_resources=lambda: cpus)
    fake = SimpleNamespace(is_initialized=lambda: cpus is not None, get_runtime_context=lambda: context)
    monkeypatch.setattr(replica, "ray", fake)
    assert replica.make_replica_execution(load_settings()).intra_op_threads == threads
    assert (
        replica.make_replica_execution(load_settings({"pack": {"intra_op_threads": 6}})).intra_op_threads == 6
    )
