"""Reading the settings from all places they may stand in, and saying what is wrong in each."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any, get_origin

from pydantic import ValidationError
from pydantic_settings import SettingsError

from serving.errors import ConfigurationError
from serving.settings.environment import (
    ENV_PREFIX,
    IN_A_FILE,
    NOT_SETTINGS,
    key_in_a_file,
    list_keys,
    make_key,
    make_variable,
    read_dotenv,
)
from serving.settings.remote_security import find_insecure_stores
from serving.settings.section import Section
from serving.settings.settings import Settings

DEPLOYED_AS = "deployed_as"
"""What may stand beside the settings under `args` of a serve config: Serve replaces every replica when it
changes. `rollcall deploy` puts a digest of the settings there."""


def load_settings(args: Mapping[str, Any] | None = None) -> Settings:
    """Settings from `args` (as in a serve config), the environment, `.env` and the defaults.

    Raises:
        ConfigurationError: naming every wrong key and, for a misspelt one, the nearest real key; or a store
            beyond this machine that is not secured.
    """
    known = set(setting_keys())
    unknown = [name for name in _named_in_environment(known) if name not in known]
    problems = [_explain_unknown(name, known, env=True) for name in unknown]
    problems += [f"{name} and {name}{IN_A_FILE} are both set; keep one" for name in _named_twice(known)]
    if problems:
        raise ConfigurationError("; ".join(problems))
    if args is None:
        args = {}
    if not isinstance(args, Mapping):
        raise ConfigurationError(f"args: a mapping of settings is needed, not {type(args).__name__}")
    # pydantic-settings would take some names for its own keywords (`_env_file`), so they never reach it.
    args = {name: value for name, value in args.items() if name != DEPLOYED_AS}
    problems = [_explain_unknown(str(name), known) for name in args if name not in Settings.model_fields]
    try:
        settings = Settings(**{name: value for name, value in args.items() if name in Settings.model_fields})
    except ValidationError as error:
        problems += [_explain(problem, known) for problem in error.errors()]
    except SettingsError as error:
        problems += [f"{name}: this is not JSON" for name in _bad_json()] or [str(error)]
    problems = problems or [str(store) for store in find_insecure_stores(settings)]
    if problems:
        raise ConfigurationError("; ".join(problems))
    return settings


def setting_keys() -> Iterator[str]:
    """Every setting as a dotted path, e.g. `picture.max_bytes`."""
    return list_keys(Settings)


def _named_in_environment(known: set[str]) -> Iterator[str]:
    for name in {**read_dotenv(), **os.environ}:
        suffix = name.upper().removeprefix(ENV_PREFIX)
        if not name.upper().startswith(ENV_PREFIX) or suffix in NOT_SETTINGS:
            continue
        key = key_in_a_file(name, known) or make_key(name)
        if _section_of(key) is None:  # a whole section may be given as JSON
            yield key


def _named_twice(known: set[str]) -> Iterator[str]:
    names = {name.upper() for name in {**read_dotenv(), **os.environ}}
    for name in sorted(names):
        key = key_in_a_file(name, known)
        if key is not None and make_variable(key) in names:
            yield make_variable(key)


def _bad_json() -> Iterator[str]:
    for source in (read_dotenv(), os.environ):
        for name, value in source.items():
            if name.upper().startswith(ENV_PREFIX) and _takes_json(make_key(name)) and not _is_json(value):
                yield name.upper()


def _takes_json(dotted: str) -> bool:
    first, _, inner = dotted.partition(".")
    section = _section_of(first)
    if section is None or not inner:
        return section is not None
    field = section.model_fields.get(inner)
    return field is not None and get_origin(field.annotation) is tuple


def _is_json(value: str | None) -> bool:
    try:
        json.loads(value or "")
    except ValueError:
        return False
    return True


def _section_of(key: str) -> type[Section] | None:
    field = Settings.model_fields.get(key)
    kind = None if field is None else field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


def _explain_unknown(key: str, known: set[str], *, env: bool = False) -> str:
    shown = make_variable(key) if env else key
    near = difflib.get_close_matches(key, known, n=1)
    if not near:
        return f"{shown}: there is no such setting"
    meant = make_variable(near[0]) if env else near[0]
    return f"{shown}: there is no such setting; did you mean {meant}?"


def _explain(problem: Mapping[str, Any], known: set[str]) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return _explain_unknown(key, known)
    words = problem["msg"].removeprefix("Value error, ")
    return f"{key}: {words}" if key else words
