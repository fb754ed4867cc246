"""`rollcall evaluate`: how good packs are on the user's own pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.commands.console import console, messages
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
from serving.errors import CommandError

if TYPE_CHECKING:
    from serving.settings import Settings


def evaluate(
    context: typer.Context,
    people: People = None,
    pairs: Pairs = None,
    pack: Annotated[
        list[str] | None,
        typer.Option(
            "--pack",
            metavar="ID",
            help="Pack to measure; repeat it to compare. Default: the one that serves.",
        ),
    ] = None,
    groups: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="CSV of person,group: rates by group.", exists=True, dir_okay=False
        ),
    ] = None,
    boxes: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Marked faces in WIDER FACE's text format: recall of detection.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    boxes_pictures: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Pictures that --boxes names. Default: `images` beside it.", exists=True
        ),
    ] = None,
    attacks: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="live/ and attacks/KIND/: APCER and BPCER of liveness.", exists=True
        ),
    ] = None,
    liveness: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Liveness pack for --attacks. Default: the one configured."),
    ] = None,
    gallery: Annotated[
        int | None, typer.Option(min=2, help="People enrolled for identification. Default: half of them.")
    ] = None,
    draws: Annotated[
        int, typer.Option(min=100, max=100_000, help="Bootstrap draws behind the intervals.")
    ] = 1000,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the result as JSON.", dir_okay=False)
    ] = None,
    html_file: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write the report.", dir_okay=False)
    ] = None,
    workers: Workers = CORES,
    cache: Cache = None,
    forget: Forget = False,
    accept_licence: AcceptLicence = False,
) -> None:
    """Measure packs on pictures: accuracy, error rates, identification, failures, speed; and report."""
    if people is None and pairs is None:
        if forget:
            forget_results(cache)
            return
        if attacks is not None:
            _evaluate_attacks(attacks, liveness, json_file or html_file, accept_licence=accept_licence)
            return
        raise CommandError("give --people, --pairs, or both: what shall be compared?")
    from serving.evaluation.evaluation import Candidate, Question, read_groups, read_subjects
    from serving.evaluation.evaluation import evaluate as measure
    from serving.evaluation.measuring import FinderOptions
    from serving.packs.configured import open_store
    from serving.settings import load_settings

    settings = load_settings()
    subjects = read_subjects(people, pairs)
    question = Question(
        subjects,
        groups=read_groups(groups, subjects.names) if groups else None,
        boxes=(boxes, boxes_pictures or boxes.parent / "images") if boxes else None,
        gallery=gallery,
        replicates=draws,
    )
    store = open_store(settings)
    prepared = prepare_packs(store, settings, pack or [], accept_licence=accept_licence)
    candidates = [
        Candidate(files, store.load_calibration(files.pack) if store.is_calibrated(files.pack) else None)
        for files in prepared
    ]
    with open_results(cache, forget=forget) as results:
        with show_counts("Finding faces", "Working out numbers") as (count_pictures, count_packs):
            document = measure(
                question,
                candidates,
                FinderOptions.of(settings),
                results,
                workers=workers,
                command=tell_command(context),
                on_progress=count_pictures,
                on_step=count_packs,
            )
        if attacks is not None:
            document["liveness"] = _measure_attacks(
                settings, attacks, liveness, accept_licence=accept_licence
            )
    _write(document, json_file, html_file)
    from serving.commands.evaluation_tables import print_evaluation

    print_evaluation(document, console)


def _evaluate_attacks(
    attacks: Path, liveness: str | None, output: Path | None, *, accept_licence: bool
) -> None:
    """Liveness alone, as a table."""
    if output is not None:
        raise CommandError(f"{output.name} reports on packs: give --people, --pairs, or both, too")
    from serving.commands.evaluation_tables import print_attacks
    from serving.settings import load_settings

    found = _measure_attacks(load_settings(), attacks, liveness, accept_licence=accept_licence)
    print_attacks(found, console)


def _write(document: dict[str, Any], json_file: Path | None, html_file: Path | None) -> None:
    from serving.evaluation.report import write_report
    from serving.packs.cache_files import write_atomically

    if json_file is not None:
        write_atomically(json_file, (json.dumps(document, indent=1) + "\n").encode())
        messages.print(f"Result: {json_file}")
    if html_file is not None:
        write_atomically(html_file, write_report(document).encode())
        messages.print(f"Report: {html_file}")


def _measure_attacks(
    settings: Settings, directory: Path, name: str | None, *, accept_licence: bool
) -> dict[str, Any]:
    """The section "liveness": scores of every picture below the folder, and the rates from them."""
    from serving.commands.liveness_packs import prepare_liveness_pack
    from serving.evaluation.measuring import FinderOptions
    from serving.evaluation.presentation_attacks import list_presentations, measure_attacks, score_files
    from serving.packs.configured import open_store
    from serving.packs.configured_liveness import decide_liveness_threshold, load_configured_scorer
    from serving.packs.liveness import find_liveness_pack
    from serving.settings import LivenessSettings
    from serving.vision.liveness import LivenessChecker

    wanted = name or settings.liveness.model
    if wanted is None:
        raise CommandError("--attacks needs --liveness, or liveness.model in the settings")
    live, kinds = list_presentations(directory)
    configured = settings.model_copy(
        update={"liveness": LivenessSettings(model=wanted, threshold=settings.liveness.threshold)}
    )
    pack = find_liveness_pack(wanted, cache_dir=settings.cache_dir)
    store = open_store(settings)
    (files,) = prepare_packs(store, settings, [], accept_licence=accept_licence)
    prepare_liveness_pack(store, configured, accept_licence=accept_licence)
    finder = FinderOptions.of(settings).load_finder(files)
    checker = LivenessChecker(
        finder, pack.make_cropper(), load_configured_scorer(configured, settings.make_execution())
    )
    threshold = decide_liveness_threshold(settings, pack)
    total = len(live) + sum(len(files) for files in kinds.values())
    done = 0
    with show_counts("Scoring liveness") as (count,):

        def score(files: list[Path]) -> list[float | None]:
            nonlocal done
            scores = []
            for file in files:
                scores += score_files([file], checker.score_liveness, settings.picture.limits)
                done += 1
                count(done, total)
            return scores

        return {"pack": pack.id} | measure_attacks(
            score(live), {kind: score(files) for kind, files in kinds.items()}, threshold
        )
