"""What becomes of tokens when the clock jumps, by the clock's seam in `serving.accounts.tokens`."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from serving.accounts import KeyRing, TokenIssuer, TokenVerifier
from serving.accounts import tokens as tokens_module
from serving.errors import TokenExpired, TokenInvalid

HOUR_S = 3600


def set_clock(monkeypatch: pytest.MonkeyPatch, offset_s: float) -> None:
    """Let the service's clock be off."""
    real = time.time
    monkeypatch.setattr(tokens_module, "time", SimpleNamespace(time=lambda: real() + offset_s))


def test_tokens_outlive_a_clock_that_jumps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = KeyRing(tmp_path)
    ring.load_or_create()
    issuer, verifier = TokenIssuer(ring, "rollcall", "rollcall"), TokenVerifier(ring, "rollcall", "rollcall")
    token = issuer.issue("door", "member", [], 2 * HOUR_S)
    verifier.verify(token)
    with monkeypatch.context() as patch:
        set_clock(patch, HOUR_S)  # within its life
        assert verifier.verify(token).subject == "door"
    with monkeypatch.context() as patch:
        set_clock(patch, 3 * HOUR_S)  # beyond it: over for as long as the clock says so
        with pytest.raises(TokenExpired):
            verifier.verify(token)
    assert verifier.verify(token).subject == "door"


def test_a_token_from_before_the_clock_went_back_waits_until_it_has_caught_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = KeyRing(tmp_path)
    ring.load_or_create()
    issuer, verifier = TokenIssuer(ring, "rollcall", "rollcall"), TokenVerifier(ring, "rollcall", "rollcall")
    with monkeypatch.context() as patch:
        set_clock(patch, HOUR_S)
        ahead = issuer.issue("door", "member", [], 2 * HOUR_S)
    with pytest.raises(TokenInvalid):
        verifier.verify(ahead)
    assert verifier.verify(issuer.issue("door", "member", [], 60)).subject == "door"
