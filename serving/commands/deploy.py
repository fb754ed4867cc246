"""`rollcall deploy`: a serve config to a Ray cluster, with settings and secrets as they are now."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape

from serving.commands import start_checks
from serving.commands.console import AsJson, StepBar, console, print_json, show_steps
from serving.commands.serve_config import complete_config, find_application, read_config
from serving.errors import ClusterUnreachable, DeploymentFailed
from serving.operations.deployment import (
    ADDRESS_VARIABLE,
    DEFAULT_ADDRESS,
    ApplicationState,
    Cluster,
    choose_mark,
)
from serving.runtime import set_ray_flags, take_ray_token
from serving.settings import DEPLOYED_AS, load_settings, make_digest, refuse_hidden_stores

POLL_S = 1.0

Outcome = Literal["started", "replaced", "unchanged"]
_SAID: dict[Outcome, tuple[str, str]] = {
    "started": ("It is being started.", "It runs."),
    "replaced": ("Every replica is being replaced.", "Every replica was replaced."),
    "unchanged": 2
    * ("Settings, secrets and release are those that run; what else the config says is taken over.",),
}
"""Of each outcome, before it has been waited for and after."""


def deploy(
    config: Annotated[Path, typer.Option(help="The serve config.")] = Path("serve_config.yaml"),
    address: Annotated[
        str, typer.Option(envvar=ADDRESS_VARIABLE, help="Of Ray's dashboard, on the cluster's head.")
    ] = DEFAULT_ADDRESS,
    restart: Annotated[
        bool, typer.Option("--restart", help="Replace every replica, though nothing has changed.")
    ] = False,
    check_stores: Annotated[
        bool, typer.Option(help="First see that registry, gallery and Redis answer, and take these secrets.")
    ] = True,
    timeout_s: Annotated[
        float, typer.Option(min=0, max=3600, help="How long to wait until it runs; 0: not at all.")
    ] = 300.0,
    as_json: AsJson = False,
) -> None:
    """Deploy the service on a Ray cluster, or bring it up to date, while it answers.

    Run it where the service's environment is, such as the head, after every change of the serve config, of a
    setting, of a secret, and of the release. Numbers (replicas, batches) change while everything runs on; for
    all else replicas are replaced by and by. Where nothing changed, nothing is done.
    """
    set_ray_flags()
    take_ray_token()
    content = read_config(config)
    application = find_application(content, config)
    settings = load_settings(application["args"])
    refuse_hidden_stores(application["args"], settings)
    complete_config(content, {}, config)
    name = application.get("name", "default")
    cluster = Cluster(address)
    if check_stores:
        start_checks.check_stores(settings)
    before = cluster.look(name)
    mark = choose_mark(make_digest(settings), before, restart=restart)
    application["args"][DEPLOYED_AS] = mark
    cluster.deploy(content)
    if timeout_s:
        with show_steps(f"Deploying {name}") as bar:
            _wait(cluster, name, mark, timeout_s, bar)
    outcome = _name_outcome(mark, before)
    if as_json:
        print_json({"application": name, DEPLOYED_AS: mark, "outcome": outcome, "runs": bool(timeout_s)})
    else:
        console.print(f"[green]{_SAID[outcome][bool(timeout_s)]}[/] [dim]({DEPLOYED_AS} {mark})[/]")


def _name_outcome(mark: str, before: ApplicationState) -> Outcome:
    if mark == before.deployed_as:
        return "unchanged"
    return "replaced" if before.status else "started"


def _wait(cluster: Cluster, name: str, mark: str, timeout_s: float, bar: StepBar) -> None:
    """Return when what was sent runs.

    Raises:
        DeploymentFailed: it cannot, or does not in time.
    """
    end = time.monotonic() + timeout_s
    state = ApplicationState()
    while time.monotonic() < end:
        with contextlib.suppress(ClusterUnreachable):  # its head, or Serve's controller, starts again
            state = cluster.look(name)
        if state.deployed_as == mark:  # else Serve has not taken it up yet
            if state.status == "RUNNING":
                bar("", 1.0)
                return
            if state.status == "DEPLOY_FAILED":
                raise DeploymentFailed(state.trouble)
        waits_for = state.waits_for
        share = 1 - len(waits_for) / len(state.deployments) if state.deployments else 0.0
        bar(escape(", ".join(waits_for)) or "building", share)
        time.sleep(POLL_S)
    raise DeploymentFailed(
        f"not running after {timeout_s:g} s: {state.status or 'nothing there'}; "
        f"waits for {', '.join(state.waits_for) or 'the build'}. Serve goes on trying: `serve status`. "
        f"{state.trouble}".rstrip()
    )
