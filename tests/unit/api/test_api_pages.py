"""Pages for people: served whole, by themselves, and closed to everything from elsewhere."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from serving.api.routes.pages import CONSOLE, KINDS
from serving.vision.quality_gates import QualityReason
from tests.unit.api.api_problems import check_problem
from tests.unit.api.conftest import Api

PAGE = "/check-in"
SCRIPTS = ["check_in.js", "check_in_calls.js", "check_in_camera.js", "check_in_drawing.js"]
FILES = [PAGE, *(f"/check-in/{name}" for name in ("check_in.css", *SCRIPTS))]
LIVE_SCRIPTS = ["live.js", "live_sound.js", "live_stream.js", "session.js"]
LIVE_FILES = ["/", *(f"/console/{name}" for name in ("live.css", *LIVE_SCRIPTS))]
PAGES = {"/": "live.html", PAGE: "check_in.html"}
DOCS = ["api_docs.html", "api_docs.js"]
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
    return Tags((CONSOLE / request.param).read_text())


@pytest.mark.parametrize("path", [*FILES, *LIVE_FILES])
async def test_every_part_is_served_without_a_token_and_guarded(api: Api, path: str) -> None:
    answer = await api.anonymous().get(path)
    name = PAGES.get(path) or path.rpartition("/")[2]
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
        "/check-in/check_in.html",
        "/check-in/../pages.py",
        "/console/live.html",
        "/console/check_in.js",
    ],
)
async def test_nothing_else_is_served(api: Api, path: str) -> None:
    answer = await api.anonymous().get(path, follow_redirects=True)
    assert answer.status_code in (200, 404)
    if answer.status_code == 200:
        assert answer.url.path == PAGE
    else:
        check_problem(answer, "not_found")


async def test_a_form_sent_without_the_script_gives_nothing_away(api: Api, page: Tags) -> None:
    forms = [attributes for tag, attributes in page.tags if tag == "form"]
    assert forms
    assert all(form.get("method") == "post" for form in forms)  # so that no password gets into an address
    check_problem(await api.anonymous().post(PAGE, data={"password": "x"}), "method_not_allowed")


def test_pages_are_no_part_of_the_interface(shared_app: Any) -> None:
    assert not any(path.startswith(PAGE) for path in shared_app.openapi()["paths"])


def test_nothing_comes_from_elsewhere_and_nothing_is_inline(page: Tags) -> None:
    assert page.inline == ""
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert name != "style", tag
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "href", "action"):
                assert value is not None
                assert re.fullmatch(
                    r"check-in/check_in\.(js|css)|console/live\.(js|css)|check-in|docs|data:,", value
                ), (tag, value)
    for name in ("check_in.css", "live.css", *SCRIPTS, *LIVE_SCRIPTS):
        text = (CONSOLE / name).read_text()
        assert not re.findall(r"(?:https?:)?//[a-z]", re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE))
    script = "".join((CONSOLE / name).read_text() for name in (*SCRIPTS, *LIVE_SCRIPTS))
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


def test_all_that_is_in_the_folder_is_served() -> None:
    live = {"live.css", *LIVE_SCRIPTS}
    served = {*PAGES.values(), "check_in.css", *SCRIPTS, *live, *DOCS}
    assert {each.name for each in CONSOLE.iterdir()} == served


def test_what_the_script_looks_for_is_on_the_page(page: Tags) -> None:
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    title = next(attributes for tag, attributes in page.tags if tag == "script")["src"]
    script = (CONSOLE / (title or "").rpartition("/")[2]).read_text()
    wanted = set(re.findall(r'\bpart\("([\w-]+)"\)', script))
    assert len(wanted) > 10
    assert wanted <= ids


def test_refusals_that_have_titles_are_reasons_of_the_api() -> None:
    (titles,) = re.findall(r"const REFUSALS = \{(.+?)\};", (CONSOLE / "check_in.js").read_text())
    reasons = set(re.findall(r"(\w+):", titles))
    assert reasons
    assert reasons <= {each.value for each in QualityReason}
