"""`rollcall watch`: who is in front of a camera, or in a video, as the service sees it live."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from rollcall_client import Client, Retries, Stream, StreamFaces
from rollcall_client.models import FaceChoice, LivenessMode
from serving.commands.frame_sources import Camera, Frame, FrameSource, FrameWriter, PictureFolder, VideoFile
from serving.commands.recognition import Quality, Strict, Threshold
from serving.commands.service_options import ACCESS_HELP, DEFAULT_URL, PARTLY, Url
from serving.commands.service_refusals import explain_connection
from serving.commands.sightings import Sightings
from serving.commands.watch_view import WatchView
from serving.errors import CommandError

FIRST_TRIES = Retries(max_tries=4, first_pause_s=0.5, longest_pause_s=10)
"""Of what comes before the stream: a service that does not run at all is told soon."""
FIRST_ANSWER_S = 20.0
PATIENCE = Retries(max_tries=240, first_pause_s=0.5, longest_pause_s=20)
"""A camera at a door goes on when the service comes back within the hour."""
FIRST_CAMERA = "0"
PASSWORD_VARIABLE = "ROLLCALL_PASSWORD"  # noqa: S105  # its name, not the password


def watch(
    event: Annotated[str, typer.Argument(envvar="ROLLCALL_EVENT", help="The event's id.")],
    camera: Annotated[
        str | None,
        typer.Option(metavar="CAMERA", help="Number or device of a camera, or its address; 0 unless said."),
    ] = None,
    file: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, readable=True, help="A video file instead.")
    ] = None,
    frames: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, readable=True, help="Or a folder of pictures."),
    ] = None,
    token: Annotated[str | None, typer.Option("--token", envvar="ROLLCALL_TOKEN", help=ACCESS_HELP)] = None,
    sign_in: Annotated[
        str | None,
        typer.Option(
            "--sign-in",
            metavar="ACCOUNT",
            help="Instead of a token: sign in, and renew the session as long as it lasts. The password is "
            "asked for, or in ROLLCALL_PASSWORD.",
        ),
    ] = None,
    url: Url = DEFAULT_URL,
    check_in: Annotated[
        bool, typer.Option("--check-in", help="Whoever is recognised has arrived; see docs/check-in.md.")
    ] = False,
    place: Annotated[str | None, typer.Option(help="Where they arrive, with --check-in.")] = None,
    threshold: Threshold = None,
    strictness: Strict = None,
    faces: Annotated[FaceChoice | None, typer.Option(help="Which faces of a frame.")] = None,
    quality: Quality = None,
    liveness: Annotated[LivenessMode | None, typer.Option(help="What pictures of faces are held to.")] = None,
    width: Annotated[
        int, typer.Option(min=64, max=8192, help="Wider frames are made so wide; see docs/stream.md.")
    ] = 1280,
    fast: Annotated[
        bool, typer.Option("--fast", help="Every frame of a file, as fast as the service answers.")
    ] = False,
    seconds: Annotated[
        float | None, typer.Option(min=0.1, help="End by itself after so many seconds.")
    ] = None,
    every_frame: Annotated[
        bool, typer.Option("--every-frame", help="With --json: a line for each frame too.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON for each thing.")] = False,
) -> None:
    """Say who is in front of a camera, or in a video, live.

    Goes on until Ctrl-C or the end of the file; connects again when the service restarts. Exit code 0:
    somebody was recognised; 3: nobody; 1: it failed.
    """
    _check(camera, file, frames, fast=fast, every_frame=every_frame and not as_json)
    if place is not None and not check_in:
        raise typer.BadParameter("--place goes with --check-in")
    if threshold is not None and strictness is not None:
        raise typer.BadParameter("--strictness and --threshold exclude each other")
    sightings, writer = Sightings(), FrameWriter(width)
    source = _open_source(camera, file, frames, writer, is_fast=fast)
    title = f"{source.name} at {event}"
    view = WatchView(title, sightings, as_json=as_json, every_frame=every_frame)
    with contextlib.closing(source), _connect(url, token, sign_in) as client:
        client.operations.health(timeout_s=FIRST_ANSWER_S)
        stream = client.open_stream(
            event,
            check_in=check_in or None,
            place=place,
            threshold=threshold,
            strictness=strictness,
            faces=faces,
            quality=quality,
            liveness=liveness,
            retries=PATIENCE,
            on_trouble=view.tell_trouble,
        )
        with stream:
            writer.max_bytes = stream.ready.max_frame_bytes
            try:
                with view:
                    _run(stream, source, sightings, view, seconds)
            finally:
                view.tell_end()
    if not sightings.people:
        raise typer.Exit(PARTLY)


def _run(
    stream: Stream, source: FrameSource, sightings: Sightings, view: WatchView, seconds: float | None
) -> None:
    ends_at = None if seconds is None else time.monotonic() + seconds
    pitch_s = 1 / stream.ready.frames_per_s
    free_at, at_s = time.monotonic(), 0.0
    while ends_at is None or time.monotonic() < ends_at:
        if source.is_live:  # the newest then; the service would let it wait, and grow older
            time.sleep(max(0.0, free_at - time.monotonic()))
            free_at = max(free_at, time.monotonic() - pitch_s) + pitch_s
        frame = source.take()
        if frame is None:
            break
        sending = _Sending(source, frame)
        answer = stream.show(sending.give)
        at_s = sending.frame.at_s
        view.tell_frame(sending.frame, answer, time.monotonic() - sending.at)
        if isinstance(answer, StreamFaces):
            view.tell_changes(sightings.note(at_s, answer, stream.ready.stream_id))
        else:
            view.tell_changes(sightings.expire(at_s))
    view.tell_changes(sightings.end(at_s))


class _Sending:
    """Gives a frame to a stream; a newer one where it has to be sent again, if the source has any."""

    def __init__(self, source: FrameSource, frame: Frame) -> None:
        self._source, self._tries = source, 0
        self.frame, self.at = frame, 0.0

    def give(self) -> bytes:
        self._tries += 1
        if self._tries > 1 and self._source.is_live:
            self.frame = self._source.take() or self.frame
        self.at = time.monotonic()
        return self.frame.data


def _check(
    camera: str | None, file: Path | None, frames: Path | None, *, fast: bool, every_frame: bool
) -> None:
    if sum(each is not None for each in (camera, file, frames)) > 1:
        raise typer.BadParameter("--camera, --file and --frames exclude each other")
    if fast and file is None and frames is None:
        raise typer.BadParameter("--fast goes with --file or --frames")
    if every_frame:
        raise typer.BadParameter("--every-frame goes with --json")


def _open_source(
    camera: str | None, file: Path | None, frames: Path | None, writer: FrameWriter, *, is_fast: bool
) -> FrameSource:
    if file is not None:
        return VideoFile(file, writer, is_fast=is_fast)
    if frames is not None:
        return PictureFolder(frames, writer, is_fast=is_fast)
    return Camera(camera or FIRST_CAMERA, writer)


def _connect(url: str, token: str | None, account: str | None) -> Client:
    """A client in the name of a token, or of an account that signs in.

    Raises:
        CommandError: there is neither, or the URL or token is none.
    """
    if account is None and not token:
        raise CommandError("give a token by ROLLCALL_TOKEN (`rollcall token` prints one), or --sign-in")
    try:
        client = Client(url, token=None if account else token, retries=FIRST_TRIES)
    except ValueError as error:
        raise explain_connection(error) from None
    if account is not None:
        try:
            client.sign_in(account, os.environ.get(PASSWORD_VARIABLE) or _ask_password(account))
        except BaseException:
            client.close()
            raise
    return client


def _ask_password(account: str) -> str:
    if not sys.stdin.isatty():
        raise CommandError(f"the password of {account} is in {PASSWORD_VARIABLE}, or asked for on a terminal")
    return str(typer.prompt(f"Password of {account}", hide_input=True, err=True))
