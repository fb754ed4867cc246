"""What a cluster says of a deployment, and what one is marked with."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from serving.errors import ClusterUnreachable, CommandError
from serving.operations import deployment
from serving.operations.deployment import ApplicationState, Cluster, choose_mark, read_state

DIGEST, OTHER = "0123456789abcdef01234567", "fedcba9876543210fedcba98"
STACK = """Deploying app 'rollcall' failed with exception:
Traceback (most recent call last):
  File "/x/application_state.py", line 1, in _reconcile
ray.exceptions.RayTaskError(RuntimeError): \x1b[36mray::build_serve_application()\x1b[39m (pid=1, ip=10.0.0.1)
RuntimeError: Traceback (most recent call last):
  File "/x/app.py", line 3, in build
serving.errors.configuration.ConfigurationError: picture.max_bytes: too small
    and a second line"""


@pytest.mark.parametrize(
    ("state", "restart", "mark"),
    [
        (ApplicationState(), False, DIGEST),
        (ApplicationState("RUNNING", OTHER), False, DIGEST),
        (ApplicationState("RUNNING", f"{OTHER}-aabbccdd"), False, DIGEST),
        (ApplicationState("RUNNING"), False, DIGEST),  # by `serve deploy`
        (ApplicationState("RUNNING", DIGEST), False, DIGEST),
        (ApplicationState("DEPLOYING", f"{DIGEST}-aabbccdd"), False, f"{DIGEST}-aabbccdd"),
        (ApplicationState("RUNNING", DIGEST), True, None),
        (ApplicationState("RUNNING", f"{DIGEST}-aabbccdd"), True, None),
        (ApplicationState("DEPLOY_FAILED", DIGEST), False, None),
        (ApplicationState("DEPLOY_FAILED", f"{DIGEST}-aabbccdd"), False, None),
        (ApplicationState("UNHEALTHY", DIGEST), False, DIGEST),  # Serve mends it
    ],
)
def test_a_mark_changes_with_what_must_be_built_anew(
    state: ApplicationState, restart: bool, mark: str | None
) -> None:
    chosen = choose_mark(DIGEST, state, restart=restart)
    if mark is not None:
        assert chosen == mark
        return
    assert chosen != state.deployed_as
    assert re.fullmatch(f"{DIGEST}-[0-9a-f]{{8}}", chosen)


def _details(status: str, message: str = "", **deployments: tuple[str, str]) -> dict[str, Any]:
    return {
        "status": status,
        "message": message,
        "deployed_app_config": {"name": "rollcall", "args": {"deployed_as": DIGEST}},
        "deployments": {
            name: {"status": each, "message": told} for name, (each, told) in deployments.items()
        },
    }


@pytest.mark.parametrize(
    ("details", "trouble", "waits_for"),
    [
        (_details("RUNNING", Detector=("HEALTHY", "")), "", []),
        (_details("DEPLOYING", Detector=("HEALTHY", ""), Ingress=("UPDATING", STACK)), "", ["Ingress"]),
        (
            _details("DEPLOY_FAILED", STACK, Detector=("HEALTHY", "")),
            "serving.errors.configuration.ConfigurationError: picture.max_bytes: too small"
            "\n    and a second line",
            [],
        ),
        (
            _details(
                "DEPLOY_FAILED", "see deployments", Ingress=("DEPLOY_FAILED", f"{STACK}\n\nOSError: full")
            ),
            "Ingress: OSError: full",
            ["Ingress"],
        ),
        (
            _details("UNHEALTHY", "", Ingress=("UNHEALTHY", "failed its health check")),
            "Ingress: failed its health check",
            ["Ingress"],
        ),
    ],
)
def test_what_serve_says_is_read(details: dict[str, Any], trouble: str, waits_for: list[str]) -> None:
    state = read_state(details)
    assert (state.status, state.deployed_as) == (details["status"], DIGEST)
    assert (state.trouble, state.waits_for) == (trouble, waits_for)


def test_an_application_that_serve_deploy_sent_has_no_mark() -> None:
    assert read_state({"status": "RUNNING", "deployed_app_config": {"name": "rollcall"}}).deployed_as is None
    assert read_state({"status": "DEPLOYING", "deployed_app_config": None}).deployed_as is None


class _Refusing(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(401)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def refusing() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Refusing) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_what_is_no_cluster_is_one_message(refusing: str) -> None:
    for address in ("http://127.0.0.1:1", refusing):
        with pytest.raises(ClusterUnreachable) as caught:
            Cluster(address)
        assert caught.value.detail.startswith(f"{address}: ")
        assert "Traceback" not in caught.value.detail
    for address in ("127.0.0.1:8265", "ray://127.0.0.1:10001"):
        with pytest.raises(CommandError, match="write http://"):
            Cluster(address)


def test_who_never_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployment, "TIMEOUTS_S", (0.2, 0.2))
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(ClusterUnreachable, match="timed out"),
    ):
        Cluster(f"http://127.0.0.1:{silent.getsockname()[1]}")
