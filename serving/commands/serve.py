"""`rollcall serve`: Ray, the graph and nothing left behind, in one command."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import ssl
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
from serving.commands.front import make_front_options
from serving.commands.head_watch import mark_run, watch_head
from serving.commands.pack_preparation import prepare_with_progress
from serving.commands.ports import check_port_is_free, choose_metrics_port
from serving.commands.ray_parts import trim_ray
from serving.commands.serve_config import complete_config, find_application, read_config
from serving.commands.serve_log import join_command_log, name_log_file, place_log
from serving.commands.start_checks import check_start, check_stores, find_dormant_events
from serving.errors import RayNotStarted
from serving.operations.service_note import ServiceNote, make_local_url, remove_note, write_note
from serving.operations.store_reach import NEEDED
from serving.runtime import set_ray_flags
from serving.settings import Settings, find_hidden, load_settings, refuse_hidden_stores

logger = logging.getLogger(__name__)

DEFAULT_CONFIG = Path("config/laptop.yaml")
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
OBJECT_STORE_BYTES = 128 * 2**20
"""Requests travel by value, so Ray's shared memory holds next to nothing."""


def serve(
    config: Annotated[Path, typer.Option(help="A serve config.")] = DEFAULT_CONFIG,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Instead of the config's port.")] = None,
    host: Annotated[str | None, typer.Option(help="Instead of the config's host.")] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65535,
            help="Where Prometheus can scrape Ray's and Serve's metrics; default: 8080, or one that is free.",
        ),
    ] = None,
    cpus: Annotated[
        int | None, typer.Option(min=1, help="CPUs that Ray may plan with; default: what is there.")
    ] = None,
) -> None:
    """Start the service on this machine, on a Ray of its own. Ctrl-C stops everything.

    For a cluster: `ray start` on its nodes, then `rollcall deploy` (docs/operations.md).
    """
    set_ray_flags(own_cluster=True)
    content = read_config(config)
    args = find_application(content, config)["args"]
    settings = load_settings(args)
    refuse_hidden_stores(args, settings)
    for key in find_hidden(args, settings):
        messages.print(
            f"[yellow]{key} stands under args of {escape(str(config))}, where no command sees it[/]"
        )
    settings = place_log(args, settings)
    os.umask(0o077)  # what the service writes is for the service alone
    # Serve's proxy reads nothing else.
    os.environ |= make_front_options(settings.web, settings.load).to_environment()
    chosen = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    listen_host, listen_port = complete_config(content, chosen, config)
    check_start(settings)
    check_stores(settings, NEEDED)
    check_port_is_free(listen_host, listen_port, "port", "--port")
    metrics_port = choose_metrics_port(metrics_port, listen_port)
    prepare_with_progress(settings)
    join_command_log(settings)
    for line in find_dormant_events(settings):
        messages.print(f"[yellow]{escape(line)}[/]")
    scheme = "http" if settings.web.tls_certificate is None else "https"
    _run(content, settings, cpus, make_local_url(listen_host, listen_port, scheme), metrics_port)


def _run(content: dict[str, Any], settings: Settings, cpus: int | None, url: str, metrics_port: int) -> None:
    import ray  # only now: it reads the flags set above

    from serving.commands.ray_logs import quiet_ray

    messages.print("[dim]Starting Ray and the models. This takes some seconds.[/]")
    started = time.monotonic()
    logger.info("starting")
    quiet_ray()
    trim_ray()
    mark_run()
    stopping, failed = threading.Event(), threading.Event()
    try:
        try:
            ray.init(
                address="local",
                num_cpus=cpus or max(2, os.cpu_count() or 2),
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                namespace="serve",
                _metrics_export_port=metrics_port,
            )
        except Exception as error:  # Ray has no type of its own for it
            raise RayNotStarted(str(error).strip()) from error
        address = ray.get_runtime_context().gcs_address
        write_note(settings.data_dir, ServiceNote(os.getpid(), url, address))
        for signal_number in STOP_SIGNALS:
            signal.signal(signal_number, _interrupt)  # after ray.init, which sets its own
        watcher = threading.Thread(
            target=_announce, args=(url, metrics_port, settings, started, stopping, failed), daemon=True
        )
        watcher.start()
        with tempfile.NamedTemporaryFile("w", prefix="rollcall-", suffix=".yaml") as file:
            yaml.safe_dump(content, file)
            file.flush()
            threading.Thread(
                target=watch_head, args=(stopping, Path(file.name).unlink), name="head-watch", daemon=True
            ).start()
            _serve_until_interrupted(file.name)
    finally:
        stopping.set()
        _ignore_stop_signals()
        if ray.is_initialized():
            ray.shutdown()
        remove_note(settings.data_dir, os.getpid())  # what wrote to data_dir has ended
        logger.info("stopped")
        messages.print("[dim]Stopped.[/]")
    if failed.is_set():
        raise typer.Exit(1)


def _serve_until_interrupted(config_file: str) -> None:
    """What `serve run` does: deploy, block, and on Ctrl-C let requests finish and shut Serve down."""
    from ray.serve.scripts import run

    with contextlib.suppress(SystemExit, KeyboardInterrupt, click.Abort):
        run.main(args=[config_file], standalone_mode=False)


def _interrupt(signal_number: int, frame: FrameType | None) -> None:
    del signal_number, frame
    messages.print("\n[dim]Stopping.[/]")
    logger.info("stopping")
    _ignore_stop_signals()  # a second Ctrl-C must not leave Ray behind
    raise KeyboardInterrupt


def _ignore_stop_signals() -> None:
    for signal_number in STOP_SIGNALS:
        signal.signal(signal_number, signal.SIG_IGN)


def _announce(
    url: str,
    metrics_port: int,
    settings: Settings,
    started: float,
    stopping: threading.Event,
    failed: threading.Event,
) -> None:
    """Say where the service listens once it can recognise; or why it cannot, and end it."""
    from ray import serve as ray_serve

    while not stopping.wait(0.25):
        if _is_ready(url):
            metrics_url = f"http://127.0.0.1:{metrics_port}/metrics"
            logger.info(
                "ready", extra={"fields": {"url": url, "start_s": round(time.monotonic() - started, 1)}}
            )
            _print_welcome(url, metrics_url, settings, time.monotonic() - started)
            return
        with contextlib.suppress(Exception):  # Serve itself may not be up yet
            for application in ray_serve.status().applications.values():
                trouble = _find_trouble(application)
                if trouble:
                    messages.print(f"[bold red]The service cannot start[/]: {escape(trouble[-2000:])}")
                    logger.error("the service cannot start: %s", trouble[-2000:])
                    failed.set()
                    os.kill(os.getpid(), signal.SIGINT)
                    return


def _find_trouble(application: Any) -> str:
    """Why an application failed to deploy, as its deployments tell it; empty when it did not."""
    if application.status != "DEPLOY_FAILED":
        return ""
    told = [
        f"{name}: {deployment.message.strip()}"
        for name, deployment in application.deployments.items()
        if deployment.status in ("UNHEALTHY", "DEPLOY_FAILED")
    ]
    return "\n".join(told) or str(application.message)


def _is_ready(url: str) -> bool:
    # The certificate is for the name that clients use, and this asks the machine itself for its health.
    unverified = ssl._create_unverified_context()  # noqa: S323
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=2, context=unverified) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _print_welcome(url: str, metrics_url: str, settings: Settings, seconds: float) -> None:
    samples = settings.data_dir / "samples"
    curl = 'curl -H "Authorization: Bearer $TOKEN"'
    console.print(
        f"""
[bold green]Rollcall is ready[/] at [bold]{url}[/]  ({seconds:.0f} s; API at {url}/docs; Ctrl-C stops it)
Metrics for Prometheus: {url}/metrics (docs/metrics.md); Ray's own: {metrics_url}
{_describe_log(settings)}
In another terminal, here:

  [bold].venv/bin/rollcall admin create me[/]                [dim]# once: the first administrator[/]
  [bold].venv/bin/rollcall token[/]                          [dim]# signs in to the console: {url}/[/]

The same without a browser (`.venv/bin/rollcall samples` gets the pictures):

  [bold]TOKEN=$(.venv/bin/rollcall token)[/]
  [bold]{curl} -H 'Content-Type: application/json' -d '{{"id":"demo"}}' {url}/v1/events[/]
  [bold]{curl} -F person_id=guest -F picture=@{samples}/guest.jpg {url}/v1/events/demo/people[/]
  [bold]{curl} -F picture=@{samples}/group.jpg {url}/v1/events/demo/recognise[/]
"""
    )


def _describe_log(settings: Settings) -> str:
    file = name_log_file(settings)
    return "" if file is None else f"Log: {file} (docs/logs.md)\n"
