"""Views of an event when answers are lost, late or refused, or somebody else was quicker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from loadtest.service import Service
from tests.browser.chromium import OpenPage, Page
from tests.browser.people_pages import HOLD, NAMES, fill_event, reach, text, wait_until_judged
from tests.browser.visits import go_to, sign_in, wait_for_view

pytestmark = pytest.mark.asyncio(loop_scope="module")
BUSY = {"responseCode": 503}
HURRY = "(() => { const real = setInterval; window.setInterval = (work, ms) => real(work, ms / 50); })()"
"""What the page does every ten seconds it now does five times in one."""
MANY = 60
"""People: more than one page of the list."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page(open_page: OpenPage, service: Service, token: str) -> Page:
    """Signed in as the administrator, at the list of events."""
    page = await open_page()
    await sign_in(page, service, token)
    await wait_for_view(page)
    return page


async def test_an_event_whose_answer_was_lost_is_made_once(page: Page, client: httpx.Client) -> None:
    made: list[str] = []

    def lose_first(paused: dict[str, Any]) -> dict[str, Any] | None:
        """The service does it, and something before it says that it took too long."""
        asked = paused["request"]
        if asked["method"] != "POST" or made:
            return None
        key = asked["headers"]["Idempotency-Key"]
        answer = client.post(
            "/v1/events", json=json.loads(asked["postData"]), headers={"Idempotency-Key": key}
        )
        made.append(answer.json()["id"])
        return {"responseCode": 504}

    await page.wait_for("document.querySelector('#events tbody tr, #create:not([hidden])') !== null")
    if await page.evaluate("document.getElementById('create').hidden"):  # shown where there is none yet
        await page.click("button", "Create an event")
    await page.fill("textbox", "Name", "Once fair")
    await page.intercept("*/v1/events", lose_first)
    await page.click("button", "Create")
    await page.wait_for("document.getElementById('create-event-problem').innerText !== ''")
    await page.click("button", "Create")
    await page.wait_for("document.getElementById('where').innerText === 'Once fair'")
    await page.command("Fetch.disable")
    assert [await page.evaluate("location.hash")] == [f"#/events/{event}" for event in made]

    # Somebody deletes it while it is looked at: nothing of it is shown any longer.
    await page.evaluate(HURRY)
    await go_to(page, "#/events")
    await go_to(page, f"#/events/{made[0]}")
    await reach(page, "Once fair")
    assert client.delete(f"/v1/events/{made[0]}").status_code == 204
    await reach(page, "This cannot be shown")
    assert "There is no such event" in await text(page)
    assert await page.evaluate("document.getElementById('event-pages').hidden")


async def test_an_id_is_not_taken_because_it_could_not_be_looked_up(
    page: Page, client: httpx.Client, samples: dict[str, Path]
) -> None:
    event = client.post("/v1/events", json={"name": "Busy fair"}).json()["id"]
    guest = {"picture": samples["guest"].read_bytes()}
    asked = {"person_id": "ann", "name": "Ann"}
    assert client.post(f"/v1/events/{event}/people", data=asked, files=guest).status_code == 201
    await go_to(page, f"#/events/{event}/enrol")
    await reach(page, "Enrol a person")
    await page.fill("textbox", "Name", "Bob")
    await page.fill("textbox", "Id", "ann")
    await page.choose_files("Pictures from files", samples["guest"])
    assert await wait_until_judged(page, 1) == ["good"]
    busy = iter([BUSY])
    await page.intercept("*/people/ann", lambda _: next(busy, None))
    await page.click("button", "Save")
    await page.wait_for("document.getElementById('enrolment-problem').innerText !== ''")
    await page.click("button", "Save")
    await page.wait_for(
        "document.querySelector('.choice-of-person').innerText.includes('Ann has the id ann')"
    )
    await page.command("Fetch.disable")
    person = client.get(f"/v1/events/{event}/people/ann").json()
    assert (person["name"], len(person["face_ids"])) == ("Ann", 1)

    await page.click("button", "Remove picture 1")
    assert await page.evaluate("document.activeElement.innerText") == "Use the camera"
    await go_to(page, f"#/events/{event}/enrol?person=..")
    await reach(page, "This cannot be shown")


async def test_a_list_of_people_is_that_of_one_search(page: Page, client: httpx.Client) -> None:
    event = client.post("/v1/events", json={"name": "Long fair"}).json()["id"]
    fill_event(client, event, MANY)
    await go_to(page, f"#/events/{event}/people")
    await reach(page, "People")
    # A search that fails leaves the list, with its own further pages, as it was.
    await page.intercept("*/people?name=*", lambda _: BUSY)
    await page.fill("searchbox", "Find by name", "SON 4")
    await page.press_enter()
    await page.wait_for("document.querySelector('form[role=search] .problem').innerText !== ''")
    await page.command("Fetch.disable")
    assert await page.evaluate("location.hash") == f"#/events/{event}/people"
    await page.click("button", "Show more")
    await page.wait_for(f"{NAMES}.length === {MANY}")
    assert await page.evaluate("document.querySelector('caption').innerText") == f"{MANY} people"

    # A further page that comes late is not added to what was found meanwhile.
    await go_to(page, f"#/events/{event}")
    await reach(page, "Long fair")
    await go_to(page, f"#/events/{event}/people")
    await reach(page, "People")
    await page.evaluate(HOLD % json.dumps("GET .*cursor="))
    await page.click("button", "Show more")
    await page.wait_for("window.release !== undefined")
    await page.fill("searchbox", "Find by name", "SON 4")
    await page.press_enter()
    await page.wait_for(f"{NAMES}.length === 11")
    await page.evaluate("window.release()")
    await page.wait_for("[...document.querySelectorAll('#view button')].every(each => !each.disabled)")
    assert len(await page.evaluate(NAMES)) == 11
    assert "Person 4" in await page.evaluate(NAMES)
