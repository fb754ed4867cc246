"""Settings that stand where the service sees them and no command does: under `args` of a serve config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from serving.errors import ConfigurationError
from serving.settings.deployed import read_value
from serving.settings.environment import IN_A_FILE, make_variable
from serving.settings.loading import load_settings
from serving.settings.settings import Settings

STORES = ("database_url", "gallery.engine", "gallery.url")
"""Which registry and gallery: a command that does not see them works on others, and finds nobody there."""
_OF_COMMANDS = ("data_dir", "cache_dir", *STORES, "gallery", "backup")
"""What commands go by: a section stands for all that is in it."""


def find_hidden(args: Mapping[str, Any], settings: Settings) -> list[str]:
    """The settings under `args` that commands go by and see otherwise, as dotted keys.

    Args:
        settings: those that `args` give.
    """
    try:
        seen = load_settings()
    except ConfigurationError:
        return []  # commands say so themselves
    return [key for key in _keys_of_commands(args) if read_value(settings, key) != read_value(seen, key)]


def refuse_hidden_stores(args: Mapping[str, Any], settings: Settings) -> None:
    """Raise ConfigurationError where `args` name stores that `rollcall backup` would pass by."""
    hidden = [key for key in find_hidden(args, settings) if key in STORES]
    if hidden:
        variables = ", ".join(make_variable(key) for key in hidden)
        raise ConfigurationError(
            f"{', '.join(hidden)}: no command sees what stands under args of the serve config, and "
            f"`rollcall backup` would save another place; set {variables} (or ...{IN_A_FILE}, or .env) "
            "instead, for the service and for every command"
        )


def _keys_of_commands(args: Mapping[str, Any]) -> Iterator[str]:
    for name, value in args.items():
        if name not in _OF_COMMANDS:
            continue
        if isinstance(value, Mapping):
            yield from (f"{name}.{inner}" for inner in value)
        else:
            yield name
