"""Deploying on a Ray cluster by its dashboard, as `serve deploy` does, and seeing what became of it."""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from serving.errors import ClusterUnreachable, CommandError, DeploymentFailed
from serving.settings import DEPLOYED_AS

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
ADDRESS_VARIABLE = "RAY_DASHBOARD_ADDRESS"
"""Ray's own name for it."""
TIMEOUTS_S = (5.0, 30.0)
"""Of a call to the dashboard: until it takes the connection, and until it answers."""
_TELLING = frozenset({"DEPLOY_FAILED", "UNHEALTHY"})
_MAX_MESSAGE_CHARS = 2000
_COLOUR = re.compile("\x1b\\[[0-9;]*m")
_EXCEPTION = re.compile(r"^(?:[A-Za-z_]\w*\.)*[A-Z]\w*: (?!Traceback)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ApplicationState:
    """What the cluster says of an application.

    Attributes:
        status: Serve's, such as RUNNING; empty: there is none of this name.
        deployed_as: what it was marked with.
        deployments: the status of each.
        trouble: why it failed; empty when it did not.
    """

    status: str = ""
    deployed_as: str | None = None
    deployments: Mapping[str, str] = field(default_factory=dict)
    trouble: str = ""

    @property
    def waits_for(self) -> list[str]:
        """The deployments that are not as they shall be."""
        return [name for name, status in self.deployments.items() if status != "HEALTHY"]


def choose_mark(digest: str, state: ApplicationState, *, restart: bool = False) -> str:
    """What an application is marked with: the digest of its settings, and more to replace its replicas.

    What could not be deployed is always built anew: Serve would do nothing about it. It mends by itself what
    was deployed and is unhealthy.
    """
    if restart or state.status == "DEPLOY_FAILED":
        return f"{digest}-{secrets.token_hex(4)}"
    running = state.deployed_as or ""
    return running if running.partition("-")[0] == digest else digest


class Cluster:
    """A Ray cluster, reached by its dashboard.

    Args:
        address: `http://host:8265`.

    Raises:
        CommandError: this is no such address.
        ClusterUnreachable: nobody answers there, or it refuses this caller.
    """

    def __init__(self, address: str) -> None:
        if not address.startswith(("http://", "https://")):
            raise CommandError(f"--address {address}: write http://, the head's name or address, and :8265")
        self._address = address
        with self._explain():
            self._client = _make_client(address)

    def look(self, application: str) -> ApplicationState:
        """What has become of an application.

        Raises:
            ClusterUnreachable: the dashboard does not answer, or Serve does not answer it.
        """
        with self._explain():
            details = self._client.get_serve_details()
        found = details.get("applications", {}).get(application)
        return ApplicationState() if found is None else read_state(found)

    def deploy(self, content: Mapping[str, Any]) -> None:
        """Hand over a serve config; Serve takes it from there.

        Raises:
            ClusterUnreachable: the dashboard does not answer.
            DeploymentFailed: it refuses the config.
        """
        with self._explain(refusal=DeploymentFailed):
            self._client.deploy_applications(dict(content))

    @contextlib.contextmanager
    def _explain(self, refusal: type[CommandError] = ClusterUnreachable) -> Iterator[None]:
        """Turn what Ray's client raises into our errors; `refusal` is for an answer that is none."""
        from ray.exceptions import RayError

        try:
            yield
        except (OSError, RayError) as error:
            raise ClusterUnreachable(f"{self._address}: {_last_words(error)}") from None
        except (RuntimeError, ValueError) as error:
            raise refusal(f"{self._address}: {_last_words(error)}") from None


def _make_client(address: str) -> Any:
    from ray.dashboard.modules.serve.sdk import ServeSubmissionClient  # only now: it takes half a second

    class Client(ServeSubmissionClient):  # type: ignore[misc]  # Ray has no types here
        """Ray's own, which would wait for ever."""

        def _do_request(self, method: str, endpoint: str, **options: Any) -> Any:
            return super()._do_request(method, endpoint, **{"timeout": TIMEOUTS_S, **options})

    return Client(address)


def read_state(details: Mapping[str, Any]) -> ApplicationState:
    """What Serve's REST API says of an application."""
    config = details.get("deployed_app_config") or {}
    mark = (config.get("args") or {}).get(DEPLOYED_AS)
    deployments = details.get("deployments") or {}
    status = str(details.get("status", ""))
    told = list(_find_messages(deployments)) or [_last_words(details.get("message"))]
    return ApplicationState(
        status=status,
        deployed_as=None if mark is None else str(mark),
        deployments={name: str(each.get("status", "")) for name, each in deployments.items()},
        trouble="\n".join(told) if status in _TELLING else "",
    )


def _find_messages(deployments: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for name, each in deployments.items():
        if each.get("status") in _TELLING:
            yield f"{name}: {_last_words(each.get('message'))}"


def _last_words(told: object) -> str:
    """What stands behind the stacks in Ray's messages: the last exception; all of it where there is none."""
    text = _COLOUR.sub("", str(told or "")).strip()
    exceptions = list(_EXCEPTION.finditer(text))
    return text[exceptions[-1].start() :] if exceptions else text[-_MAX_MESSAGE_CHARS:]
