"""How the failure table and the soak come to their figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.chaos.ledger import KINDS, Answered, Ledger, find_recovery_s
from tests.chaos.results import BEGIN, END, Row, update_page
from tests.chaos.soak import fit_growth


def make_answers(failed_until_s: float, until_s: float) -> list[Answered]:
    """A request of each kind in turn, ten a second from 100 on."""
    sent = np.arange(100, 100 + until_s, 0.1)
    return [
        Answered(KINDS[place % 4], at, at + 0.05, "ok" if at >= 100 + failed_until_s else "overloaded")
        for place, at in enumerate(sent)
    ]


@pytest.mark.parametrize(
    ("failed_until_s", "until_s", "expected"),
    [(0, 4, 0.0), (2, 6, 2.0), (2, 4, None), (6, 6, None)],
)
def test_recovered_is_when_nothing_has_failed_for_three_seconds(
    failed_until_s: float, until_s: float, expected: float | None
) -> None:
    found = find_recovery_s(make_answers(failed_until_s, until_s), 100, 100 + until_s, 3)
    assert found == (None if expected is None else pytest.approx(expected, abs=0.11))


def test_a_kind_that_has_not_succeeded_is_not_recovered() -> None:
    answers = [each for each in make_answers(0, 6) if each.kind != "erase"]
    assert find_recovery_s(answers, 100, 106, 3) is None


def test_who_is_about_to_be_erased_need_not_be_found() -> None:
    ledger = Ledger()
    ledger.note_enrolled("one", 0)
    ledger.note_enrolled("two", 0)
    assert ledger.take_for_erasure() == "one"
    assert list(ledger.enrolled) == ["two"]
    assert ledger.erased == set()  # nobody has acknowledged it


@pytest.mark.parametrize("per_cent_an_hour", [0.0, 5.0])
def test_growth_is_found_through_noise(per_cent_an_hour: float) -> None:
    times_s = np.arange(0, 1800, 5.0)
    rng = np.random.default_rng(7)
    sizes = 1e8 * (1 + per_cent_an_hour / 100 * (times_s - 900) / 3600) + rng.normal(0, 1e5, len(times_s))
    growth = fit_growth(list(times_s), list(sizes))
    assert growth is not None
    assert abs(growth.per_cent_an_hour - per_cent_an_hour) <= 2 * growth.plus_minus < 0.5
    assert fit_growth([0.0, 5.0], [1.0, 1.0]) is None


def test_the_table_goes_into_its_page_again_and_again(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{BEGIN}\n{END}\n\nafter\n")
    for requests in (10, 20):
        update_page(page, [Row("a failure", requests, {"overloaded": 2}, 0, 1.25)])
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert text.count("a failure") == 1
    assert "| a failure | 20 | 2 (2 overloaded) | 0 |" in text
