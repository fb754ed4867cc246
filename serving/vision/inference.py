"""Opening ONNX Runtime sessions the way a shared server needs them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime as ort

from serving.errors import ConfigurationError, PackError

CPU_PROVIDERS: tuple[str, ...] = ("CPUExecutionProvider",)
_ERRORS_ONLY = 3


def open_session(
    model: str | Path | bytes,
    providers: Sequence[str | tuple[str, dict[str, Any]]] = CPU_PROVIDERS,
    intra_op_threads: int = 1,
) -> ort.InferenceSession:
    """Load a model, from a path or its bytes, on exactly the providers asked for.

    Threads do not spin: a spinning thread takes a core from the other replicas on the machine.

    Raises:
        ConfigurationError: a provider is not in this build of ONNX Runtime, or refused to start.
        PackError: the model cannot be loaded.
    """
    names = [provider if isinstance(provider, str) else provider[0] for provider in providers]
    available = ort.get_available_providers()
    missing = [name for name in names if name not in available]
    if missing or not names:
        raise ConfigurationError(
            f"ONNX Runtime has no {', '.join(missing) or 'provider to run on'}; it has {', '.join(available)}"
        )
    options = ort.SessionOptions()
    options.intra_op_num_threads = intra_op_threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = _ERRORS_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    try:
        session = ort.InferenceSession(
            model if isinstance(model, bytes) else str(model), options, providers=list(providers)
        )
    except Exception as error:
        raise PackError(f"ONNX Runtime cannot load the model: {str(error)[:300]}") from error
    # ONNX Runtime falls back to the CPU with no more than a log line when a provider fails to start.
    active = session.get_providers()
    absent = [name for name in names if name not in active]
    if absent:
        raise ConfigurationError(
            f"{', '.join(absent)} did not start; the session runs on {', '.join(active)}"
        )
    return session
