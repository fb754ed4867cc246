"""`rollcall calibrate`: what a pack's scores mean, from the user's own pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from serving.commands.console import AsJson, console, messages, print_json
from serving.commands.evaluation_inputs import (
    CORES,
    AcceptLicence,
    Cache,
    Forget,
    Pairs,
    People,
    Workers,
    forget_results,
    open_results,
    prepare_packs,
    show_counts,
    tell_command,
)
from serving.errors import CommandError, PackError

if TYPE_CHECKING:
    from serving.packs.calibration import Calibration
    from serving.packs.store import PackStore, PreparedFiles


def calibrate(
    context: typer.Context,
    people: People = None,
    pairs: Pairs = None,
    pack: Annotated[
        list[str] | None,
        typer.Option(
            "--pack", metavar="ID", help="Pack to calibrate; may be repeated. Default: the one that serves."
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Name of the data, for the record. Default: the name of the folder or file."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write it there instead of into the model cache.", dir_okay=False),
    ] = None,
    shipped: Annotated[
        bool,
        typer.Option(
            "--shipped", help="For maintainers: write what this release ships (serving/packs/data)."
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the thresholds and write nothing.")
    ] = False,
    workers: Workers = CORES,
    cache: Cache = None,
    forget: Forget = False,
    accept_licence: AcceptLicence = False,
    as_json: AsJson = False,
) -> None:
    """Fit false match rates and bands to a pack's scores, so that it can serve on pictures like yours."""
    if people is None and pairs is None:
        if forget:
            forget_results(cache)
            if as_json:
                print_json([])
            return
        raise CommandError("give --people, --pairs, or both: whose pictures shall it rest on?")
    if sum((output is not None, shipped, dry_run)) > 1:
        raise CommandError("--output, --shipped and --dry-run exclude each other")
    if output is not None and len(pack or []) > 1:
        raise CommandError("--output is one file: calibrate one pack at a time")
    from serving.evaluation.evaluation import read_subjects, score_subjects
    from serving.evaluation.fitting import describe_provenance, fit_calibration
    from serving.evaluation.measuring import FinderOptions, measure_pictures
    from serving.evaluation.stored_json import write_json
    from serving.packs.configured import open_store
    from serving.settings import load_settings

    settings = load_settings()
    subjects = read_subjects(people, pairs)
    store = open_store(settings)
    prepared = prepare_packs(store, settings, pack or [], accept_licence=accept_licence)
    named = data or " and ".join(path.name for path in (people, pairs) if path is not None)
    told: list[dict[str, Any]] = []
    with open_results(cache, forget=forget) as results:
        with show_counts("Finding faces") as (count,):
            measured = measure_pictures(
                subjects.pictures,
                prepared,
                FinderOptions.of(settings),
                results,
                workers=workers,
                on_progress=count,
            )
        for files in prepared:
            found = measured[files.pack.id]
            scores = score_subjects(subjects, found)
            provenance = describe_provenance(
                files,
                scores,
                int(found.usable.sum()),
                len(set(subjects.people[found.usable].tolist())),
                data=named,
                command=tell_command(context),
            )
            fitted = fit_calibration(files.pack.id, scores, provenance)
            _tell(_find_before(store, files), files, fitted, as_json=as_json)
            told.append({"pack": files.pack.id, "calibration": fitted.to_json(), "written_to": None})
            if not dry_run:
                path = _choose_path(store, files, output, shipped=shipped)
                write_json(path, fitted.to_json())
                messages.print(f"Written to {path}.")
                if output is None and not shipped:
                    messages.print(
                        "A running service takes it up when it starts again; vectors stay as they are."
                    )
                told[-1]["written_to"] = str(path)
    if as_json:
        print_json(told)


def _choose_path(store: PackStore, files: PreparedFiles, output: Path | None, *, shipped: bool) -> Path:
    if output is not None:
        return output
    if not shipped:
        return store.calibration_path(files.pack)
    import serving.packs

    name = files.pack.calibration_file
    if name is None or Path(name).is_absolute():
        raise CommandError(f"{files.pack.id} ships no calibration: its manifest names no file for one")
    return Path(serving.packs.__path__[0]) / "data" / name


def _find_before(store: PackStore, files: PreparedFiles) -> Calibration | None:
    """The calibration so far; None where there is none, or where the file that ships is yet to be made."""
    try:
        return store.load_calibration(files.pack)
    except PackError as error:
        if store.is_calibrated(files.pack):
            messages.print(f"[yellow]Nothing to compare with:[/] {escape(error.detail)}")
        return None


def _tell(before: Calibration | None, files: PreparedFiles, fitted: Calibration, *, as_json: bool) -> None:
    """Thresholds before and after, and what the data do not support."""
    from serving.evaluation.fitting import BAND_RATES, STATED_RATES, compare_calibrations

    provenance = fitted.provenance
    table = Table(
        "false match rate",
        "cosine before",
        "cosine now",
        "one person accepted now",
        title=f"{files.pack.id}: {provenance.pictures:,} pictures of {provenance.people:,} people, "
        f"{provenance.impostor_pairs:,} pairs of strangers",
    )
    for row in compare_calibrations(before, fitted):
        rate = row["false_match_rate"]
        cuts = ["-" if row[when] is None else f"{row[when]:.4f}" for when in ("before", "after")]
        share = fitted.true_match_rates.get(f"{rate:g}")
        table.add_row(f"{rate:g}", *cuts, "-" if share is None else f"{share:.1%}")
    table.add_row(
        "default",
        "-" if before is None else f"{before.default_threshold:.4f}",
        f"{fitted.default_threshold:.4f}",
    )
    (messages if as_json else console).print(table)
    messages.print(f"The data support no false match rate below {fitted.floor:.2g}.")
    lost = [f"{rate:g}" for rate in STATED_RATES if rate < fitted.floor]
    bands = [name for name, rate in BAND_RATES.items() if rate < fitted.floor]
    if lost:
        messages.print(
            f"[yellow]Not supported: {', '.join(lost)}.[/] Events that ask for them are refused"
            + (f"; the bands {', '.join(bands)} begin at the smallest rate supported." if bands else ".")
            + " More people help: pairs of strangers grow with their square."
        )
