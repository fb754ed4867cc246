"""What the libraries tell their makers: nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_onnx_runtime_makes_no_identifier_and_no_reports(tmp_path: Path) -> None:
    # ONNX Runtime keeps quiet by itself where it takes the machine for one that only tests.
    environment = {name: value for name, value in os.environ.items() if name in ("PATH", "PYTHONPATH")}
    environment |= {"HOME": str(tmp_path), "TMPDIR": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    program = "import serving.vision.inference, onnxruntime; print(onnxruntime.__version__)"
    done = subprocess.run(
        [sys.executable, "-B", "-c", program], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.rglob("*")] == []
