"""Asking for the acceptance of a licence that restricts use."""

from __future__ import annotations

import sys

import typer
from rich.markup import escape
from rich.panel import Panel

from serving.commands.console import messages
from serving.errors import LicenceNotAccepted
from serving.packs.manifest import AnyPack
from serving.packs.store import PackStore


def ensure_licence(store: PackStore, pack: AnyPack, *, accept: bool) -> None:
    """Go on only if the pack's licence is accepted: before, by option, or by answering here on a terminal.

    Raises:
        LicenceNotAccepted: it is not, and there is nobody to ask, or the answer was no.
    """
    if pack.terms is None or store.licences.is_accepted(pack):
        store.licences.require(pack)
        return
    if accept:
        messages.print(f"{pack.id}: {escape(pack.licence)} {escape(pack.terms.url)}")
        store.licences.accept(pack, "--accept-licence")
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise LicenceNotAccepted(f"{pack.id}: {pack.licence}")
    messages.print(Panel(escape(f"{pack.terms.text}\n\n{pack.terms.url}"), title=f"Licence of {pack.id}"))
    if not typer.confirm("Do you accept it?", default=False, err=True):
        raise LicenceNotAccepted(f"{pack.id}: the licence was declined")
    store.licences.accept(pack, "answered on a terminal")
