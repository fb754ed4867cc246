"""`rollcall load`: the load test of a checkout (`loadtest/`), from the command line.

The load tests belong to the checkout and not to what is installed: they need Locust and the rest of the
locked tools for tests, and nothing that serves may depend on them. The command therefore runs them as a
program of their own where they are, and says how to get them where they are not.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

import serving
from serving.commands.console import AsJson, print_json
from serving.commands.service_options import ACCESS_HELP, PARTLY
from serving.errors import CommandError

MISSED, BROKEN = 2, 3
"""Exit statuses of `python -m loadtest.local`."""
STOP_TIMEOUT_S = 150.0
"""After Ctrl-C: what is under way is waited for, what was made is taken back, the service ends."""
GET_IT = (
    "the load tests come with the checkout and its tools for tests: there, `make load` once, then "
    ".venv/bin/rollcall load"
)


def load(
    context: typer.Context,
    url: Annotated[
        str | None,
        typer.Option("--url", help="A service that runs; without it a fresh one is started on this machine."),
    ] = None,
    token: Annotated[
        str | None, typer.Option("--token", envvar="ROLLCALL_TOKEN", help=f"With --url. {ACCESS_HELP}")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Serve config of the fresh one."),
    ] = None,
    rate: Annotated[float | None, typer.Option(min=0.01, help="Requests a second; 5 unless said.")] = None,
    seconds: Annotated[float | None, typer.Option(min=1, help="How long; 60 unless said.")] = None,
    report: Annotated[
        Path | None, typer.Option(help="Where the report goes, without .json and .html.", dir_okay=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Put load on a service and judge it: `rollcall load --rate 20 --seconds 30 --slo-p99-ms 500`.

    Whatever else is given is an option of docs/load-testing.md. Exit code 0: every objective was held; 3: one
    was missed; 1: there could be no load.
    """
    root = find_checkout()
    if url is not None and not token:
        raise CommandError("give a token by ROLLCALL_TOKEN: `rollcall token` prints one where the service is")
    with contextlib.ExitStack() as leaving:
        where = report
        if where is None and as_json:
            where = Path(leaving.enter_context(tempfile.TemporaryDirectory())) / "load"
        named = {"--url": url, "--rate": rate, "--seconds": seconds, "--report": where}
        if url is None:
            named["--config"] = config or root / "config" / "laptop.yaml"
        options = [word for name, value in named.items() if value is not None for word in (name, str(value))]
        status = _run(root, [*options, *context.args], token if url else None, is_quiet=as_json)
        if status == BROKEN:
            raise CommandError("there could be no load; what Locust says above has the reason")
        if status not in (0, MISSED):
            raise typer.Exit(status if status > 0 else 128 - status)
        if as_json and where is not None:
            print_json(json.loads(where.with_name(f"{where.name}.json").read_text()))
    if status == MISSED:
        raise typer.Exit(PARTLY)


def find_checkout() -> Path:
    """The folder that holds `loadtest/`: that of this installation, or the present one.

    Raises:
        CommandError: neither does, or Locust is not installed.
    """
    for root in (Path(serving.__file__).resolve().parent.parent, Path.cwd()):
        if (root / "loadtest" / "local.py").is_file():
            break
    else:
        raise CommandError(f"this installation has no load tests; {GET_IT}")
    if importlib.util.find_spec("locust") is None:
        raise CommandError(f"Locust is not installed; {GET_IT}")
    return root


def _run(root: Path, options: list[str], token: str | None, *, is_quiet: bool) -> int:
    """The exit status of `python -m loadtest.local`; a quiet one leaves standard output alone."""
    paths = [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    environment.pop("ROLLCALL_TOKEN", None)
    if token is not None:  # not on a command line, which others can see
        environment["ROLLCALL_TOKEN"] = token
    command = [sys.executable, "-m", "loadtest.local", *options]
    process = subprocess.Popen(command, env=environment, stdout=sys.stderr if is_quiet else None)  # noqa: S603
    try:
        return process.wait()
    except KeyboardInterrupt:
        # On a terminal it has had the signal too; once more is not heeded.
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT_S)
        raise
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
