"""From an `Execution` to what ONNX Runtime is told about each provider."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import onnxruntime as ort

from serving.errors import ProviderUnavailable
from serving.vision.execution import ONNXRUNTIME_NAMES, Execution
from serving.vision.nvidia import Gpu, load_libraries, read_driver

ProviderChain = list[tuple[str, dict[str, str]]]

_HASH_CHARS = 16
_READ_BYTES = 2**20
_WORKSPACE_BYTES = 2**30
"""Scratch memory that TensorRT may take while it builds an engine; models of this size need far less."""


def check_providers(execution: Execution) -> None:
    """Check that what is asked for is in this ONNX Runtime and on this machine, without loading a model.

    Raises:
        ProviderUnavailable: it is not; the message says what is missing.
    """
    missing = [name for name in execution.providers if not _is_built_in(name)]
    if missing:
        raise ProviderUnavailable(
            f"{', '.join(missing)}: not in this ONNX Runtime {ort.__version__}, which has "
            f"{', '.join(ort.get_available_providers())}"
        )
    if execution.on_nvidia:
        find_gpu(execution)
        if not load_libraries() and execution.provider == "tensorrt":
            raise ProviderUnavailable(
                "tensorrt: TensorRT 10 (libnvinfer.so.10) is not on this machine (docs/gpu.md)"
            )


def find_gpu(execution: Execution) -> Gpu:
    """The GPU that is asked for.

    Raises:
        ProviderUnavailable: it is not there.
    """
    driver = read_driver()
    if driver.problem:
        raise ProviderUnavailable(f"{execution.provider}: {driver.problem}")
    needed = str(getattr(ort, "cuda_version", "") or "")
    if needed and driver.cuda_version and _major(driver.cuda_version) < _major(needed):
        raise ProviderUnavailable(
            f"{execution.provider}: the NVIDIA driver can run CUDA {driver.cuda_version}, and this ONNX "
            f"Runtime was built for {needed}; a newer driver is needed"
        )
    if execution.device_id >= len(driver.gpus):
        raise ProviderUnavailable(
            f"{execution.provider}: pack.device_id is {execution.device_id}, and this process can see "
            f"{len(driver.gpus)} GPU(s), counted from 0"
        )
    return driver.gpus[execution.device_id]


def make_chain(execution: Execution, model: str | Path | bytes) -> ProviderChain:
    """Every provider with its options, in order.

    Raises:
        ProviderUnavailable: as `find_gpu`.
    """
    return [(ONNXRUNTIME_NAMES[name], _make_options(name, execution, model)) for name in execution.providers]


def name_engine_folder(gpu: Gpu, tensorrt: str, fp16: bool, model: str | Path | bytes) -> str:
    """Folder of one model's engines, which serve only the GPU, versions and model they were built for."""
    parts = (
        gpu.name,
        f"sm{gpu.compute_capability}",
        f"trt{tensorrt}",
        f"ort{ort.__version__}",
        "fp16" if fp16 else "fp32",
        _hash_model(model),
    )
    return "-".join(re.sub(r"[^A-Za-z0-9.]+", "_", part) for part in parts)


def _major(version: str) -> int:
    return int(version.split(".")[0])


def _is_built_in(name: str) -> bool:
    return ONNXRUNTIME_NAMES[name] in ort.get_available_providers()


def _make_options(name: str, execution: Execution, model: str | Path | bytes) -> dict[str, str]:
    if name == "tensorrt":
        return _tensorrt_options(execution, model)
    if name == "cuda":
        return _cuda_options(execution)
    return _openvino_options(execution) if name == "openvino" else {}


def _cuda_options(execution: Execution) -> dict[str, str]:
    """Options of the CUDA provider.

    Its defaults try every convolution algorithm at every new shape, and double the arena when it is full;
    with shapes that vary the first makes slow requests and the second takes memory it never needs.
    """
    options = {
        "device_id": str(execution.device_id),
        "arena_extend_strategy": "kSameAsRequested",
        "cudnn_conv_algo_search": "HEURISTIC",
        "cudnn_conv_use_max_workspace": "1",
    }
    if execution.gpu_memory_bytes is not None:
        options["gpu_mem_limit"] = str(execution.gpu_memory_bytes)
    return options


def _tensorrt_options(execution: Execution, model: str | Path | bytes) -> dict[str, str]:
    """Options of the TensorRT provider.

    No profile of shapes is given: the provider learns the range from the runs it sees, keeps it with the
    engine, and builds anew only beyond it, which is why warming up runs the smallest and the largest batch.
    """
    options = {
        "device_id": str(execution.device_id),
        "trt_fp16_enable": "1" if execution.fp16 else "0",
        "trt_max_workspace_size": str(min(execution.gpu_memory_bytes or _WORKSPACE_BYTES, _WORKSPACE_BYTES)),
        "trt_context_memory_sharing_enable": "1",
    }
    if execution.cache_dir is not None:
        gpu = find_gpu(execution)
        folder = execution.cache_dir / "tensorrt"
        engines = folder / name_engine_folder(gpu, load_libraries(), execution.fp16, model)
        engines.mkdir(parents=True, exist_ok=True)
        options |= {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(engines),
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(engines),
        }
    return options


def _openvino_options(execution: Execution) -> dict[str, str]:
    """Options of the OpenVINO provider; on its own it takes every core and may round to bfloat16."""
    device = execution.openvino_device
    kind = device.split(".")[0]
    properties: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f16" if execution.fp16 else "f32"}
    if kind == "CPU":
        properties |= {"INFERENCE_NUM_THREADS": str(execution.intra_op_threads), "NUM_STREAMS": "1"}
    options = {"device_type": device, "load_config": json.dumps({kind: properties})}
    if execution.cache_dir is not None and kind != "CPU":
        folder = execution.cache_dir / "openvino"
        folder.mkdir(parents=True, exist_ok=True)
        options["cache_dir"] = str(folder)
    return options


def _hash_model(model: str | Path | bytes) -> str:
    digest = hashlib.sha256()
    if isinstance(model, bytes):
        digest.update(model)
    else:
        with Path(model).open("rb") as file:
            while part := file.read(_READ_BYTES):
                digest.update(part)
    return digest.hexdigest()[:_HASH_CHARS]
