"""What every answer tells a browser: keep no copy, sniff nothing, show it in no frame, stay with HTTPS."""

from __future__ import annotations

from collections.abc import Mapping

from serving.front.haproxy import ANSWER_HEADERS, HSTS
from serving.settings import WebSettings

API_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
"""Of whatever is no page: were it ever shown as one, nothing in it would run or load."""


def make_answer_headers(settings: WebSettings) -> Mapping[str, str]:
    """Names and values for every answer that does not say otherwise itself."""
    headers = {**ANSWER_HEADERS, "Content-Security-Policy": API_POLICY}
    if settings.is_https:
        headers["Strict-Transport-Security"] = HSTS
    return headers
