"""What this process can see of NVIDIA: driver, GPUs, libraries. Read without any package of theirs."""

from __future__ import annotations

import ctypes
import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

DRIVER_LIBRARY = "libcuda.so.1"
TENSORRT_LIBRARIES = ("libnvinfer.so.10", "libnvinfer_plugin.so.10", "libnvonnxparser.so.10")
"""What ONNX Runtime's TensorRT provider is linked with, in the order in which they need each other."""

_NAME_BYTES = 256
_MAJOR, _MINOR = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR of the CUDA driver API."""

Loader = Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU: its name, and its compute capability such as 8.9."""

    name: str
    compute_capability: str


@dataclass(frozen=True, slots=True)
class NvidiaDriver:
    """What the driver shows to this process.

    problem: why there is no GPU to be had, in words; empty when there is one.
    cuda_version: the newest CUDA that the driver can run, such as 13.0; empty without a driver.
    """

    problem: str
    cuda_version: str = ""
    gpus: tuple[Gpu, ...] = ()


def read_driver(load: Loader = ctypes.CDLL) -> NvidiaDriver:
    """Ask the NVIDIA driver for its GPUs.

    CUDA_VISIBLE_DEVICES counts as it stood when this process first asked.
    """
    try:
        cuda = load(DRIVER_LIBRARY)
    except OSError:
        return NvidiaDriver(f"no NVIDIA driver: {DRIVER_LIBRARY} is not on this machine")
    version, count = ctypes.c_int(), ctypes.c_int()
    status = cuda.cuInit(0)
    if cuda.cuDriverGetVersion(ctypes.byref(version)) == 0:
        cuda_version = f"{version.value // 1000}.{version.value % 1000 // 10}"
    else:
        cuda_version = ""
    if status != 0:
        return NvidiaDriver(
            f"the NVIDIA driver shows no GPU (cuInit: {status}){_tell_visible()}", cuda_version
        )
    if cuda.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value == 0:
        return NvidiaDriver(f"the NVIDIA driver shows no GPU{_tell_visible()}", cuda_version)
    return NvidiaDriver("", cuda_version, tuple(_read_gpu(cuda, place) for place in range(count.value)))


@cache
def load_libraries() -> str:
    """Load CUDA, cuDNN and TensorRT from the packages they were installed with, for ONNX Runtime to find.

    ONNX Runtime's providers are linked with them and look only where the system's loader does.

    Returns:
        The version of TensorRT, such as 10.16.1; empty where there is none.
    """
    import onnxruntime as ort

    if hasattr(ort, "preload_dlls"):
        ort.preload_dlls()
    package = importlib.util.find_spec("tensorrt_libs")
    home = Path(package.origin).parent if package is not None and package.origin else None
    version = ""
    for name in TENSORRT_LIBRARIES:
        path = home / name if home is not None and (home / name).is_file() else Path(name)
        try:
            library = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
        except OSError:
            return ""
        if name == TENSORRT_LIBRARIES[0]:
            version = _read_tensorrt_version(library)
    return version


def _read_gpu(cuda: Any, place: int) -> Gpu:
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(_NAME_BYTES)
    cuda.cuDeviceGet(ctypes.byref(device), place)
    cuda.cuDeviceGetName(name, _NAME_BYTES, device)
    cuda.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device)
    cuda.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device)
    return Gpu(name.value.decode("utf-8", "replace"), f"{major.value}.{minor.value}")


def _tell_visible() -> str:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return "" if visible is None else f"; CUDA_VISIBLE_DEVICES is {visible!r}"


def _read_tensorrt_version(library: Any) -> str:
    # getInferLibVersion() is major * 10000 + minor * 100 + patch.
    number = int(library.getInferLibVersion())
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"
