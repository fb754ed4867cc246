"""Measures the activation ranges behind the starter pack's int8 models, for maintainers.

    python -m serving.evaluation.measure_ranges --people DIR

DIR holds one sub-folder per person. The result goes to serving/packs/data; it makes another int8 model, whose
SHA-256 then belongs in the manifest.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from serving.evaluation.measured_data import store_measured
from serving.evaluation.people_folder import collect_chips
from serving.packs.catalogue import find_pack
from serving.packs.configured import open_store
from serving.packs.loading import load_finder
from serving.packs.quantise import RANGES_FILE, measure_ranges
from serving.settings import load_settings

_CHIPS = 500


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.evaluation.measure_ranges", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "--people", type=Path, required=True, metavar="DIR", help="folder of folders of pictures"
    )
    options = parser.parse_args(arguments)
    console = Console(stderr=True)

    def measure() -> object:
        files = open_store(load_settings()).prepare_files(find_pack("starter", "fp32"))
        with Progress(console=console) as bar:
            task = bar.add_task("finding faces", total=None)
            chips = collect_chips(
                options.people,
                load_finder(files),
                lambda done, total: bar.update(task, completed=done, total=total),
            )
        console.print(f"{len(chips.chips)} chips, {chips.skipped} pictures without a face; measuring")
        step = max(1, len(chips.chips) // _CHIPS)
        return measure_ranges(files.embedder_path.read_bytes(), chips.chips[::step])

    return store_measured(RANGES_FILE, measure, console)


if __name__ == "__main__":
    sys.exit(main())
