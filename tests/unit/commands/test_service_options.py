"""How commands that talk to a service show what they got, or why they got nothing."""

from __future__ import annotations

import pytest
from rich.console import Console

from rollcall_client import ConnectionFailed
from serving.commands import service_options
from serving.commands.service_options import open_service, print_rows
from serving.commands.service_refusals import fail_at_service
from serving.errors import CommandError

LONG = "an-event-whose-id-is-longer-than-the-line" * 3


@pytest.mark.parametrize("is_terminal", [True, False])
def test_no_cell_is_cut(
    is_terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    narrow = Console(width=50, force_terminal=is_terminal, color_system=None, soft_wrap=True)
    monkeypatch.setattr(service_options, "console", narrow)
    print_rows(("id", "name"), [(LONG, "[b]x"), ("b", None)])
    lines = capsys.readouterr().out.splitlines()
    if is_terminal:
        assert "".join(line.split()[0] for line in lines[1:-1]) == LONG
        assert max(len(line) for line in lines) <= 50
    else:
        assert [line.split() for line in lines] == [["id", "name"], [LONG, "[b]x"], ["b"]]


def test_a_service_that_does_not_run(capsys: pytest.CaptureFixture[str]) -> None:
    fail_at_service(ConnectionFailed("no answer of http://127.0.0.1:9: ConnectError refused"))
    out, said = capsys.readouterr()
    assert out == ""
    for part in ("cannot be reached", "http://127.0.0.1:9", "rollcall serve", "ROLLCALL_URL"):
        assert part in said


def test_what_is_no_address_or_token() -> None:
    for url, token in (("rollcall", "t"), ("http://rollcall", "s3cret\n")):
        with pytest.raises(CommandError, match="ROLLCALL_URL") as raised:
            open_service(url, token)
        assert "s3cret" not in raised.value.detail
