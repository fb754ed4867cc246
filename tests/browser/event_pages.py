"""What the views of an event show, and their controls."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx

from serving.packs.calibration import Calibration, Provenance
from tests.browser.chromium import Page

COUNTED_WITHIN_S = 60

ARITHMETIC = """(async (curve, cosines, asked) => {
  const rates = await import(new URL("console/charts/rates.js", document.baseURI));
  return {
    rates: cosines.map((cosine) => rates.rateAt(curve, cosine)),
    cosines: asked.map((rate) => rates.cosineFor(curve, rate)),
    shares: asked.map((rate) => [1, 100, 10000].map((n) => rates.shareOfStrangers(rate, n))),
  };
})(%s, %s, %s)"""
JUDGEMENTS = """(async (curve, scores, n, cosines) => {
  const module = new URL("console/charts/rates.js", document.baseURI);
  const { judgeThreshold, estimateStrangers } = await import(module);
  return [estimateStrangers(scores, curve, n), cosines.map((c) => judgeThreshold(scores, curve, n, c))];
})(%s, %s, %s, %s)"""


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


def wait_for_recognitions(client: httpx.Client, event: str, count: int) -> dict[str, Any]:
    """The statistics, once they have so many: they are written each second."""
    end = time.monotonic() + COUNTED_WITHIN_S
    while True:
        counted: dict[str, Any] = client.get(f"/v1/events/{event}/statistics").json()
        if counted["recognitions"] >= count:
            return counted
        assert time.monotonic() < end, counted
        time.sleep(0.1)


def calibrate(told: list[dict[str, float]]) -> Calibration:
    """The service's own reading of a curve that `GET /v1/model` tells."""
    cosines, rates = (tuple(point[key] for point in told) for key in ("threshold", "false_match_rate"))
    return Calibration("told", cosines, rates, cosines[-1], {}, {}, Provenance("", 0, 0, 0, 0, ""))


async def read_table(page: Page) -> list[list[str]]:
    """The histogram in numbers: cosines, matches, unknown."""
    rows = "[...document.querySelectorAll('.histogram tbody tr')]"
    return list(await page.evaluate(f"{rows}.map(row => [...row.cells].map(cell => cell.textContent))"))


async def measure_bars(page: Page, kind: str) -> list[float]:
    """Their heights, from the left."""
    bars = f"[...document.querySelectorAll('.plot rect.{kind}')]"
    return list(await page.evaluate(f"{bars}.map(bar => bar.height.baseVal.value)"))


async def place_bars(page: Page) -> list[tuple[float, float]]:
    """From and to where each step with a bar goes; between two bars is a gap."""
    script = """[...document.querySelectorAll('.plot rect.match, .plot rect.unknown')]
      .map(({x, width}) => [x.baseVal.value - 1, x.baseVal.value + width.baseVal.value + 1])"""
    return [(start, end) for start, end in await page.evaluate(script)]


async def place_threshold(page: Page) -> float:
    """Where its line is."""
    line = "document.querySelector('.plot .threshold.decides').getAttribute('d')"
    return float(await page.evaluate(f"{line}.match(/M([\\d.]+)/)[1]"))
