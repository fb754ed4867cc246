"""Events in the console, before the real service: made, changed, counted, explored, closed and deleted."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import pytest_asyncio

from loadtest.service import Service
from serving.registry.statistics import BIN_WIDTH, bin_of
from tests.browser.chromium import OpenPage, Page
from tests.browser.event_pages import (
    ARITHMETIC,
    JUDGEMENTS,
    calibrate,
    choose,
    facts,
    is_wider_than_its_screen,
    measure_bars,
    place_bars,
    place_threshold,
    press,
    read_table,
    set_slider,
    texts,
    tiles,
    wait_for_recognitions,
)
from tests.browser.visits import check_page, go_to, sign_in, wait_for_view

SOON = 0.15
"""Until a histogram is drawn for another width."""
PHONE: dict[str, Any] = {"width": 390, "height": 844, "phone": True, "settle_s": SOON}
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page(
    open_page: OpenPage,
    service: Service,
    client: httpx.Client,
    token: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Page]:
    """Signed in as the administrator, at the list of events."""
    page = await open_page()
    await page.look(tmp_path_factory.mktemp("first") / "nothing.png", settle_s=SOON)
    await sign_in(page, service, token)
    yield page
    client.delete("/v1/events/console-fair")  # where a test has failed before its end


async def test_an_event_is_made_and_changed(
    page: Page, service: Service, client: httpx.Client, tmp_path: Path
) -> None:
    await page.wait_for("document.querySelector('#events tbody tr, #create:not([hidden])') !== null")
    if await page.evaluate("document.getElementById('create').hidden"):  # shown where there is none yet
        await page.click("button", "Create an event")
    assert await page.evaluate("document.activeElement.name") == "name"
    await page.command("Input.insertText", text="Spring fair")
    await page.fill("textbox", "Id (made for you when left out)", "console-fair")
    await page.evaluate("document.querySelector('#create details').open = true")
    await choose(page, "How readily a face is a match", "strict")
    await choose(page, "Reference to a consent at enrolment", "yes")
    await page.fill("spinbutton", "Days until people are erased", "30")
    await page.look(tmp_path / "create-light.png", settle_s=SOON)
    await page.look(tmp_path / "create-phone.png", **PHONE)
    assert not await is_wider_than_its_screen(page)
    await page.click("button", "Create")
    await page.wait_for("document.getElementById('where').innerText === 'Spring fair'")
    made = client.get("/v1/events/console-fair").json()
    assert made["policy"]["strictness"] == "strict"
    assert (made["consent_required"], made["retention_days"]) == (True, 30)
    assert (made["quality_level"], made["liveness"], made["request_policy"]) == (None, None, "stricter")

    await wait_for_view(page)
    shown = await facts(page)
    assert shown["Policy"] == "Strict: 1 in 10,000"
    assert shown["A match from"] == f"cosine {made['decision_threshold']:.4f}".removesuffix("0")
    assert shown["People are erased"] == "after 30 days without change"
    assert await tiles(page) == {"people": "0", "faces": "0", "arrived": "0", "hour": "0"}
    assert await page.evaluate("document.querySelector('.overview a.button').hash") == (
        "#/events/console-fair/enrol"
    )
    await page.look(tmp_path / "empty-light.png", settle_s=SOON)

    # Only what is changed is sent; what is left out stays.
    await page.evaluate("document.getElementById('change').open = true")
    await choose(page, "How readily a face is a match", "rate")
    field = "One in so many comparisons"
    await page.evaluate(
        f"[...document.querySelectorAll('label')].find(l => l.innerText === '{field}').control.select()"
    )
    await page.fill("spinbutton", field, "500")
    await choose(page, "Reference to a consent at enrolment", "")
    await page.look(tmp_path / "change-dark.png", scheme="dark", height=1200, settle_s=SOON)
    await page.click("button", "Save")
    await page.wait_for("document.getElementById('notice').innerText.startsWith('Saved')")
    await wait_for_view(page)
    changed = client.get("/v1/events/console-fair").json()
    assert changed["policy"] == {"threshold": None, "false_match_rate": 0.002, "strictness": None}
    assert (changed["consent_required"], changed["retention_days"]) == (False, 30)
    assert (await facts(page))["False match rate"] == "1 in 500 comparisons"
    # Back to the default.
    await page.evaluate("document.getElementById('change').open = true")
    await choose(page, "How readily a face is a match", "")
    await page.click("button", "Save")
    await page.wait_for("document.querySelector('#facts dd')?.innerText === 'As the service is set'")
    assert client.get("/v1/events/console-fair").json()["policy"] is None
    await check_page(page, service)

    # An id that is taken is refused in words, where it was written.
    await go_to(page, "#/events")
    await page.click("button", "Create an event")
    await page.fill("textbox", "Id (made for you when left out)", "console-fair")
    await page.click("button", "Create")
    await page.wait_for("document.getElementById('create-event-problem').innerText")
    assert "exists already" in await page.text_of("create-event-problem")
    assert await page.evaluate("document.activeElement.name") == "id"
    page.events.clear()  # the browser takes the refusal for an error


async def test_what_became_of_the_faces_is_counted_and_drawn(
    page: Page, service: Service, client: httpx.Client, samples: dict[str, Path], tmp_path: Path
) -> None:
    guest = {"picture": samples["guest"].read_bytes()}
    enrolled = client.post("/v1/events/console-fair/people", data={"person_id": "guest"}, files=guest)
    assert enrolled.status_code == 201, enrolled.text
    for name in ("guest", "group", "portrait"):
        sent = client.post("/v1/events/console-fair/recognise", files={"picture": samples[name].read_bytes()})
        assert sent.status_code == 200, sent.text
    assert client.post("/v1/events/console-fair/check-ins", files=guest).status_code == 200
    counted = wait_for_recognitions(client, "console-fair", 4)
    await go_to(page, "#/events/console-fair")
    expected = {key: str(counted[key]) for key in ("recognitions", "recognised_faces", "matches", "unknowns")}
    expected |= {"people": "1", "faces": "1", "arrived": "1", "hour": "1", "refusals": "0", "spoofs": "0"}
    assert await tiles(page) == expected
    assert int(expected["matches"]) >= 3
    assert int(expected["unknowns"]) >= 5

    assert await read_table(page) == [
        [f"{bin['from']:.2f} to {bin['to']:.2f}", str(bin["matches"]), str(bin["unknowns"])]
        for bin in counted["scores"]
    ]
    # The bars: as high as the numbers say, and each at its place; the threshold between the right ones.
    heights = {kind: await measure_bars(page, kind) for kind in ("match", "unknown")}
    unit = sum(map(sum, heights.values())) / sum(
        bin["matches"] + bin["unknowns"] for bin in counted["scores"]
    )
    for kind, key in (("match", "matches"), ("unknown", "unknowns")):
        drawn = [height / unit for height in heights[kind]]
        assert drawn == pytest.approx([bin[key] for bin in counted["scores"] if bin[key]])
    spans, line = await place_bars(page), await place_threshold(page)
    low, high = counted["scores"][0], counted["scores"][-1]
    pixels = (max(end for _, end in spans) - min(start for start, _ in spans)) / (high["to"] - low["from"])
    threshold = client.get("/v1/events/console-fair").json()["decision_threshold"]
    place = min(start for start, _ in spans) + (threshold - low["from"]) * pixels
    assert line == pytest.approx(place, abs=0.5)
    label = await page.evaluate("document.querySelector('.plot svg').ariaLabel")
    assert f"{expected['matches']} matches, {expected['unknowns']} unknown" in label
    await page.look(tmp_path / "overview-light.png", height=1400, settle_s=SOON)
    await page.look(tmp_path / "overview-dark.png", scheme="dark", height=1400, settle_s=SOON)
    await page.look(tmp_path / "overview-phone.png", **{**PHONE, "height": 2200})
    assert not await is_wider_than_its_screen(page)
    await check_page(page, service)


async def test_the_arithmetic_is_that_of_the_service(page: Page, client: httpx.Client) -> None:
    told = client.get("/v1/model").json()["calibration"]
    curve = calibrate(told)
    cosines = [*np.linspace(curve.cosines[0], curve.cosines[-1], 50)]
    asked = [*np.geomspace(curve.rates[0], curve.floor * 1.000001, 30)]
    outside = [curve.cosines[0] - 0.01, curve.cosines[-1] + 0.001]
    script = ARITHMETIC % tuple(json.dumps(each) for each in (told, [*cosines, *outside], asked))
    answer = await page.evaluate(script)
    within, beyond = answer["rates"][:-2], answer["rates"][-2:]
    assert {each["told"] for each in within} == {"exactly"}
    expected = [curve.false_match_rate(cosine) for cosine in cosines]
    assert [each["rate"] for each in within] == pytest.approx(expected, rel=1e-9)
    assert beyond == [
        {"rate": curve.rates[0], "told": "above"},
        {"rate": curve.floor, "told": "below"},
    ]
    assert answer["cosines"] == pytest.approx([curve.threshold_for(rate) for rate in asked], abs=1e-9)
    shares = [[1 - (1 - rate) ** n for n in (1, 100, 10_000)] for rate in asked]
    assert np.array(answer["shares"]) == pytest.approx(np.array(shares), rel=1e-6)


@pytest.mark.parametrize(("strangers", "enrolled"), [(1500, 500), (50, 1950), (2000, 0)])
async def test_who_is_turned_away_lies_within_what_is_estimated(
    page: Page, client: httpx.Client, strangers: int, enrolled: int
) -> None:
    """Faces of which it is known who they are: strangers as the calibration has them, others above."""
    told = client.get("/v1/model").json()["calibration"]
    curve, size = calibrate(told), 200
    random = np.random.default_rng(11)
    # The best of `size` strangers' scores: its rate r has 1 - (1 - r) ^ size evenly spread.
    rates = -np.expm1(np.log1p(-random.uniform(size=strangers)) / size)
    best = [curve.threshold_for(max(rate, curve.floor)) for rate in rates]
    own = np.minimum(random.normal(0.955, 0.02, enrolled), 0.999)
    edges = [bin_of(score) for score in [*best, *own]]
    scores = [
        {
            "from": round(-1 + place * BIN_WIDTH, 2),
            "to": round(-1 + (place + 1) * BIN_WIDTH, 2),
            "matches": 0,
            "unknowns": edges.count(place),
        }
        for place in sorted(set(edges))
    ]
    cosines = [0.9, 0.92, 0.94, 0.96]
    estimate, judged = await page.evaluate(
        JUDGEMENTS % tuple(json.dumps(each) for each in (told, scores, size, cosines))
    )
    noise = 3 * np.sqrt(strangers + 1)
    assert estimate["count"] >= strangers - noise
    assert estimate["count"] <= strangers + 0.2 * enrolled + noise
    for cosine, each in zip(cosines, judged, strict=True):
        turned_away = sum(score < cosine - 1e-6 for score in own)
        unknowns = turned_away + sum(score < cosine - 1e-6 for score in best)
        assert each["unknowns"] == [unknowns, unknowns]
        least, most = each["turnedAway"]
        assert least - noise <= turned_away <= most
        assert least == 0 or cosine >= estimate["from"]
        if enrolled > strangers:
            assert least == pytest.approx(turned_away, abs=0.1 * enrolled)  # and is no empty word


async def test_a_threshold_is_explored_and_saved(
    page: Page, service: Service, client: httpx.Client, tmp_path: Path
) -> None:
    event = "console-fair"
    curve = calibrate(client.get("/v1/model").json()["calibration"])
    counted = client.get(f"/v1/events/{event}/statistics").json()
    total = sum(bin["matches"] + bin["unknowns"] for bin in counted["scores"])
    await go_to(page, f"#/events/{event}/thresholds")
    assert (await page.text_of("change")).startswith("The event decides by this already")

    await set_slider(page, 0.94)
    unknown = sum(bin["matches"] + bin["unknowns"] for bin in counted["scores"] if bin["to"] <= 0.94)
    shown = await tiles(page)
    rate = curve.false_match_rate(0.94)
    assert shown["rate"] == f"1 in {float(f'{1 / rate:.3g}'):,.0f}"
    assert float(shown["stranger"].rstrip("%")) / 100 == pytest.approx(
        rate, rel=0.05
    )  # one face: one comparison
    assert shown["seen"] == f"{total - unknown} match"
    words = " ".join(await texts(page, ".tiles .hint"))
    assert f"{unknown} of {total} unknown" in words
    assert "estimate" in words
    # With as many as are planned for.
    await page.evaluate("document.getElementById('faces').select()")
    await page.fill("spinbutton", "Faces enrolled", "1000")
    share = float((await tiles(page))["stranger"].rstrip("%")) / 100
    assert share == pytest.approx(1 - (1 - rate) ** 1000, rel=0.05)
    # Within a step the histogram cannot tell; beyond the curve the calibration cannot.
    edge = next(bin for bin in counted["scores"] if bin["from"] > 0.5)
    await set_slider(page, round((edge["from"] + edge["to"]) / 2, 3))
    held = edge["matches"] + edge["unknowns"]
    below = sum(bin["matches"] + bin["unknowns"] for bin in counted["scores"] if bin["to"] <= edge["from"])
    assert (await tiles(page))["seen"] == f"{total - below - held} to {total - below} match"
    await set_slider(page, 0.98)
    shown = await tiles(page)
    assert shown["rate"] == f"under 1 in {float(f'{1 / curve.floor:.3g}'):,.0f}"
    assert shown["stranger"].startswith("under ")
    assert "Below what the calibration can tell." in await texts(page, ".tiles .hint")
    # By keyboard, and each control follows the other.
    await page.evaluate("document.getElementById('slider').focus()")
    await press(page, "ArrowLeft", 37)
    assert await page.evaluate("document.getElementById('cosine').value") == "0.979"
    await page.click("button", "Strict: 1 in 10,000")
    strict = round(curve.threshold_for(1e-4), 5)
    assert float(await page.evaluate("document.getElementById('cosine').value")) == strict
    for name, look in {
        "light": {"height": 1300, "settle_s": SOON},
        "dark": {"height": 1300, "scheme": "dark", "settle_s": SOON},
        "phone": {**PHONE, "height": 2200},
    }.items():
        await page.look(tmp_path / f"thresholds-{name}.png", **look)  # type: ignore[arg-type]
        assert not await is_wider_than_its_screen(page)
    await page.look(tmp_path / "again.png", settle_s=SOON)

    await page.click("button", "Save as the event's policy")
    words = await page.evaluate("document.querySelector('dialog p').innerText")
    assert f"cosine {strict:.4f}".removesuffix("0") in words
    assert "1 in 10,000" in words
    await page.look(tmp_path / "confirm-light.png", settle_s=SOON)
    await page.click("button", "Cancel")
    assert client.get(f"/v1/events/{event}").json()["policy"] is None
    await page.click("button", "Save as the event's policy")
    await page.click("button", "Change it")
    await page.wait_for("document.getElementById('notice').innerText.startsWith('Saved')")
    saved = client.get(f"/v1/events/{event}").json()
    assert (saved["policy"]["threshold"], saved["decision_threshold"]) == (strict, strict)
    assert (await page.text_of("change")).startswith("The event decides by this already")
    await check_page(page, service)


async def test_who_may_less_sees_less(page: Page, service: Service, client: httpx.Client) -> None:
    event = "console-fair"
    asked = {"name": "door", "scopes": ["recognise"], "events": [event]}
    key = client.post("/v1/api-keys", json=asked).json()
    await sign_in(page, service, key["key"])
    await page.wait_for("document.querySelector('#events tbody tr') !== null")
    assert await texts(page, "#events tbody a") == ["Spring fair"]
    assert await texts(page, "#view button") == ["Show more"]  # and it is hidden, as all is shown
    assert not await page.evaluate("document.querySelector('#view .buttons button').checkVisibility()")
    await go_to(page, f"#/events/{event}")
    await page.wait_for("document.getElementById('since').innerText !== ''")
    assert "Scores are shown to those who may see who is enrolled" in await page.text_of("since")
    assert not {"arrived", "hour"} & set(await tiles(page))
    assert await texts(page, "#change, #view button") == []
    await go_to(page, f"#/events/{event}/thresholds")
    assert set(await tiles(page)) == {"rate", "stranger"}
    assert await page.evaluate("document.getElementById('save') === null")
    await check_page(page, service)
    assert client.delete(f"/v1/api-keys/{key['id']}").status_code == 204


async def test_many_events_come_page_by_page(
    page: Page, service: Service, client: httpx.Client, token: str
) -> None:
    def answer(paused: dict[str, Any]) -> dict[str, Any]:
        """The service's own answer, of one event a page."""
        query = {**httpx.URL(paused["request"]["url"]).params, "limit": "1"}
        body = client.get("/v1/events", params=query).content
        headers = [{"name": "Content-Type", "value": "application/json"}]
        return {"responseCode": 200, "responseHeaders": headers, "body": base64.b64encode(body).decode()}

    others = [client.post("/v1/events", json={"id": f"console-fair-{place}"}) for place in range(2)]
    await page.intercept("*/v1/events?*", answer)
    await sign_in(page, service, token)
    seen = 1
    while not any(each.endswith("console-fair-1") for each in await texts(page, "#events a")):
        await page.wait_for(f"document.querySelectorAll('#events tbody tr').length === {seen}")
        await page.click("button", "Show more")
        seen += 1
        await page.wait_for(f"document.querySelectorAll('#events tbody tr').length === {seen}")
        assert await page.evaluate("document.activeElement.closest('tr').rowIndex") == seen
    shown = await page.evaluate(
        "[...document.querySelectorAll('#events tbody tr')].map(r => r.dataset.event)"
    )
    assert shown == sorted(set(shown))
    assert {"console-fair", "console-fair-0", "console-fair-1"} <= set(shown)
    await page.command("Fetch.disable")
    for other in others:
        client.delete(f"/v1/events/{other.json()['id']}")


async def test_it_is_closed_reopened_listed_and_deleted(
    page: Page, service: Service, client: httpx.Client, tmp_path: Path
) -> None:
    event = "console-fair"
    await go_to(page, f"#/events/{event}")
    await page.click("button", "Close the event")
    await page.click("button", "Close it")
    await page.wait_for("document.getElementById('where').innerText === 'Spring fair (closed)'")
    assert client.get(f"/v1/events/{event}").json()["closed_at"] is not None
    row = f"#events tr[data-event={event}]"
    await go_to(page, "#/events?closed=true")
    await page.wait_for(f"document.querySelector('{row}') !== null")
    assert (await texts(page, f"{row} td"))[:4] == ["Spring fair\nconsole-fair", "1", "1", "■ Closed"]
    await page.look(tmp_path / "events-light.png", settle_s=SOON)
    await page.look(tmp_path / "events-dark-phone.png", scheme="dark", **PHONE)
    assert not await is_wider_than_its_screen(page)
    await page.look(tmp_path / "again.png", settle_s=SOON)
    await choose(page, "Show", "false")
    await page.wait_for(f"!document.querySelector('{row}')")

    await go_to(page, f"#/events/{event}")
    await page.click("button", "Reopen the event")
    await page.wait_for("document.getElementById('where').innerText === 'Spring fair'")
    assert client.get(f"/v1/events/{event}").json()["closed_at"] is None
    await wait_for_view(page)

    await page.click("button", "Delete the event")
    await page.wait_for("document.querySelector('dialog') !== null")
    await page.fill("textbox", f"Type {event} to go on", "console")
    await page.click("button", "Delete for good")
    assert await page.evaluate("document.querySelector('dialog').open")  # not what was to be typed
    assert client.get(f"/v1/events/{event}").status_code == 200
    await page.fill("textbox", f"Type {event} to go on", "-fair")
    await page.look(tmp_path / "delete-light.png", settle_s=SOON)
    await page.click("button", "Delete for good")
    await page.wait_for("document.getElementById('notice').innerText.includes('is deleted')")
    await wait_for_view(page)
    assert await page.evaluate("location.hash") == "#/events"
    assert client.get(f"/v1/events/{event}").status_code == 404
    assert await page.evaluate(f"document.querySelector('{row}')") is None
    await check_page(page, service)
