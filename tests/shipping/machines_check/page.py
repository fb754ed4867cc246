"""The blocks of docs/machines.md: on which machines each is to be run, and why the check leaves some out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

PAGE = Path("docs/machines.md")
_LEFT_OUT = re.compile(r"<!-- machines-check: (.+) -->\n\Z")


@dataclass(frozen=True, slots=True)
class Block:
    """Commands of the page.

    Attributes:
        step: the heading above it.
        machines: names of whom it is for, as its first line says.
        script: the whole block, as it stands.
        left_out: why the check does not run it; empty where it does.
    """

    step: str
    machines: tuple[str, ...]
    script: str
    left_out: str = ""


def read_blocks(text: str) -> list[Block]:
    """Every `bash` block of the page in order.

    Raises:
        ValueError: a block does not say for whom it is.
    """
    blocks = []
    for found in re.finditer(r"^```bash\n(.*?)^```$", text, re.M | re.S):
        before = text[: found.start()]
        headings = re.findall(r"^## (.+)$", before, re.M)
        named = re.match(r"# on ([\w, ]+)\n", found[1])
        if not named:
            raise ValueError(f"a block does not begin with `# on MACHINE, ...`:\n{found[1]}")
        left_out = _LEFT_OUT.search(before)
        machines = tuple(named[1].split(", "))
        blocks.append(Block(headings[-1], machines, found[1], left_out[1] if left_out else ""))
    return blocks
