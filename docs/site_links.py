"""Follows every link of the built site: `python docs/site_links.py dist/site`.

Exits with 1, and says which, when a link leads to no page or to no place within one, or when a page would
load a script, a style or a picture from another host.
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src"), ("source", "src")}
FETCHED = {"mermaid": "https://unpkg.com/mermaid"}
"""What the theme's script fetches from another host, by the class of an element that has it do so."""
NOT_LOADED = {"canonical", "next", "prev", "alternate", "edit"}
"""Kinds of <link> that name a page and fetch nothing."""


class Page(HTMLParser):
    """What one page refers to and can be referred to by.

    Attributes:
        links: what it leads to, as written.
        foreign: what it would load from other hosts.
        places: ids and names within it.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.foreign: list[str] = []
        self.places: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.places.update(value for name, value in attrs if name in ("id", "name") and value)
        classes = (given.get("class") or "").split()
        self.foreign += [FETCHED[each] for each in classes if each in FETCHED]
        for name in ("href", "src"):
            target = given.get(name)
            if not target or (tag == "link" and NOT_LOADED & set((given.get("rel") or "").split())):
                continue
            if urlsplit(target).scheme not in ("", "data") or target.startswith("//"):
                if (tag, name) in LOADED:
                    self.foreign.append(target)
            else:
                self.links.append(target)


def find_faults(site: Path) -> list[str]:
    """A line for each link that leads nowhere and each thing that comes from elsewhere."""
    pages = {path: Page(path) for path in sorted(site.rglob("*.html"))}
    faults = [
        f"{path.relative_to(site)} loads {each}" for path, page in pages.items() for each in page.foreign
    ]
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme == "data":
                continue
            begin = site if parts.path.startswith("/") else path.parent
            target = (begin / unquote(parts.path).lstrip("/")).resolve() if parts.path else path.resolve()
            if target.is_dir():
                target /= "index.html"
            if not target.is_file():
                faults.append(f"{path.relative_to(site)} leads to {link}, which is not there")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].places:
                faults.append(f"{path.relative_to(site)} leads to {link}, which has no such place")
    return faults


def main() -> int:
    """The command; returns the exit status."""
    site = Path(sys.argv[1]).resolve()
    faults = find_faults(site)
    for fault in faults:
        print(fault, file=sys.stderr)
    if not faults:
        print(f"{len(list(site.rglob('*.html')))} pages, every link leads somewhere")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
