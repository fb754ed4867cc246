"""What every test of a page does: come in, look around, and see that nothing was asked of anybody else."""

from __future__ import annotations

import json
from typing import Any

from loadtest.service import Service
from tests.browser.chromium import Page

UNNAMED = """[...document.querySelectorAll("button, input, select, textarea, a[href], summary")]
  .filter((each) => each.checkVisibility()
    && !each.labels?.length && !each.ariaLabel
    && !each.ariaLabelledByElements?.length && !each.innerText.trim())
  .map((each) => each.outerHTML)"""


async def sign_in(page: Page, service: Service, token: str, path: str = "/") -> None:
    """Open a page and come in with a token, which then is nowhere to be seen.

    Args:
        path: `/check-in`, or a view of the console: `/#/events/gala/people`.
    """
    await page.open(f"{service.url}{path}")
    await page.click("radio", "Token or API key")
    await page.fill("textbox", "Token or API key", token)
    await page.click("button", "Sign in")
    await page.wait_for("document.getElementById('sign-in').hidden")
    assert token not in await page.evaluate(
        "[...document.querySelectorAll('input')].map(e => e.value).join()"
    )


async def go_to(page: Page, path: str) -> None:
    """Another view of the console, where somebody has signed in: `#/events/gala/people`."""
    await page.evaluate(f"location.hash = {json.dumps(path)}")
    await wait_for_view(page)


async def wait_for_view(page: Page) -> None:
    """Until the view is there with all that it loads first."""
    await page.wait_for(
        "document.querySelector('#view > .view > *') && !document.getElementById('view').ariaBusy"
    )


def banner_is(kind: str) -> str:
    """JavaScript: whether the banner of a camera says so."""
    return f"document.getElementById('banner')?.dataset.kind === '{kind}'"


def list_urls_elsewhere(page: Page, service: Service) -> list[str]:
    """What the page asked of anybody but the service."""
    asked = (
        event["params"]["request"]["url"]
        for event in page.events
        if event["method"] == "Network.requestWillBeSent"
    )
    return [url for url in asked if not url.startswith((f"{service.url}/", "data:", "blob:", "about:"))]


async def check_page(page: Page, service: Service) -> None:
    """Nothing was asked of others, no script failed, and every control has a name that can be read out."""
    assert list_urls_elsewhere(page, service) == []
    assert page.complaints() == []
    unnamed: list[Any] = await page.evaluate(UNNAMED)
    assert unnamed == []
