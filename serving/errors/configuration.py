"""Faults found before the service is up, so without an HTTP status of their own."""

from __future__ import annotations

from serving.errors.base import RollcallError


class ConfigurationError(RollcallError):
    code = "configuration_error"
    title = "The configuration is not valid"
    cure = "Correct the named key; docs/configuration.md lists them all."


class CommandError(RollcallError):
    code = "command_error"
    title = "The command cannot do that"
    cure = "See the command's --help."


class PackError(RollcallError):
    code = "pack_error"
    title = "A model pack cannot be used"
    cure = "Run `rollcall packs prepare`; the message says what is wrong with which file."
