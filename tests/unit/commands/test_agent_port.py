"""Ray's agent takes any free port, by a way that a Ray of another release might not go."""

from __future__ import annotations

import inspect

import pytest
import ray
from ray._private import parameter

from serving.commands.ports import let_agent_choose_port


def test_ray_is_told_that_any_port_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parameter, "RayParams", parameter.RayParams)
    assert parameter.RayParams().dashboard_agent_listen_port != 0
    let_agent_choose_port()
    assert parameter.RayParams().dashboard_agent_listen_port == 0
    assert "ray._private.parameter.RayParams(" in inspect.getsource(inspect.unwrap(ray.init))
