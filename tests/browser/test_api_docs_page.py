"""The page of all routes in a real browser: its policy lets in all that it is made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtest.service import Service
from tests.browser.chromium import find_chromium, open_browser

CHROMIUM = find_chromium()


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
async def test_every_route_is_on_the_page_and_nothing_of_it_is_blocked(
    service: Service, tmp_path: Path
) -> None:
    assert CHROMIUM is not None
    async with open_browser(CHROMIUM, tmp_path) as open_page:
        page = await open_page()
        await page.open(f"{service.url}/docs")
        await page.wait_for("document.querySelectorAll('.opblock').length > 50")
        shown = await page.evaluate("document.body.innerText")
        assert page.complaints() == []
    for route in ("/v1/events/{event}/recognise", "/v1/auth/sign-in", "/healthz"):
        assert route in shown.replace("\u200b", "")
