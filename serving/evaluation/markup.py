"""Builds HTML and SVG as trees, so that every text is escaped and every element closed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Any
from xml.etree.ElementTree import Element, tostring

Child = Element | str | None

# No script, no request, no frame: what the page shows is what is in the file.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'"


def element(tag: str, *children: Child | Iterable[Child], **attributes: object) -> Element:
    """An element with children; None among them is left out.

    Attribute names may end in an underscore (class_) and have underscores for hyphens (stroke_width).
    """
    made = Element(
        tag,
        {
            name.rstrip("_").replace("_", "-"): f"{value:g}" if isinstance(value, float) else str(value)
            for name, value in attributes.items()
            if value is not None
        },
    )
    for child in _flatten(children):
        if isinstance(child, Element):
            made.append(child)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + child
        else:
            made.text = (made.text or "") + child
    return made


def table(headers: Sequence[Child], rows: Iterable[Sequence[Any]], caption: str | None = None) -> Element:
    """A table; the first cell of a row is its header. Cells are children, or lists of them."""
    body = element("tbody")
    for row in rows:
        line = element("tr", element("th", row[0] or "-", scope="row"))
        line.extend(element("td", "-" if cell is None or cell == "" else cell) for cell in row[1:])
        body.append(line)
    head = element("tr", (element("th", header or "-", scope="col") for header in headers))
    made = element("table", element("caption", caption) if caption else None, element("thead", head), body)
    # Wide tables scroll by themselves, reachable by keyboard, and the page does not.
    return element("div", made, class_="scroll", tabindex=0, role="region", aria_label=caption or "table")


def render_page(title: str, *sections: Child, style: str = "") -> str:
    """The text of a whole report, valid both as HTML and as XML, in the look of `report.css` and of style."""
    look = (resources.files("serving.evaluation") / "report.css").read_text(encoding="utf-8") + style
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="referrer", content="no-referrer"),
        element("title", title),
        element("style", look),
    )
    root = element("html", head, element("body", element("main", *sections)), lang="en")
    return "<!DOCTYPE html>\n" + tostring(root, encoding="unicode", method="xml") + "\n"


def _flatten(children: Iterable[Child | Iterable[Child]]) -> Iterable[Element | str]:
    for child in children:
        if isinstance(child, Element | str):
            yield child
        elif child is not None:
            yield from _flatten(child)
