"""The documentation says what the code says."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest


def test_made_pages_are_up_to_date(repository: Path) -> None:
    spec = importlib.util.spec_from_file_location("generate", repository / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    for name, write in generate.PAGES.items():
        page = (repository / "docs" / name).read_text()
        assert page == write(), f"docs/{name} is out of date: run `make docs`"


def test_the_doctors_page_has_a_cure_for_every_fault(repository: Path) -> None:
    page = (repository / "docs" / "doctor.md").read_text()
    faults = re.findall(r"^\| (?:warn|fail) \| (.+) \| (.+) \|$", page, re.M)
    source = "".join(
        (repository / "serving" / "operations" / "doctor" / f"{name}.py").read_text()
        for name in ("certificates", "copies", "files", "machine", "stores")
    )
    # One call makes the rows of two checks: what does not answer.
    assert len(faults) == len(re.findall(r"\b(?:warn|fail)\(", source)) + 1
    assert not [seen for seen, cure in faults if len(cure.strip("… ")) < 8]


def test_links_and_paths_lead_somewhere(repository: Path) -> None:
    pages = [repository / "README.md", *(repository / "docs").glob("*.md")]
    for page in pages:
        text = page.read_text()
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
    readme = (repository / "README.md").read_text()
    for row in re.findall(r"^\| (`[^|]+) \|", readme, re.MULTILINE):
        for path in re.findall(r"`([^`]+)`", row):
            assert (repository / path).exists(), f"README speaks of {path}"


def test_every_page_is_in_the_sites_navigation(repository: Path) -> None:
    named = re.findall(r'"([\w-]+\.md)"', (repository / "config" / "site" / "zensical.toml").read_text())
    assert sorted(named) == sorted(page.name for page in (repository / "docs").glob("*.md"))


@pytest.mark.parametrize("name", ["serve_config.yaml", "config/laptop.yaml", "config/one-gpu.yaml"])
def test_operators_find_every_deployment(repository: Path, name: str) -> None:
    text = (repository / name).read_text()
    for deployment in ("Ingress", "Detector", "Embedder", "Matcher"):
        assert f"- name: {deployment}" in text


def test_every_feature_has_its_test(repository: Path) -> None:
    rows = re.findall(
        r"^\| .+ \| .+ \| `([^`:]+)::(\w+)` \|$", (repository / "docs" / "features.md").read_text(), re.M
    )
    assert len(rows) > 50
    for path, name in rows:
        tests = repository / path
        assert tests.is_file(), f"docs/features.md names {path}"
        assert re.search(rf"^ *(?:async )?def {name}\(", tests.read_text(), re.M), f"{path} has no {name}"
    proved = (repository / "docs" / "features.md").read_text().count("\n| ") - 6 * 1
    assert proved == len(rows), "a row without a test"


def test_every_route_is_a_feature(repository: Path) -> None:
    """Whoever adds a route says in docs/api.md what it is for."""
    document = json.loads((repository / "docs" / "openapi.json").read_text())
    told = (repository / "docs" / "api.md").read_text()
    for path, operations in document["paths"].items():
        for method in operations:
            assert f"`{method.upper()} {path}`" in told, (
                f"docs/api.md does not tell of {method.upper()} {path}"
            )
