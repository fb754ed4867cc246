"""Long lists of the operators' views: pages that come late, fail, or hold nothing to show.

The browser answers in the service's place here, so that an answer comes when the test lets it."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_asyncio

from loadtest.service import Service
from tests.browser.chromium import OpenPage, Page
from tests.browser.visits import go_to, sign_in, wait_for_view

pytestmark = pytest.mark.asyncio(loop_scope="module")
ANSWERS = """(() => {
  const ask = window.fetch;
  const entry = (action, id) => ({
    id: `${id}`, at: "2026-01-01T00:00:00Z", actor: "tester", actor_kind: "account", action, outcome: "ok",
    event_id: null, person_id: null, status: 200,
  });
  const key = (id, year) => ({
    id: `${id}`, name: `key ${id}`, account: "tester", scopes: ["read"], all_events: true, events: null,
    created_at: `${year}-01-01T00:00:00Z`, expires_at: `${year + 1}-01-01T00:00:00Z`,
    last_used_at: null, revoked_at: null,
  });
  const many = (count, make) => Array.from({ length: count }, (_, id) => make(id));
  window.held = { isBusy: false, pages: [] };
  window.fetch = async (url, options) => {
    const { pathname, searchParams } = new URL(url);
    const isLater = searchParams.has("cursor");
    const next_cursor = isLater ? null : "more";
    if (pathname.endsWith("/v1/audit")) {
      if (held.isBusy) return new Response("{}", { status: 503 });
      if (isLater) await new Promise((go) => held.pages.push(go));
      return Response.json({ entries: many(50, (id) => entry(searchParams.get("action"), id)), next_cursor });
    }
    if (pathname.endsWith("/v1/api-keys")) {
      const keys = isLater ? [key("x", 2998)] : many(200, (id) => key(id, 2020));
      return Response.json({ api_keys: keys, next_cursor });
    }
    return ask(url, options);
  };
})()"""
"""In place of the trail: pages of whichever action is asked for, the later ones held back until `held.pages`
are called. In place of the keys: first 200 that have expired, then a good one."""
ACTIONS = "[...document.querySelectorAll('#audit tbody tr')].map((row) => row.cells[2].innerText.trim())"
HAS_SETTLED = "[...document.querySelectorAll('#view button')].every((each) => !each.disabled)"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page(open_page: OpenPage, service: Service, token: str) -> Page:
    page = await open_page()
    await sign_in(page, service, token)
    await wait_for_view(page)
    await page.evaluate(ANSWERS)
    return page


async def count_actions(page: Page) -> dict[str, int]:
    shown: list[Any] = await page.evaluate(ACTIONS)
    return {action: shown.count(action) for action in set(shown)}


async def test_two_filters_never_share_a_list(page: Page) -> None:
    await go_to(page, "#/audit?action=people.enrol")
    await page.evaluate("document.querySelector('#audit-filters [name=action]').value = 'people.delete'")
    await page.evaluate("held.isBusy = true")
    await page.click("button", "Filter")
    await page.wait_for("document.getElementById('audit-filters-problem').innerText !== ''")
    await page.evaluate("held.isBusy = false")
    await page.click("button", "Show more")  # of what is still shown
    await page.wait_for("held.pages.length === 1")
    await page.evaluate("held.pages[0]()")
    await page.wait_for(f"({ACTIONS}).length === 100")
    assert await count_actions(page) == {"people.enrol": 100}
    assert await page.evaluate("location.hash") == "#/audit?action=people.enrol"

    await go_to(page, "#/events")
    await go_to(page, "#/audit?action=people.enrol")
    await page.click("button", "Show more")
    await page.wait_for("held.pages.length === 2")
    await page.evaluate("document.querySelector('#audit-filters [name=action]').value = 'people.delete'")
    await page.click("button", "Filter")
    await page.wait_for("location.hash === '#/audit?action=people.delete'")
    await page.evaluate("held.pages[1]()")  # what was asked of the list before
    await page.wait_for(HAS_SETTLED)
    assert await count_actions(page) == {"people.delete": 50}


async def test_keys_that_ended_do_not_hide_that_there_are_more(page: Page) -> None:
    hint = "document.querySelector('#view .beside > section > p.hint').innerText"
    await go_to(page, "#/api-keys")
    assert await page.evaluate(hint) == (
        "None is good any more, of the 200 keys that were looked through. There are more."
    )
    await page.click("button", "Show more")
    await page.wait_for("document.querySelectorAll('#api-keys tbody tr').length === 1")
    assert await page.evaluate(hint) == ""
    await page.click("checkbox", "Show also keys that are revoked or expired")
    first = await page.evaluate("document.querySelector('#api-keys tbody tr').innerText")
    assert "key x" in first  # the latest, though it came last
