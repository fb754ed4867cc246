"""Which module each command is in; it is imported when its command is asked for, as all take two seconds."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup


@dataclass(frozen=True, slots=True)
class Place:
    """Where a command is.

    Attributes:
        module: in `serving.commands`.
        attribute: of the module: a function, or a `Typer` with commands of its own.
        context_settings: of a function's command.
    """

    module: str
    attribute: str
    context_settings: Mapping[str, Any] = field(default_factory=dict)

    def load(self, name: str) -> Any:
        """The command, which is called `name`."""
        found = getattr(import_module(f"serving.commands.{self.module}"), self.attribute)
        parent = typer.Typer()
        if isinstance(found, typer.Typer):
            parent.add_typer(found, name=name)
        else:
            parent.command(name, context_settings=dict(self.context_settings))(found)
        return typer.main.get_group(parent).commands[name]


FURTHER_OPTIONS = {"allow_extra_args": True, "ignore_unknown_options": True}

PLACES: Mapping[str, Place] = {
    "serve": Place("serve", "serve"),
    "deploy": Place("deploy", "deploy"),
    "doctor": Place("doctor", "doctor"),
    "backup": Place("backup", "write_backup"),
    "restore": Place("backup", "restore_backup"),
    "erasures": Place("backup", "write_erasures"),
    "rotate-keys": Place("key_rotation", "rotate_keys"),
    "token": Place("accounts", "print_token"),
    "samples": Place("packs", "write_samples"),
    "enroll": Place("bulk", "import_people"),
    "recognize": Place("recognition", "recognize"),
    "compare": Place("recognition", "compare"),
    "watch": Place("watch", "watch"),
    "evaluate": Place("evaluate", "evaluate"),
    "calibrate": Place("calibrate", "calibrate"),
    "load": Place("load", "load", FURTHER_OPTIONS),
    "version": Place("version", "print_version"),
    "admin": Place("accounts", "admin"),
    "account": Place("accounts", "account"),
    "packs": Place("packs", "packs"),
    "gallery": Place("gallery", "gallery"),
    "people": Place("people", "people"),
    "events": Place("events", "events"),
    "secrets": Place("secrets", "secrets"),
}
"""By name, in the order of the help."""


class CommandTable(TyperGroup):
    """A group whose commands are those of `PLACES`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = _Commands(PLACES)

    def list_commands(self, ctx: Any) -> list[str]:
        """The names; no module is imported for them."""
        del ctx
        return list(self.commands)


class _Commands(UserDict[str, Any]):
    def __getitem__(self, name: str) -> Any:
        if isinstance(found := self.data[name], Place):
            found = self.data[name] = found.load(name)
        return found
