"""What Ray starts beside the service by itself, and how; `ray.init` has no arguments for any of it."""

from __future__ import annotations

from functools import partial


def trim_ray() -> None:
    """Change what the next `ray.init` of this process starts.

    - Its agent listens on any free port; by itself it takes 52365 alone. Another Ray on this machine holds
      that, so does one that was killed a moment ago; the agent then tries for 3.3 s, and Ray's start waits.
    - No monitor: it asks a cloud for more machines, and one machine has none to ask.
    - No head of the dashboard: without the dashboard all it does is to report usage, which is off. Ray's
      start waits until it answers.
    """
    from ray._private import parameter, services  # only now: Ray reads flags when it is imported

    parameter.RayParams = partial(  # type: ignore[misc]
        parameter.RayParams, dashboard_agent_listen_port=0, no_monitor=True
    )
    services.start_api_server = lambda *_, **__: ("", None)  # its address, as without a dashboard; no process
