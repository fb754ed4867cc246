"""What `rollcall watch` shows: a live table, lines, or JSON lines."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from statistics import median
from types import TracebackType
from typing import Any

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from rollcall_client import FrameRefused, RollcallError, ServiceError, StreamFaces
from serving.commands.console import console, messages, write_json
from serving.commands.frame_sources import Frame
from serving.commands.sightings import Change, Sighting, Sightings

REFRESH_PER_S = 8
LOOK_BACK_S = 5.0
"""Over which frames a second and latency are told."""


@dataclass(slots=True)
class Pace:
    """How the stream runs. Any thread may read it.

    Attributes:
        answered, passed_over: frames, since the beginning.
        recent: of the last seconds, when each answer came and how long it took.
    """

    answered: int = 0
    passed_over: int = 0
    recent: deque[tuple[float, float]] = field(default_factory=deque)

    def note(self, latency_s: float, passed_over: int) -> None:
        """Take an answer."""
        now = time.monotonic()
        self.answered += 1
        self.passed_over += passed_over
        self.recent.append((now, latency_s))
        while self.recent[0][0] < now - LOOK_BACK_S:
            self.recent.popleft()

    @property
    def frames_per_s(self) -> float:
        """Of the last seconds."""
        recent = list(self.recent)
        if len(recent) < 2:
            return 0.0
        stretch_s = recent[-1][0] - recent[0][0]
        return (len(recent) - 1) / stretch_s if stretch_s else 0.0

    @property
    def latency_ms(self) -> float:
        """The median of the last seconds."""
        recent = list(self.recent)
        return median(each for _, each in recent) * 1000 if recent else 0.0


class WatchView:
    """Tells what happens; a context manager.

    Args:
        title: what is watched, where.
        as_json: lines of JSON on standard output in place of everything else there.
        every_frame: as JSON, a line for each frame too.
    """

    def __init__(self, title: str, sightings: Sightings, *, as_json: bool, every_frame: bool) -> None:
        self._title, self._sightings = title, sightings
        self._as_json, self._every_frame = as_json, every_frame
        self._began_at = datetime.now(timezone.utc)
        self._began_s = time.monotonic()
        self._trouble = ""
        self.pace = Pace()
        self._live: Live | None = None
        if console.is_terminal and not as_json:
            screen = Console(highlight=False)
            self._live = Live(console=screen, refresh_per_second=REFRESH_PER_S, get_renderable=self._draw)

    def __enter__(self) -> WatchView:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def tell_frame(self, frame: Frame, answer: StreamFaces | FrameRefused, latency_s: float) -> None:
        """A frame was answered, or refused."""
        self._trouble = ""
        self.pace.note(latency_s, answer.dropped + answer.refused)
        if isinstance(answer, FrameRefused):
            self._say_trouble(f"frame {frame.number}: {answer.problem.code}: {answer.problem.detail}")
        if self._as_json and self._every_frame:
            about = {"type": "frame", "at_s": round(frame.at_s, 3), "number": frame.number}
            told = {"latency_ms": round(latency_s * 1000, 1)}
            if isinstance(answer, FrameRefused):
                problem = {"code": answer.problem.code, "detail": answer.problem.detail}
                self._print({**about, **told, "problem": problem})
            else:
                faces = answer.model_dump(mode="json", include={"width", "height", "faces", "timings"})
                self._print({**about, **told, **faces})

    def tell_changes(self, changes: Iterable[Change]) -> None:
        """Somebody appeared or left."""
        for change in changes:
            if self._as_json:
                self._print(change.describe())
            elif self._live is None:
                console.print(_say(change, self._time_of(change.at_s)))

    def tell_trouble(self, trouble: RollcallError, pause_s: float) -> None:
        """The connection was lost."""
        said = f"{trouble.code}: {trouble.detail}" if isinstance(trouble, ServiceError) else str(trouble)
        self._say_trouble(f"{said}; trying again" + (f" in {pause_s:.1f} s" if pause_s >= 0.05 else ""))

    def summarise(self) -> dict[str, Any]:
        """All of it."""
        seen = self._sightings
        return {
            "type": "ended",
            "seconds": round(time.monotonic() - self._began_s, 3),
            "frames": self.pace.answered,
            "passed_over": self.pace.passed_over,
            "people": [{"person_id": each, "name": name} for each, name in seen.people.items()],
            "unknown": seen.unknown,
        }

    def tell_end(self) -> None:
        """What there was to see, all in all."""
        told = self.summarise()
        if self._as_json:
            self._print(told)
            return
        names = ", ".join(each["name"] or each["person_id"] for each in told["people"]) or "nobody known"
        messages.print(
            f"{told['frames']} frames in {told['seconds']:.0f} s: {escape(names)}; "
            f"{told['unknown']} unknown faces"
        )

    def _say_trouble(self, said: str) -> None:
        self._trouble = said
        if self._live is None:
            messages.print(f"[yellow]{escape(said)}[/]")

    def _print(self, line: dict[str, Any]) -> None:
        at = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        typer.echo(write_json({**line, "at": at}))

    def _time_of(self, at_s: float) -> str:
        return (self._began_at + timedelta(seconds=at_s)).astimezone().strftime("%H:%M:%S")

    def _draw(self) -> Group:
        pace, table = self.pace, Table(box=None, pad_edge=False, expand=False)
        for name in ("", "who", "id", "since", "cosine", "false match rate"):
            table.add_column(name, overflow="fold")
        for each in self._sightings.in_view:
            table.add_row(*_row(each, self._time_of(each.since_s)))
        in_view = self._sightings.in_view
        known = sum(each.person_id is not None for each in in_view)
        line = (
            f"{known} known and {len(in_view) - known} unknown in view, "
            f"{len(self._sightings.people)} people so far; "
            f"{pace.frames_per_s:.1f} frames/s, {pace.latency_ms:.0f} ms"
            + (f", {pace.passed_over} passed over" if pace.passed_over else "")
        )
        parts: list[Any] = [Text(self._title, style="bold"), table, Text(line, style="dim")]
        if self._trouble:
            parts.append(Text(self._trouble, style="yellow"))
        return Group(*parts)


def _row(sighting: Sighting, since: str) -> tuple[str, ...]:
    cosine = "" if sighting.cosine is None else f"{sighting.cosine:.3f}"
    if sighting.person_id is None:
        return "[yellow]?[/]", "[yellow]unknown[/]", "", since, cosine, ""
    rate = "" if sighting.false_match_rate is None else f"{sighting.false_match_rate:.1g}"
    who = escape(sighting.name or sighting.person_id)
    mark = {"now": "[green]✓ now[/]", "before": "[green]✓[/]"}.get(sighting.arrived or "", "[green]●[/]")
    return mark, f"[bold green]{who}[/]", escape(sighting.person_id), since, cosine, rate


def _say(change: Change, time_of_day: str) -> str:
    sighting = change.sighting
    if sighting.person_id is None:
        who = "[yellow]unknown[/]"
    else:
        who = f"[green]{escape(sighting.name or sighting.person_id)}[/] ({escape(sighting.person_id)})"
    if change.kind == "left":
        return f"{time_of_day} left      {who} after {sighting.last_s - sighting.since_s:.1f} s"
    cosine = "" if sighting.cosine is None else f" cosine {sighting.cosine:.3f}"
    arrived = {"now": ", has arrived", "before": ", had arrived before"}.get(sighting.arrived or "", "")
    return f"{time_of_day} appeared  {who}{cosine}{arrived}"
