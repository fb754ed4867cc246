"""The camera page in a real browser, before the real service: a film of the sample pictures is its camera."""

from __future__ import annotations

import base64
import itertools
import json
import uuid
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from loadtest.service import Service
from tests.browser.chromium import OpenPage, Page
from tests.browser.scenes import allow_camera
from tests.browser.visits import banner_is, check_page, sign_in

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def chromium(door_chromium: str) -> str:
    return door_chromium


@pytest_asyncio.fixture(loop_scope="module")
async def page(open_page: OpenPage, service: Service) -> AsyncIterator[Page]:
    page = await open_page()
    await allow_camera(page, service, "granted")
    yield page
    await page.command("Page.close")


async def sign_in_by_token(page: Page, service: Service, token: str) -> None:
    await sign_in(page, service, token, "/check-in")
    await page.wait_for("!document.getElementById('choose').hidden")


async def start_camera(page: Page, event: str, place: str = "") -> None:
    await page.evaluate(f"document.getElementById('event').value = {json.dumps(event)}")
    if place:
        await page.fill("textbox", "Place (may be left out)", place)
    await page.click("button", "Start the camera")


def pictures_sent(page: Page) -> list[tuple[float, float | None]]:
    """When each picture was sent and when its answer was there, in seconds."""
    ends = {
        event["params"]["requestId"]: event["params"]["timestamp"]
        for event in page.events
        if event["method"] in ("Network.loadingFinished", "Network.loadingFailed")
    }
    return [
        (event["params"]["timestamp"], ends.get(event["params"]["requestId"]))
        for event in page.events
        if event["method"] == "Network.requestWillBeSent"
        and event["params"]["request"]["method"] == "POST"
        and "/check-ins" in event["params"]["request"]["url"]
    ]


async def test_a_guest_arrives_and_a_stranger_does_not(
    page: Page, service: Service, client: httpx.Client, token: str, gala: str, tmp_path: Path
) -> None:
    await sign_in_by_token(page, service, token)
    await page.look(tmp_path / "choose-light.png")
    await start_camera(page, gala, "north door")

    await page.wait_for(banner_is("match"))
    assert await page.text_of("banner-title") == "A guest"
    assert await page.text_of("where") == "Winter gala · north door"
    await page.wait_for("document.getElementById('counter').innerText === '1 of 1 arrived'")
    await page.wait_for(
        "(() => { const c = document.getElementById('overlay');"
        "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        "for (let i = 0; i < d.length; i += 4) if (d[i] === 0x35 && d[i + 1] === 0xd0) return true; })()"
    )
    assert await page.text_of("last-hour") == "1 in the last hour"
    [arrival] = client.get(f"/v1/events/{gala}/check-ins").json()["check_ins"]
    assert (arrival["person_id"], arrival["place"], arrival["times"]) == ("guest", "north door", 1)
    moment = datetime.fromisoformat(arrival["first_at"].replace("Z", "+00:00"))
    shown = await page.evaluate("document.querySelector('#arrivals li').innerText")
    assert shown.split("\n")[0] == "A guest"
    assert shown.split("\n")[-1] == "north door"
    form = "{hour: '2-digit', minute: '2-digit'}"
    expected = await page.evaluate(f"new Date({moment.timestamp() * 1000}).toLocaleTimeString([], {form})")
    assert expected in shown
    await page.look(tmp_path / "guest-light.png")
    await page.look(tmp_path / "guest-phone.png", width=390, height=844, phone=True)

    await page.wait_for(banner_is("unknown"))
    assert await page.text_of("banner-title") == "Not recognised"
    await page.look(tmp_path / "stranger-dark.png", scheme="dark")
    assert await page.text_of("counter") == "1 of 1 arrived"

    sent = pictures_sent(page)
    assert len(sent) > 5
    assert sent[-1][0] - sent[0][0] > (len(sent) - 1) * 0.33  # at most three a second
    for (_, ended), (following, _) in itertools.pairwise(sent):
        assert ended is not None
        assert ended <= following  # never two in flight
    await check_page(page, service)

    await page.click("button", "Sign out")
    await page.wait_for("document.getElementById('video').srcObject === null")
    await page.find("button", "Sign in")


async def test_a_session_goes_on_until_it_is_ended(
    page: Page, service: Service, client: httpx.Client, gala: str, tmp_path: Path
) -> None:
    name, password = f"door-{uuid.uuid4().hex[:8]}", "a long enough passphrase"
    made = client.post(
        "/v1/accounts", json={"name": name, "password": password, "role": "member", "events": [gala]}
    )
    assert made.status_code == 201, made.text
    await page.open(f"{service.url}/check-in")
    await page.look(tmp_path / "sign-in-dark.png", scheme="dark")
    await page.fill("textbox", "Name", name)
    await page.fill("textbox", "Password", "not this one at all")
    await page.press_enter()
    await page.wait_for("document.getElementById('sign-in-form-problem').innerText.includes('do not belong')")
    await page.evaluate("document.querySelector('input[name=password]').value = ''")
    await page.fill("textbox", "Password", password)
    await page.press_enter()
    await page.wait_for("!document.getElementById('choose').hidden")
    await start_camera(page, gala)
    await page.wait_for(banner_is("match"))
    # A member may not see who else came: the door counts what it sees itself.
    assert await page.text_of("counter") == "1 seen at this door"

    expired = [{"responseCode": 401, "body": ""}]
    await page.intercept("*/check-ins?faces*", lambda _: expired.pop() if expired else None)
    await page.wait_for(
        "performance.getEntriesByType('resource').some(e => e.name.endsWith('/v1/auth/refresh'))"
    )
    answered = "performance.getEntriesByType('resource').filter(e => e.name.includes('check-ins?')).length"
    await page.wait_for(f"{answered} >= {await page.evaluate(answered) + 2}")
    assert await page.evaluate("document.getElementById('live').hidden") is False

    disabled = client.patch(f"/v1/accounts/{made.json()['id']}", json={"disabled": True})
    assert disabled.status_code == 200, disabled.text
    await page.wait_for("document.getElementById('sign-in-form-problem').innerText.includes('signed out')")
    assert await page.evaluate("document.getElementById('video').srcObject === null")


async def test_a_refused_camera_and_a_busy_service_are_said_so(
    page: Page, service: Service, token: str, gala: str, tmp_path: Path
) -> None:
    await sign_in_by_token(page, service, token)
    await allow_camera(page, service, "denied")
    await start_camera(page, gala)
    await page.wait_for("document.getElementById('camera-problem').innerText.includes('refused')")
    await page.look(tmp_path / "refused-phone-dark.png", width=390, height=844, phone=True, scheme="dark")
    await allow_camera(page, service, "granted")

    busy = {
        "responseCode": 503,
        "responseHeaders": [{"name": "Retry-After", "value": "2"}],
        "body": "",
    }
    left = [busy]
    await page.intercept("*/check-ins?faces*", lambda _: left.pop() if left else None)
    await page.click("button", "Try again")
    await page.wait_for(banner_is("trouble"))
    assert await page.text_of("banner-title") == "The service is busy"
    assert await page.text_of("banner-detail") == "Trying again in 2 s."
    await page.wait_for(banner_is("match"))
    (first, _), (second, _) = pictures_sent(page)[:2]
    assert second - first >= 2


@pytest.mark.parametrize(
    ("reason", "title"),
    [
        ("presentation_attack", "No live face"),
        ("liveness_unknown", "Not sure yet"),
        ("blurred", "Not clear enough"),
    ],
)
async def test_a_refused_face_is_told_why(
    page: Page, service: Service, token: str, gala: str, reason: str, title: str
) -> None:
    seen = {
        "at": "2026-01-01T00:00:00Z",
        "width": 640,
        "height": 480,
        "faces": [
            {
                "outcome": "refused",
                "person": None,
                "box": {"x": 100, "y": 100, "width": 200, "height": 200},
                "faults": [{"reason": reason, "value": 1, "limit": 0, "hint": "Please look up."}],
            }
        ],
    }
    answer = {
        "responseCode": 200,
        "responseHeaders": [{"name": "Content-Type", "value": "application/json"}],
        "body": base64.b64encode(json.dumps(seen).encode()).decode(),
    }
    await sign_in_by_token(page, service, token)
    await allow_camera(page, service, "granted")
    await page.intercept("*/check-ins?faces*", lambda _: answer)
    await start_camera(page, gala)
    await page.wait_for(banner_is("unclear"))
    assert await page.text_of("banner-title") == title
    assert await page.text_of("banner-detail") == "Please look up."
