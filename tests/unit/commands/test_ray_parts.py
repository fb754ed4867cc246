"""What `rollcall serve` has Ray start, by a way that a Ray of another release might not go."""

from __future__ import annotations

import inspect

import pytest
import ray
from ray._private import node, parameter

from serving.commands.ray_parts import trim_ray


def test_ray_is_told_what_to_leave_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parameter, "RayParams", parameter.RayParams)
    assert parameter.RayParams().dashboard_agent_listen_port != 0
    assert not parameter.RayParams().no_monitor
    trim_ray()
    assert parameter.RayParams().dashboard_agent_listen_port == 0
    assert parameter.RayParams().no_monitor
    assert "ray._private.parameter.RayParams(" in inspect.getsource(inspect.unwrap(ray.init))
    assert "if not self._ray_params.no_monitor:" in inspect.getsource(node.Node)
