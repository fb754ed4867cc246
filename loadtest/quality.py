"""Whether the cheaper work recognises as well as the full: `python -m loadtest.quality`.

Two runs of `rollcall evaluate` on the same pictures: the pack that serves, with the service's settings, and
the starter in fp32, mirrored, that searches every picture at its largest scale. They differ in precision,
scales and decoding.

Pictures: LFW in `DIR/lfw/images` with `DIR/lfw/pairs.txt`, WIDER FACE in `DIR/wider/images` with its boxes
in the one text file beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from loadtest.machine import count_cores, describe_run
from serving.packs.configured import find_configured_pack
from serving.settings import load_settings

REFERENCE = "starter-fp32-mirror"
FULL_SEARCH = {"ROLLCALL_PICTURE__DETECTION_SCALES": "one"}
MIN_PX = 32

console = Console(highlight=False)


def find_shared_directory() -> Path | None:
    """Where the pictures are, as the tests look for them; None where they are not."""
    directory = Path(os.environ.get("ROLLCALL_SHARED_DIR", Path(__file__).resolve().parents[2] / "shared"))
    return directory if (directory / "lfw" / "pairs.txt").is_file() else None


def main() -> int:
    """Measure, print the table and write the JSON; 3 when there are no pictures."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.quality", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--pictures", type=Path, metavar="DIR", default=find_shared_directory())
    parser.add_argument("--json", type=Path, default=Path("bench-results/quality.json"))
    options = parser.parse_args()
    if options.pictures is None:
        console.print("[red]there are no pictures: name them by --pictures or ROLLCALL_SHARED_DIR[/]")
        return 3
    served = find_configured_pack(load_settings()).id
    report = {
        "schema": "rollcall-quality/1",
        **describe_run(),
        "served": {"pack": served, **evaluate(options.pictures, served, {})},
        "full": {"pack": REFERENCE, **evaluate(options.pictures, REFERENCE, FULL_SEARCH)},
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    table = Table("", "pack", "accuracy on LFW", f"recall of faces of {MIN_PX} px")
    for name in ("served", "full"):
        row = report[name]
        table.add_row(name, row["pack"], f"{row['accuracy']:.4f}", f"{row['recall']:.4f}")
    console.print(table)
    console.print(f"As JSON: {options.json}")
    return 0


def evaluate(pictures: Path, pack: str, environment: dict[str, str]) -> dict[str, Any]:
    """Accuracy over LFW's pairs and recall of faces of `MIN_PX`, both 0..1."""
    with tempfile.TemporaryDirectory(prefix="rollcall-quality-") as directory:
        file = Path(directory) / "evaluation.json"
        command = [sys.executable, "-m", "serving.cli", "evaluate", "--pack", pack, "--accept-licence"]
        command += ["--people", str(pictures / "lfw/images"), "--pairs", str(pictures / "lfw/pairs.txt")]
        command += ["--boxes", str(next((pictures / "wider").glob("*.txt")))]
        command += ["--workers", str(count_cores()), "--cache", directory, "--json", str(file)]
        subprocess.run(command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, check=True)
        (found,) = json.loads(file.read_text(encoding="utf-8"))["packs"]
    recall = next(each for each in found["detection"]["recall"] if each["min_px"] == MIN_PX)
    return {"accuracy": found["verification"]["accuracy"]["mean"], "recall": recall["value"]}


if __name__ == "__main__":
    sys.exit(main())
