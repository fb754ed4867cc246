"""Rollcall: face recognition at events, served by a Ray Serve graph."""

import os

__version__ = "0.1.0"

# ONNX Runtime's wheels report to Microsoft by default, and write an identifier of the machine into the home
# folder; they look at this once, when they are first imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
