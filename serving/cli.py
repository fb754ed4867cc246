"""The `rollcall` command; each subject has its module in `serving/commands/`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

import serving
from rollcall_client import RollcallError as ServiceRefusal
from serving.commands import (
    accounts,
    backup,
    bulk,
    calibrate,
    deploy,
    doctor,
    evaluate,
    events,
    gallery,
    key_rotation,
    load,
    packs,
    people,  # noqa: F401  # adds to those of bulk
    recognition,
    secrets,
    serve,
    watch,
)
from serving.commands.console import AsJson, console, fail, fail_at_service, print_json
from serving.errors import RollcallError

app = typer.Typer(
    name="rollcall",
    help="Face recognition at events.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
)
app.command("serve")(serve.serve)
app.command("deploy")(deploy.deploy)
app.command("doctor")(doctor.doctor)
app.command("backup")(backup.write_backup)
app.command("restore")(backup.restore_backup)
app.command("erasures")(backup.write_erasures)
app.command("rotate-keys")(key_rotation.rotate_keys)
app.command("token")(accounts.print_token)
app.command("samples")(packs.write_samples)
app.command("enroll")(bulk.import_people)
app.command("recognize")(recognition.recognize)
app.command("compare")(recognition.compare)
app.command("watch")(watch.watch)
app.command("evaluate")(evaluate.evaluate)
app.command("calibrate")(calibrate.calibrate)
app.command("load", context_settings=load.FURTHER_OPTIONS)(load.load)
app.add_typer(accounts.admin, name="admin")
app.add_typer(accounts.account, name="account")
app.add_typer(packs.packs, name="packs")
app.add_typer(gallery.gallery, name="gallery")
app.add_typer(bulk.people, name="people")
app.add_typer(events.events, name="events")
app.add_typer(secrets.secrets, name="secrets")


def _print_version_if(asked: bool) -> None:
    if asked:
        print_version()
        raise typer.Exit


@app.callback()
def take_options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version_if, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Face recognition at events."""


@app.command("version")
def print_version(as_json: AsJson = False) -> None:
    """Print the version."""
    if as_json:
        print_json({"version": serving.__version__})
    else:
        console.print(serving.__version__)


def main() -> None:
    """Entry point: expected errors become one message with its cure, and exit code 1."""
    try:
        app()
    except RollcallError as error:
        fail(error)
        sys.exit(1)
    except ServiceRefusal as error:
        fail_at_service(error)
        sys.exit(1)


if __name__ == "__main__":
    main()
