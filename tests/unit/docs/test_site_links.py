"""What the check of the built site finds, and lets pass."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def site_links(repository: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_links", repository / "docs" / "site_links.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("html", "fault"),
    [
        (
            '<a href="../other/">page</a> <a href="../other/#here">place</a> <a href="#own" id="own">own</a>',
            None,
        ),
        (
            '<a href="https://example.org/x">elsewhere</a> <link rel="canonical" href="https://example.org/">',
            None,
        ),
        ('<img src="data:image/png;base64,AA==">', None),
        ('<a href="../none/">page</a>', "leads to ../none/, which is not there"),
        ('<a href="../other/#there">place</a>', "leads to ../other/#there, which has no such place"),
        ('<a href="#nowhere">own</a>', "leads to #nowhere, which has no such place"),
        ('<script src="https://example.org/x.js"></script>', "loads https://example.org/x.js"),
        ('<link rel="stylesheet" href="//example.org/x.css">', "loads //example.org/x.css"),
        ('<img src="https://example.org/x.png">', "loads https://example.org/x.png"),
        ('<pre class="mermaid"><code>flowchart LR</code></pre>', "loads https://unpkg.com/mermaid"),
    ],
)
def test_what_leads_nowhere_or_comes_from_elsewhere_is_said(
    site_links: ModuleType, tmp_path: Path, html: str, fault: str | None
) -> None:
    for name, text in (("page", html), ("other", '<h1 id="here">Here</h1>')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "index.html").write_text(text)
    faults = site_links.find_faults(tmp_path)
    assert faults == ([] if fault is None else [f"page/index.html {fault}"])
