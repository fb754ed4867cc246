"""What `rollcall serve` has Ray start, by a way that a Ray of another release might not go."""

from __future__ import annotations

import inspect

import pytest
import ray
from ray._private import node, parameter, services

from serving.commands.ray_parts import trim_ray


def test_ray_is_told_what_to_leave_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parameter, "RayParams", parameter.RayParams)
    monkeypatch.setattr(services, "start_api_server", services.start_api_server)
    of_all = inspect.getsource(services.start_api_server).partition("if not include_dash:")[2]
    assert '"--modules-to-load=UsageStatsHead"' in of_all, "no more is left out"
    assert parameter.RayParams().dashboard_agent_listen_port != 0
    assert not parameter.RayParams().no_monitor
    trim_ray()
    assert parameter.RayParams().dashboard_agent_listen_port == 0
    assert parameter.RayParams().no_monitor
    assert "ray._private.parameter.RayParams(" in inspect.getsource(inspect.unwrap(ray.init))
    assert "if not self._ray_params.no_monitor:" in inspect.getsource(node.Node)
    assert "_private.services.start_api_server(" in inspect.getsource(node.Node.start_api_server)
    assert services.start_api_server(False, False, "host", raise_on_failure=False) == ("", None)
