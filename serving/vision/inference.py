"""Opening ONNX Runtime sessions the way a shared server needs them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import onnxruntime as ort

from serving.errors import ConfigurationError, PackError, ProviderUnavailable
from serving.vision.binding import BoundSession
from serving.vision.execution import CPU, ONNXRUNTIME_NAMES, Execution, parse_providers
from serving.vision.providers import ProviderChain, check_providers, make_chain

CPU_PROVIDERS: tuple[str, ...] = CPU.providers
HEAVY_OPERATORS = frozenset(
    {
        "Conv", "ConvTranspose", "FusedConv", "Gemm", "MatMul", "FusedMatMul", "FusedGemm",
        "QLinearConv", "ConvInteger", "QLinearMatMul", "MatMulInteger", "QGemm", "NhwcFusedConv",
        "MatMulIntegerToFloat", "DynamicQuantizeMatMul",
    }
)  # fmt: skip
"""Operators that are nearly all of a network's arithmetic; on a GPU none of them may be left to the CPU."""

_NVIDIA = (ONNXRUNTIME_NAMES["tensorrt"], ONNXRUNTIME_NAMES["cuda"])
_ERRORS_ONLY = 3


def open_session(
    model: str | Path | bytes,
    execution: Execution | Sequence[str] = CPU,
    intra_op_threads: int = 1,
) -> Any:
    """Load a model on exactly what was asked for; called like an `onnxruntime.InferenceSession`.

    Threads do not spin: a spinning thread takes a core from the other replicas on the machine. Memory
    patterns are off: they plan one block for each new shape, and here shapes vary.

    Args:
        model: a path or the model's bytes.
        execution: where and how it runs; or only provider names, short or ONNX Runtime's own.
        intra_op_threads: where only names are given.

    Raises:
        ConfigurationError: a name is not one of a provider.
        ProviderUnavailable: what was asked for is not here, did not start, or runs too little.
        PackError: the model cannot be loaded.
    """
    if not isinstance(execution, Execution):
        try:
            execution = Execution(parse_providers(tuple(execution)), intra_op_threads)
        except ValueError as error:
            raise ConfigurationError(str(error)) from None
    check_providers(execution)
    session = _create(model, _make_options(execution), make_chain(execution, model))
    # ONNX Runtime falls back to the CPU with no more than a log line when a provider fails to start.
    active = session.get_providers()
    absent = [name for name in execution.providers if ONNXRUNTIME_NAMES[name] not in active]
    if absent:
        raise ProviderUnavailable(
            f"{', '.join(absent)}: did not start (the log above says why); the model would run on "
            f"{', '.join(active)} alone"
        )
    if not execution.on_cpu:
        check_placement(session, execution)
    return BoundSession(session, "cuda", execution.device_id) if execution.on_nvidia else session


def check_placement(session: Any, execution: Execution) -> None:
    """Check that what was asked for really runs the model.

    Args:
        session: made with `session.record_ep_graph_assignment_info`.
        execution: what was asked for.

    Raises:
        ProviderUnavailable: the CPU is left with convolutions or matrix products of a GPU's model, or
            OpenVINO on a processor takes none of its nodes.
    """
    placed = count_operators(session)
    left = placed.get(ONNXRUNTIME_NAMES["cpu"], Counter())
    heavy = {name: count for name, count in sorted(left.items()) if name in HEAVY_OPERATORS}
    off_cpu = execution.on_nvidia or execution.openvino_device != "CPU"
    if off_cpu and heavy:
        told = ", ".join(f"{count} {name}" for name, count in heavy.items())
        raise ProviderUnavailable(
            f"{execution.provider}: it would leave {told} of this model to the CPU; quantised models are for "
            "CPUs, so choose pack.precision fp32, or a float pack"
        )
    if not placed.get(ONNXRUNTIME_NAMES[execution.provider]) and not execution.on_nvidia:
        raise ProviderUnavailable(f"{execution.provider}: it takes no part of this model")
    if execution.on_nvidia and not any(placed.get(ONNXRUNTIME_NAMES[name]) for name in ("tensorrt", "cuda")):
        raise ProviderUnavailable(f"{execution.provider}: it takes no part of this model")


def count_operators(session: Any) -> dict[str, Counter[str]]:
    """How many nodes of each kind each provider runs, as ONNX Runtime placed them.

    Raises:
        ProviderUnavailable: this ONNX Runtime does not tell.
    """
    if not hasattr(session, "get_provider_graph_assignment_info"):
        raise ProviderUnavailable(
            f"ONNX Runtime {ort.__version__} does not tell what runs where; 1.24 and newer do, and they need "
            "Python 3.11"
        )
    placed: dict[str, Counter[str]] = {}
    for part in session.get_provider_graph_assignment_info():
        placed.setdefault(part.ep_name, Counter()).update(_list_operators(part))
    return placed


def _list_operators(part: Any) -> Iterator[str]:
    return (str(node.op_type) for node in part.get_nodes())


def _make_options(execution: Execution) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = execution.intra_op_threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = _ERRORS_ONLY
    options.enable_mem_pattern = False
    options.enable_cpu_mem_arena = execution.cpu_arena
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    if not execution.on_cpu:
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return options


def _create(model: str | Path | bytes, options: Any, chain: ProviderChain) -> Any:
    names, settings = [name for name, _ in chain], [values for _, values in chain]
    try:
        return ort.InferenceSession(
            model if isinstance(model, bytes) else str(model),
            options,
            providers=names,
            provider_options=settings,
            enable_fallback=0,  # else a failed provider is dropped, with a line on standard output
        )
    except Exception as error:
        words = str(error)[:300]
        if names[0] in _NVIDIA and any(word in words for word in ("TensorRT", "CUDA", "CUDNN")):
            raise ProviderUnavailable(f"{names[0]}: {words}") from error
        raise PackError(f"ONNX Runtime cannot load the model: {words}") from error
