"""The diagrams of the pages as pictures, for the site, which loads no script that could draw them.

    npm pack mermaid@11 && tar xzf mermaid-*.tgz                 # elsewhere, once
    python docs/diagrams.py draw package/dist/mermaid.min.js     # a diagram has changed; needs Chromium
    python docs/diagrams.py put FOLDER                           # `make site`: pictures in place of the text

A picture names the text that it was drawn from by its SHA-256; a test compares them.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

DOCS = Path(__file__).parent
DIAGRAM = re.compile(r"^```mermaid\n(.*?)^```$", re.DOTALL | re.MULTILINE)
OPTIONS = {
    "startOnLoad": False,
    "theme": "neutral",
    "htmlLabels": False,
    "flowchart": {"htmlLabels": False, "useMaxWidth": True},
}


def name_picture(page: Path, index: int) -> str:
    """Of the page's diagram of that number, from 0."""
    return f"diagram-{page.stem}-{index + 1}.svg"


def hash_text(text: str) -> str:
    """What the picture of a diagram says it was drawn from."""
    return hashlib.sha256(text.encode()).hexdigest()


def list_diagrams(folder: Path) -> Iterator[tuple[str, str]]:
    """The name of the picture and the text of each diagram of the pages in a folder."""
    for page in sorted(folder.glob("*.md")):
        for index, found in enumerate(DIAGRAM.finditer(page.read_text(encoding="utf-8"))):
            yield name_picture(page, index), found.group(1)


def put_pictures(folder: Path) -> None:
    """Rewrite the pages in a folder: a picture in the place of each diagram's text."""
    for page in sorted(folder.glob("*.md")):
        names = (name_picture(page, index) for index in range(100))
        text = page.read_text(encoding="utf-8")
        page.write_text(
            DIAGRAM.sub(lambda _, names=names: f"![What the text beside says, drawn]({next(names)})", text),
            encoding="utf-8",
        )


async def draw(script: str) -> None:
    """Draw all diagrams of `docs/`, as files beside the pages, by the text of Mermaid's script."""
    sys.path.insert(0, str(DOCS.parent))
    from tests.browser.chromium import find_chromium, open_browser

    program = find_chromium()
    if program is None:
        raise SystemExit("Chromium is needed: apt-get install chromium")
    with tempfile.TemporaryDirectory() as profile:
        async with open_browser(program, Path(profile)) as open_page:
            page = await open_page()
            await page.open("about:blank")
            await page.evaluate(f"{script};0")
            await page.evaluate(f"mermaid.initialize({json.dumps(OPTIONS)})")
            for name, text in list_diagrams(DOCS):
                call = f"mermaid.render({json.dumps(Path(name).stem)}, {json.dumps(text)})"
                svg = await page.evaluate(f"{call}.then(({{ svg }}) => svg)")
                svg = svg.replace('style="', 'style="background-color: white; ', 1)
                _keep(DOCS / name, f"{svg}\n<!-- {hash_text(text)} -->\n")


def _keep(file: Path, content: str) -> None:
    file.write_text(content, encoding="utf-8")
    print(file)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["draw", script]:
            asyncio.run(draw(Path(script).read_text(encoding="utf-8")))
        case ["put", folder]:
            put_pictures(Path(folder))
        case _:
            raise SystemExit(__doc__)
