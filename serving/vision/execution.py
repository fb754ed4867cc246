"""Where models run, and with how much: the choice, free of ONNX Runtime, so that settings can hold it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ONNXRUNTIME_NAMES: dict[str, str] = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
"""Short names of the providers Rollcall knows how to set up, and what ONNX Runtime calls them."""

_BEHIND: dict[str, tuple[str, ...]] = {
    "tensorrt": ("tensorrt", "cuda", "cpu"),
    "cuda": ("cuda", "cpu"),
    "openvino": ("openvino", "cpu"),
    "cpu": ("cpu",),
}
"""What runs the nodes that a provider does not take; ONNX Runtime always needs the CPU at the end."""


def parse_providers(names: Sequence[str]) -> tuple[str, ...]:
    """Short names of what `names` asks for, completed by what must stand behind it.

    Args:
        names: short names or ONNX Runtime's own, the preferred first.

    Returns:
        One of the chains `tensorrt, cuda, cpu`, `cuda, cpu`, `openvino, cpu` and `cpu`.

    Raises:
        ValueError: a name is unknown, or they do not stand in one of these orders.
    """
    by_any_name = {long: short for short, long in ONNXRUNTIME_NAMES.items()} | {
        short: short for short in ONNXRUNTIME_NAMES
    }
    unknown = [name for name in names if name not in by_any_name]
    if unknown or not names:
        raise ValueError(
            f"{', '.join(unknown) or 'nothing'}: not a provider; there are {', '.join(ONNXRUNTIME_NAMES)}"
        )
    asked = tuple(by_any_name[name] for name in names)
    chain = _BEHIND[asked[0]]
    if asked != tuple(one for one in chain if one in asked):
        behind = ", ".join(chain[1:]) or "nothing"
        raise ValueError(f"{', '.join(asked)}: behind {asked[0]} can stand {behind}")
    return chain


@dataclass(frozen=True, slots=True)
class Execution:
    """How a model is run.

    providers: a chain as `parse_providers` returns it; the first is what was asked for and must start.
    intra_op_threads: CPU threads of one model, >= 1.
    device_id: which of the GPUs this process can see.
    fp16: half precision, where TensorRT or OpenVINO on a GPU makes it from a float32 model.
    gpu_memory_bytes: most that the arena of one model may take on the GPU; None: what there is.
    cpu_arena: keep freed CPU memory for the next run, instead of giving it back.
    openvino_device: OpenVINO's name of the device, such as CPU or GPU.0.
    cache_dir: where compiled engines are kept; None: nowhere.
    """

    providers: tuple[str, ...] = ("cpu",)
    intra_op_threads: int = 1
    device_id: int = 0
    fp16: bool = False
    gpu_memory_bytes: int | None = None
    cpu_arena: bool = True
    openvino_device: str = "CPU"
    cache_dir: Path | None = None

    @property
    def provider(self) -> str:
        """Short name of what was asked for."""
        return self.providers[0]

    @property
    def on_nvidia(self) -> bool:
        """Whether an NVIDIA GPU does the work."""
        return self.provider in ("tensorrt", "cuda")

    @property
    def on_cpu(self) -> bool:
        """Whether ONNX Runtime's own CPU kernels do the work."""
        return self.provider == "cpu"


CPU = Execution()
"""One thread of ONNX Runtime's own CPU kernels."""
