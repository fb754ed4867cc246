"""How the stages of a pack's line are handed to the ingress."""

from __future__ import annotations

from typing import Any

from ray.serve.handle import DeploymentHandle

LineHandles = tuple[str, DeploymentHandle[Any], DeploymentHandle[Any], DeploymentHandle[Any]]
"""A pack's id and its detector, embedder and matcher."""
