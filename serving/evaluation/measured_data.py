"""What a measuring command leaves among the data of the packs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rich.console import Console

import serving.packs
from serving.errors import RollcallError
from serving.evaluation.stored_json import write_json


def store_measured(file_name: str, measure: Callable[[], object], console: Console) -> int:
    """Measure, and keep what was measured as one of the packs' data files; the exit status."""
    try:
        write_json(Path(serving.packs.__path__[0]) / "data" / file_name, measure())
    except RollcallError as error:
        console.print(f"{error.detail}\n{error.cure}", style="red")
        return 1
    return 0
