"""The page of all routes in a real browser: its policy lets in all that it is made of."""

from __future__ import annotations

import pytest

from loadtest.service import Service
from tests.browser.chromium import OpenPage

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_every_route_is_on_the_page_and_nothing_of_it_is_blocked(
    open_page: OpenPage, service: Service
) -> None:
    page = await open_page()
    await page.open(f"{service.url}/docs")
    await page.wait_for("document.querySelectorAll('.opblock').length > 50")
    shown = await page.evaluate("document.body.innerText")
    assert page.complaints() == []
    for route in ("/v1/events/{event}/recognise", "/v1/auth/sign-in", "/healthz"):
        assert route in shown.replace("\u200b", "")
