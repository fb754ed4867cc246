"""`rollcall serve`: Ray, the graph and nothing left behind, in one command."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import click
import typer
import yaml
from rich.markup import escape

from serving.commands.console import console, messages
from serving.commands.packs import prepare_with_progress
from serving.errors import ConfigurationError
from serving.runtime import set_ray_flags
from serving.settings import Settings, load_settings

DEFAULT_CONFIG = Path("config/laptop.yaml")
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
OBJECT_STORE_BYTES = 128 * 2**20
"""Requests travel by value, so Ray's shared memory holds next to nothing."""


def serve(
    config: Annotated[Path, typer.Option(help="A serve config.")] = DEFAULT_CONFIG,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Instead of the config's port.")] = None,
    host: Annotated[str | None, typer.Option(help="Instead of the config's host.")] = None,
    metrics_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Where Prometheus can scrape Ray's and Serve's metrics.")
    ] = 8080,
    cpus: Annotated[
        int | None, typer.Option(min=1, help="CPUs that Ray may plan with; default: what is there.")
    ] = None,
) -> None:
    """Start the service on this machine, on a Ray of its own. Ctrl-C stops everything.

    For a cluster use Ray's own commands: `serve deploy serve_config.yaml` (docs/operations.md).
    """
    set_ray_flags(own_cluster=True)
    content = _read_config(config)
    http = content.setdefault("http_options", {})
    if host is not None:
        http["host"] = host
    if port is not None:
        http["port"] = port
    settings = load_settings(_single_application(content, config).get("args"))
    prepare_with_progress(settings)
    _run(content, settings, cpus, metrics_port)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigurationError(f"--config {path}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise ConfigurationError(f"--config {path} is not YAML: {error}") from None
    if not isinstance(content, dict):
        raise ConfigurationError(f"--config {path} is not a serve config")
    return content


def _single_application(content: dict[str, Any], path: Path) -> dict[str, Any]:
    applications = content.get("applications")
    if not isinstance(applications, list) or len(applications) != 1:
        raise ConfigurationError(f"--config {path}: `applications` must hold exactly one application")
    application: dict[str, Any] = applications[0]
    application["args"] = application.get("args") or {}
    return application


def _run(content: dict[str, Any], settings: Settings, cpus: int | None, metrics_port: int) -> None:
    import ray  # only now: it reads the flags set above

    from serving.commands.ray_logs import quiet_ray

    messages.print("[dim]Starting Ray and the models. This takes some seconds.[/]")
    started = time.monotonic()
    quiet_ray()
    stopping = threading.Event()
    try:
        ray.init(
            address="local",
            num_cpus=cpus or max(2, os.cpu_count() or 2),
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            namespace="serve",
            _metrics_export_port=metrics_port,
        )
        for signal_number in STOP_SIGNALS:
            signal.signal(signal_number, _interrupt)  # after ray.init, which sets its own
        watcher = threading.Thread(
            target=_announce, args=(content["http_options"], settings, started, stopping), daemon=True
        )
        watcher.start()
        with tempfile.NamedTemporaryFile("w", prefix="rollcall-", suffix=".yaml") as file:
            yaml.safe_dump(content, file)
            file.flush()
            _serve_until_interrupted(file.name)
    finally:
        stopping.set()
        _ignore_stop_signals()
        if ray.is_initialized():
            ray.shutdown()
        messages.print("[dim]Stopped.[/]")


def _serve_until_interrupted(config_file: str) -> None:
    """What `serve run` does: deploy, block, and on Ctrl-C let requests finish and shut Serve down."""
    from ray.serve.scripts import run

    with contextlib.suppress(SystemExit, KeyboardInterrupt, click.Abort):
        run.main(args=[config_file], standalone_mode=False)


def _interrupt(signal_number: int, frame: FrameType | None) -> None:
    del signal_number, frame
    messages.print("\n[dim]Stopping; requests under way are finished first.[/]")
    _ignore_stop_signals()  # a second Ctrl-C must not leave Ray behind
    raise KeyboardInterrupt


def _ignore_stop_signals() -> None:
    for signal_number in STOP_SIGNALS:
        signal.signal(signal_number, signal.SIG_IGN)


def _announce(http: dict[str, Any], settings: Settings, started: float, stopping: threading.Event) -> None:
    """Say where the service listens once it can recognise, or why it cannot."""
    from ray import serve as ray_serve

    host = "127.0.0.1" if http.get("host") in (None, "0.0.0.0") else http["host"]  # noqa: S104
    url = f"http://{host}:{http.get('port', 8000)}"
    said = ""
    while not stopping.wait(0.25):
        if _is_ready(url):
            _print_welcome(url, settings, time.monotonic() - started)
            return
        with contextlib.suppress(Exception):  # Serve itself may not be up yet
            for application in ray_serve.status().applications.values():
                trouble = application.message if application.status.endswith("FAILED") else ""
                if trouble and trouble != said:
                    said = trouble
                    messages.print(f"[bold red]The service cannot start[/]: {escape(trouble[-2000:])}")


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=2) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _print_welcome(url: str, settings: Settings, seconds: float) -> None:
    samples = settings.data_dir / "samples"
    curl = 'curl -H "Authorization: Bearer $TOKEN"'
    console.print(
        f"""
[bold green]Rollcall is ready[/] at [bold]{url}[/]  ({seconds:.0f} s; API at {url}/docs; Ctrl-C stops it)

In another terminal, here:

  [bold].venv/bin/rollcall admin create me[/]                [dim]# once: the first administrator[/]
  [bold]TOKEN=$(.venv/bin/rollcall token)[/]
  [bold]{curl} -H 'Content-Type: application/json' -d '{{"id":"demo"}}' {url}/v1/events[/]

Enrol a face and recognise it (`.venv/bin/rollcall samples` gets the pictures):

  [bold]{curl} -F person_id=guest -F picture=@{samples}/guest.jpg {url}/v1/events/demo/people[/]
  [bold]{curl} -F picture=@{samples}/group.jpg {url}/v1/events/demo/recognise[/]
"""
    )
