"""The failure table: one file for each failure, printed as one table or written as Markdown.

python -m tests.chaos.results [--markdown | --page docs/reliability.md]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

DIRECTORY = Path(os.environ.get("CHAOS_RESULTS_DIR", "chaos-results"))
UNBROKEN_COLUMNS = 200
"""What the widest row takes."""
BEGIN, END = "<!-- the failure table -->", "<!-- end of the failure table -->"
COLUMNS = (
    "failure",
    "requests",
    "failed",
    "lost",
    "outage",
    "recovered after",
    "whole after",
    "slowest answer",
)


@dataclass(frozen=True, slots=True)
class Row:
    """What one failure cost.

    Attributes:
        failure: in an operator's words; the same failure measured again takes the place of the older row.
        requests: sent from the failure to the end of the measurement.
        failed: of these, by code.
        lost: acknowledged enrolments that were not found, and acknowledged erasures that came back.
        outage_s: how long the failure itself was kept up (a store that is down); 0: a moment.
        recovery_s: from its end until a request of every kind succeeds again and none fails for three
            seconds; None: not within the limit, or there is nothing that could recover.
        whole_s: likewise until what had died was replaced; None: nothing had, or it was not in time.
        slowest_s: the slowest answer among `requests`.
        rate_per_s: requests sent a second.
        note: what else there is to know.
    """

    failure: str
    requests: int
    failed: dict[str, int]
    lost: int
    recovery_s: float | None
    whole_s: float | None = None
    outage_s: float = 0.0
    slowest_s: float = 0.0
    rate_per_s: float = 0.0
    note: str = ""
    measured_at: str = field(default_factory=lambda: time.strftime("%Y-%m-%d %H:%M:%S"))
    machine: str = field(
        default_factory=lambda: f"{os.cpu_count()} cores, Python {platform.python_version()}"
    )

    @property
    def failed_total(self) -> int:
        """Of all codes."""
        return sum(self.failed.values())

    def cells(self) -> list[str]:
        """As the table shows it; see `COLUMNS`."""
        codes = ", ".join(
            f"{count} {code}" for code, count in sorted(self.failed.items(), key=lambda x: -x[1])
        )
        recovered, whole = (
            "–" if time_s is None else f"{time_s:.1f} s" for time_s in (self.recovery_s, self.whole_s)
        )
        outage = f"{self.outage_s:.1f} s" if self.outage_s else ""
        failed = f"{self.failed_total} ({codes})" if codes else "0"
        return [
            f"{self.failure} ({self.note})" if self.note else self.failure,
            *(
                str(self.requests),
                failed,
                str(self.lost),
                outage,
                recovered,
                whole,
                f"{self.slowest_s:.1f} s",
            ),
        ]


def record(row: Row) -> None:
    """Keep the row for the table, and show it."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^a-z0-9]+", "-", row.failure.lower()).strip("-")
    (DIRECTORY / f"{name}.json").write_text(json.dumps(asdict(row), indent=2) + "\n")
    print(" | ".join(row.cells()))


def read_rows(directory: Path = DIRECTORY) -> list[Row]:
    """All that were recorded, by failure."""
    rows = [Row(**json.loads(path.read_text())) for path in directory.glob("*.json")]
    return sorted(rows, key=lambda row: row.failure)


def write_markdown(rows: list[Row]) -> str:
    """A table for a page."""
    lines = [" | ".join(COLUMNS), "|".join(["---", *["---:" if c == "lost" else "---" for c in COLUMNS[1:]]])]
    lines += [" | ".join(row.cells()) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def update_page(page: Path, rows: list[Row]) -> None:
    """Put the table between the marks of a page.

    Raises:
        ValueError: the page has no marks.
    """
    before, begin, rest = page.read_text("utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{page} has no {BEGIN} … {END}")
    page.write_text(f"{before}{BEGIN}\n\n{write_markdown(rows)}\n\n{END}{after}", "utf-8")


def main(arguments: list[str] | None = None) -> int:
    """The command; 1 when acknowledged work was lost, or there is nothing to show."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.results", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--markdown", action="store_true", help="as Markdown")
    parser.add_argument("--page", type=Path, help="put it into this page, between its marks")
    options = parser.parse_args(arguments)
    rows = read_rows()
    if options.page:
        update_page(options.page, rows)
    elif options.markdown:
        print(write_markdown(rows))
    else:
        table = Table(*COLUMNS, title="Failures under load")
        for row in rows:
            table.add_row(*row.cells())
        console = Console()
        if not console.is_terminal:
            console.width = UNBROKEN_COLUMNS  # a log is read without a terminal's edge
        console.print(table)
    return 0 if rows and not any(row.lost for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
