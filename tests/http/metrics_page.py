"""`/metrics` of the real service."""

from __future__ import annotations

import time

import httpx

POLL_S = 0.2
"""Between two looks: without a pause they would use up what an identity may ask in a minute."""


def scrape(client: httpx.Client) -> str:
    answer = client.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain")
    return answer.text


def forget_answer(client: httpx.Client) -> None:
    """Return when the service puts a new answer together: it remembers each for a second."""
    old = scrape(client)
    while scrape(client) == old:
        time.sleep(POLL_S)
