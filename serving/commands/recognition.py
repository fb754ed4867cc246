"""`rollcall recognize` and `rollcall compare`: pictures of this machine, asked about at a running service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from rollcall_client.errors import RequestRefused
from rollcall_client.models import FaceChoice, QualityLevel, RecognisedFace, Strictness
from serving.commands.console import AsJson, console, messages, print_json
from serving.commands.service_options import DEFAULT_URL, PARTLY, Event, Token, Url, open_service, print_rows

Threshold = Annotated[float | None, typer.Option(min=-1, max=1, help="A raw cosine that decides.")]
Strict = Annotated[Strictness | None, typer.Option(help="Or how sure a match must be.")]
Quality = Annotated[QualityLevel | None, typer.Option(help="Refuse faces below this level.")]


def recognize(
    pictures: Annotated[
        list[Path],
        typer.Argument(exists=True, dir_okay=False, readable=True, help="JPEG, PNG or WebP files."),
    ],
    event: Event,
    token: Token,
    url: Url = DEFAULT_URL,
    threshold: Threshold = None,
    strictness: Strict = None,
    faces: Annotated[FaceChoice | None, typer.Option(help="Which faces of a picture.")] = None,
    quality: Quality = None,
    as_json: AsJson = False,
) -> None:
    """Say who is in pictures.

    Exit code 0: somebody was recognised; 3: nobody, or a picture was refused; 1: it failed.
    """
    answers: list[dict[str, object]] = []
    rows: list[tuple[object, ...]] = []
    found, refused = 0, 0
    with open_service(url, token) as service:
        for picture in pictures:
            try:
                seen = service.recognition.recognise(
                    event, picture, threshold=threshold, strictness=strictness, faces=faces, quality=quality
                )
            except RequestRefused as error:
                if len(pictures) == 1:
                    raise
                refused += 1
                answers.append(
                    {"picture": str(picture), "error": {"code": error.code, "detail": error.detail}}
                )
                messages.print(f"[red]{escape(str(picture))}[/] {error.code}: {escape(error.detail)}")
                continue
            answers.append({"picture": str(picture), **seen.model_dump(mode="json", by_alias=True)})
            found += sum(face.outcome == "match" for face in seen.faces)
            rows += [(picture, *_row(face)) for face in seen.faces] or [(picture, "no face", *[""] * 5)]
    if as_json:
        print_json({"pictures": answers})
    elif rows:
        print_rows(("picture", "outcome", "person", "name", "cosine", "false match rate", "box"), rows)
    if refused or not found:
        raise typer.Exit(PARTLY)


def compare(
    first: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="A picture.")],
    second: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="Another.")],
    token: Token,
    url: Url = DEFAULT_URL,
    threshold: Threshold = None,
    strictness: Strict = None,
    pack: Annotated[str | None, typer.Option(help="The model pack; the service's default else.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say whether two pictures show the same person; of several faces the largest counts.

    Exit code 0: the same; 3: not the same; 1: it failed.
    """
    with open_service(url, token) as service:
        answer = service.analysis.compare(
            [first, second], threshold=threshold, strictness=strictness, pack_id=pack
        )
    if as_json:
        print_json(answer)
    else:
        best = answer.best
        verdict = "[green]the same person[/]" if best.same_person else "[yellow]not the same person[/]"
        console.print(
            f"{verdict}: cosine {best.cosine:.4f}, the threshold is {answer.threshold:.4f}; "
            f"of pairs of different people {best.false_match_rate:.2g} score as high"
        )
    if not answer.best.same_person:
        raise typer.Exit(PARTLY)


def _row(face: RecognisedFace) -> tuple[object, ...]:
    person, box = face.person, face.box
    cosine = face.best_cosine
    return (
        face.outcome
        if not face.faults
        else f"{face.outcome}: {', '.join(each.reason for each in face.faults)}",
        None if person is None else person.person_id,
        None if person is None else person.name,
        None if cosine is None else f"{cosine:.4f}",
        None if person is None else f"{person.false_match_rate:.2g}",
        f"{box.x:.0f},{box.y:.0f} {box.width:.0f}x{box.height:.0f}",
    )
