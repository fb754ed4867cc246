"""What the views of an event show, and their controls."""

from __future__ import annotations

import json

from tests.browser.chromium import Page


async def choose(page: Page, label: str, value: str) -> None:
    """Choose an option of a select by its value."""
    await page.evaluate(
        f"(() => {{ const e = [...document.querySelectorAll('label')]"
        f".find(l => l.innerText === {json.dumps(label)}).control;"
        f"e.value = {json.dumps(value)}; e.dispatchEvent(new Event('change', {{bubbles: true}})); }})()"
    )


async def texts(page: Page, selector: str) -> list[str]:
    found = await page.evaluate(
        f"[...document.querySelectorAll({json.dumps(selector)})].map(e => e.innerText.trim())"
    )
    return list(found)


async def tiles(page: Page) -> dict[str, str]:
    """The numbers in large type."""
    script = """Object.fromEntries([...document.querySelectorAll('.tile .value')]
      .filter(e => e.checkVisibility()).map(e => [e.dataset.count ?? e.dataset.estimate, e.innerText]))"""
    return dict(await page.evaluate(script))


async def facts(page: Page) -> dict[str, str]:
    script = """Object.fromEntries([...document.querySelectorAll('#facts dt')]
      .map(e => [e.innerText, e.nextElementSibling.innerText]))"""
    return dict(await page.evaluate(script))


async def is_wider_than_its_screen(page: Page) -> bool:
    return bool(await page.evaluate("document.documentElement.scrollWidth > innerWidth"))


async def set_slider(page: Page, cosine: float) -> None:
    await page.evaluate(
        "(() => { const e = document.getElementById('slider');"
        f"e.value = {cosine}; e.dispatchEvent(new Event('input')); }})()"
    )


async def press(page: Page, key: str, code: int) -> None:
    named = {"key": key, "code": key, "windowsVirtualKeyCode": code}
    await page.command("Input.dispatchKeyEvent", type="keyDown", **named)
    await page.command("Input.dispatchKeyEvent", type="keyUp", **named)
