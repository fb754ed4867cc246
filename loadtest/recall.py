"""What the scales and the precision of the starter's detector find in crowds, and what they cost.

    python -m loadtest.recall --boxes FILE [--pictures DIR]

FILE has WIDER FACE's text format, DIR (`images` beside FILE) its pictures. Prints a row for each way to
search: recall by size of the face at an IoU of 0.5, false detections, and CPU milliseconds a picture.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from serving.evaluation.acquisition import measure_detection, read_boxes
from serving.evaluation.result_store import PictureFacts
from serving.packs.configured import open_store
from serving.packs.loading import load_finder
from serving.settings import Settings
from serving.vision.pipeline import FaceFinder, PictureFaces
from serving.vision.scales import ScaleMode

_WAYS: tuple[tuple[str, ScaleMode], ...] = (
    ("fp32", "one"),
    ("fp32", "auto"),
    ("fp32", "all"),
    ("int8", "one"),
    ("int8", "auto"),
    ("int8", "all"),
)


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.recall", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--boxes", type=Path, required=True, metavar="FILE")
    parser.add_argument("--pictures", type=Path, metavar="DIR")
    options = parser.parse_args(arguments)
    marked = read_boxes(options.boxes, options.pictures or options.boxes.parent / "images")
    settings = Settings()
    store = open_store(settings)
    table = Table("detector", "scales", ">= 16 px", ">= 32 px", ">= 64 px", "false", "CPU ms")
    for precision, scales in _WAYS:
        prepared = store.prepare(store.find_pack("starter", precision))
        finder = load_finder(prepared, max_side_px=settings.picture.detection_side_px, scales=scales)
        finder.warm_up()
        began_s = time.process_time()
        facts = [_search(finder, each.path) for each in marked]
        cpu_ms = (time.process_time() - began_s) * 1e3 / len(marked)
        result = measure_detection(marked, facts)
        recall = (f"{each['value']:.3f}" for each in result["recall"])
        table.add_row(precision, scales, *recall, str(result["false_detections"]), f"{cpu_ms:.0f}")
    Console().print(table)
    return 0


def _search(finder: FaceFinder, path: Path) -> PictureFacts:
    (found,) = finder.find([path.read_bytes()])
    assert isinstance(found, PictureFaces), found
    return PictureFacts(
        None,
        found.width,
        found.height,
        tuple((*face.box, face.detection_score) for face in found.faces),
    )


if __name__ == "__main__":
    sys.exit(main())
