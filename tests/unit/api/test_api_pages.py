"""Pages for people: served whole, by themselves, and closed to everything from elsewhere."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from serving.api.routes.pages import CONSOLE, FILES, KINDS
from serving.vision.quality_gates import QualityReason
from tests.unit.api.api_problems import check_problem
from tests.unit.api.conftest import Api

PAGES = {"/": "index.html", "/check-in": "check_in.html"}
PARTS = sorted(name for name in FILES if not name.startswith("api_docs") and not name.endswith(".html"))
SCRIPTS = [name for name in PARTS if name.endswith(".js")]
SERVED = PAGES | {f"/console/{name}": name for name in PARTS}
POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' blob: data:",
    "connect-src": "'self'",
    "media-src": "'self' blob:",
    "frame-ancestors": "'none'",
    "base-uri": "'none'",
    "form-action": "'self'",
}


class Tags(HTMLParser):
    """Collects every tag with its attributes, and the text inside scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inline = ""
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open = tag

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open in ("script", "style"):
            self.inline += data.strip()


@pytest.fixture(scope="module", params=PAGES.values())
def page(request: pytest.FixtureRequest) -> Tags:
    return Tags(FILES[request.param].decode())


@pytest.mark.parametrize(("path", "name"), SERVED.items())
async def test_every_part_is_served_without_a_token_and_guarded(api: Api, path: str, name: str) -> None:
    answer = await api.anonymous().get(path)
    assert answer.status_code == 200
    assert answer.content == (CONSOLE / name).read_bytes()
    assert answer.headers["content-type"] == KINDS[name.rpartition(".")[2]]
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy == POLICY
    assert answer.headers["permissions-policy"].startswith("camera=(self)")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    "path",
    [
        "/check-in/",
        "/console/",
        "/console/index.html",
        "/console/views/../check_in.html",
        "/console/..%2Fapi/routes/pages.py",
        "/console//etc/passwd",
        "/console/views",
    ],
)
async def test_nothing_else_is_served(api: Api, path: str) -> None:
    answer = await api.anonymous().get(path, follow_redirects=True)
    assert answer.status_code in (200, 404)
    if answer.status_code == 200:
        assert answer.url.path == "/check-in"
    else:
        check_problem(answer, "not_found")


async def test_a_form_sent_to_a_page_gives_nothing_away(api: Api) -> None:
    """Scripts make every form; would one ever be sent without them, no password gets into an address."""
    assert 'method: "post"' in FILES["page/elements.js"].decode()
    makers = [name for name in SCRIPTS if 'make("form"' in FILES[name].decode()]
    assert makers == ["page/elements.js"]
    check_problem(await api.anonymous().post("/check-in", data={"password": "x"}), "method_not_allowed")


def test_pages_are_no_part_of_the_interface(shared_app: Any) -> None:
    assert not {*SERVED} & {*shared_app.openapi()["paths"]}


def test_nothing_comes_from_elsewhere_and_nothing_is_inline(page: Tags) -> None:
    assert page.inline == ""
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert name != "style", tag
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "href", "action"):
                assert value is not None
                assert value in ("data:,", *(path.lstrip("/") for path in SERVED)), (tag, value)
    for name in PARTS:
        text = FILES[name].decode().replace('"http://www.w3.org/2000/svg"', "")
        assert not re.findall(r"(?:https?:)?//[a-z]", re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE)), (
            name
        )
    script = "".join(FILES[name].decode() for name in SCRIPTS)
    for dangerous in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("):
        assert dangerous not in script
    for kept in ("localStorage", "sessionStorage", "document.cookie", "indexedDB"):
        assert kept not in script


def test_every_control_has_a_label_and_ids_are_unique(page: Tags) -> None:
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    labelled = {attributes.get("for") for tag, attributes in page.tags if tag == "label"}
    for tag, attributes in page.tags:
        if tag in ("input", "select") and attributes.get("type") != "hidden":
            assert attributes["id"] in labelled, attributes
        for name in ("for", "aria-labelledby", "aria-describedby", "aria-controls"):
            if name in attributes:
                assert set((attributes[name] or "").split()) <= set(ids), attributes
    assert ("html", {"lang": "en"}) in page.tags


def test_every_module_that_is_imported_is_there() -> None:
    for name in SCRIPTS:
        for wanted in re.findall(r' from "(\..+?)";', FILES[name].decode()):
            path = (CONSOLE / name).parent / wanted
            assert path.resolve().relative_to(CONSOLE.resolve()).as_posix() in SCRIPTS, (name, wanted)
    views = set(re.findall(r'view: "(\w+)"', FILES["routes.js"].decode()))
    assert views == {Path(name).stem for name in SCRIPTS if Path(name).parent == Path("views")}


def test_what_the_door_looks_for_is_on_its_page() -> None:
    ids = {attributes.get("id") for _, attributes in Tags(FILES["check_in.html"].decode()).tags}
    wanted = set(re.findall(r'\bpart\("([\w-]+)"\)', FILES["check_in.js"].decode()))
    assert len(wanted) > 10
    assert wanted <= ids


def test_refusals_that_have_titles_are_reasons_of_the_api() -> None:
    (titles,) = re.findall(r"const REFUSALS = \{(.+?)\};", FILES["check_in.js"].decode())
    reasons = set(re.findall(r"(\w+):", titles))
    assert reasons
    assert reasons <= {each.value for each in QualityReason}
