"""Diagrams of the pages: the pictures that the site shows are drawn from what the pages say."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture(scope="module")
def diagrams() -> ModuleType:
    spec = importlib.util.spec_from_file_location("diagrams", DOCS / "diagrams.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_picture_is_drawn_from_the_text_of_its_page(diagrams: ModuleType) -> None:
    drawn = dict(diagrams.list_diagrams(DOCS))
    assert {path.name for path in DOCS.glob("diagram-*.svg")} == set(drawn)
    for name, text in drawn.items():
        assert f"<!-- {diagrams.hash_text(text)} -->" in (DOCS / name).read_text("utf-8"), f"draw {name} anew"


def test_the_site_shows_pictures(diagrams: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "a\n\n```mermaid\nflowchart LR\n```\n\nb\n\n```sh\nls\n```\n\n```mermaid\nx\n```\n", "utf-8"
    )
    diagrams.put_pictures(tmp_path)
    text = page.read_text("utf-8")
    assert "(diagram-page-1.svg)" in text
    assert "(diagram-page-2.svg)" in text
    assert "mermaid" not in text
    assert "```sh\nls\n```" in text
