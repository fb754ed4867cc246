"""What tests of the console's bulk views do to a page, and ask of it."""

from __future__ import annotations

import asyncio
import zipfile
from pathlib import Path

from tests.browser.chromium import Page

BOX_COLOURS = """(() => {
  const canvas = document.querySelector(".picture canvas");
  const pen = canvas.getContext("2d");
  const seen = %s, boxes = %s;
  const scale = Math.min(canvas.width / seen.width, canvas.height / seen.height);
  const [left, top] = [(canvas.width - seen.width * scale) / 2, (canvas.height - seen.height * scale) / 2];
  return boxes.map(({ x, y, width, height }) => {
    const line = pen.getImageData(left + x * scale, top + (y + height) * scale - 1, width * scale, 2).data;
    const found = new Set();
    for (let at = 0; at < line.length; at += 4) found.add(line.slice(at, at + 3).join());
    return { match: found.has("53,208,127"), unknown: found.has("255,107,97") };
  });
})()"""
"""`%` the answer's size and its boxes as JSON: colours along each lower edge in the first picture."""

ARCHIVE = """(async () => {
  const module = new URL("console/pictures/archive_maker.js", document.baseURI);
  const { planArchive, makeArchive } = await import(module);
  const files = %s.map((path) => ({ path, file: new Blob([path]) }));
  const { entries, people, passedOver } = planArchive(files);
  const read = [];
  const archive = await makeArchive(entries, (done) => read.push(done));
  const bytes = new Uint8Array(await archive.arrayBuffer());
  return { archive: btoa(String.fromCharCode(...bytes)), people, passedOver, read };
})()"""
"""`%` paths as JSON: the archive that the page makes of such files, each of which holds its own path."""

HEAR = """(() => {
  window.heard = [];
  window.hearing?.disconnect();
  const region = (node) => (node.closest ? node : node.parentElement)?.closest("[role=status], [role=alert]");
  window.hearing = new MutationObserver((changes) => {
    const regions = changes.flatMap(({ target, addedNodes }) => [target, ...addedNodes]).map(region);
    for (const each of new Set(regions)) if (each?.textContent) heard.push(each.textContent);
  });
  hearing.observe(document.getElementById("view"), { subtree: true, childList: true, characterData: true });
})()"""
"""`heard`: from now on what a screen reader says of the view by itself."""


def write_archive(path: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


async def drop_files(page: Page, *files: Path) -> None:
    """Drag them from the desktop onto the zone."""
    x, y = await page.evaluate(
        "(() => { const zone = document.querySelector('.drop-zone');"
        "zone.scrollIntoView({ block: 'center' });"
        "const { x, y, width, height } = zone.getBoundingClientRect(); return [x + width / 2, y + 12]; })()"
    )
    data = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        await page.command("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)


async def wait_for_file(directory: Path, pattern: str) -> Path:
    """A download that is complete."""
    for _ in range(600):
        found = [file for file in directory.glob(pattern) if not file.name.endswith(".crdownload")]
        if found:
            return found[0]
        await asyncio.sleep(0.05)
    raise AssertionError(f"no {pattern}; there is {[file.name for file in directory.iterdir()]}")
