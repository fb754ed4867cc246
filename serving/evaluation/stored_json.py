"""JSON files that people read in diffs."""

from __future__ import annotations

import json
import re
from pathlib import Path

from serving.packs.cache_files import write_atomically


def write_json(path: Path, content: object) -> None:
    """Write a whole file or nothing, one pair of numbers a line.

    Raises:
        PackError: it cannot be written.
    """
    text = json.dumps(content, indent=1)
    text = re.sub(r"\[\s+(\S+),\s+(\S+)\s+\]", r"[\1, \2]", text)
    write_atomically(path, (text + "\n").encode())
