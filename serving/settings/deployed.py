"""Settings as the graph carries them: without secrets, which each process reads where it runs.

Serve keeps what deployments are bound to, and with a fault-tolerant Ray it lies in Redis. So a password is
in nobody's memory but the processes' that use it, and one that was changed counts from a replica's next
start on. All else is as it was when the graph was built, for every replica alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args
from urllib.parse import urlsplit

from pydantic import SecretStr

from serving.errors import ConfigurationError
from serving.settings.environment import IN_A_FILE, list_keys, make_variable
from serving.settings.loading import load_settings
from serving.settings.settings import Settings


@dataclass(frozen=True, slots=True)
class DeployedSettings:
    """What a deployment is bound to.

    Attributes:
        values: all settings but secrets that are set elsewhere than under `args`, as JSON has them.
        secrets: the settings, as dotted keys, that each process reads by itself; of those that are URLs, all
            but the password and the options, so that no process uses another store.
    """

    values: Mapping[str, Any] = field(repr=False)
    secrets: Mapping[str, str | None]

    @classmethod
    def of(cls, settings: Settings, args: Mapping[str, Any]) -> DeployedSettings:
        """Settings that `args` gave; a secret that stands there, with Ray already, stays among the values."""
        values = settings.model_dump(mode="json")
        secrets: dict[str, str | None] = {}
        for key in secret_keys():
            secret = read_value(settings, key)
            section, name = _find_section(values, key)
            section[name] = None
            if secret is None:
                continue
            given = _value_in(args, key)
            if given is None:
                del section[name]
                secrets[key] = _place_of(secret.get_secret_value())
            else:
                section[name] = given.get_secret_value() if isinstance(given, SecretStr) else str(given)
        return cls(values, secrets)

    def load(self) -> Settings:
        """The settings, with the secrets of this process's environment, files and `.env`.

        What a build of another release carried and this one does not know is left out.

        Raises:
            ConfigurationError: a secret is not set here, is refused, or is of another store.
        """
        settings = load_settings(_keep_known(self.values))
        problems = []
        for key, place in self.secrets.items():
            secret = read_value(settings, key)
            here = None if secret is None else _place_of(secret.get_secret_value())
            if secret is None:
                problems.append(
                    f"{make_variable(key)}: set where the service was deployed from, and not here"
                )
            elif here != place:
                problems.append(f"{make_variable(key)}: {here} here, and {place} where it was deployed from")
        if problems:
            raise ConfigurationError(
                f"{'; '.join(problems)}. Let this node have the same environment (or ...{IN_A_FILE}) when "
                "Ray starts, or deploy anew"
            )
        return settings


def secret_keys() -> Iterator[str]:
    """Every setting that is a secret, as a dotted path."""
    for key in list_keys(Settings):
        kind: Any = Settings
        for part in key.split("."):
            kind = kind.model_fields[part].annotation
        if kind is SecretStr or SecretStr in get_args(kind):
            yield key


def read_value(settings: Settings, key: str) -> Any:
    """What a dotted key has, e.g. `picture.max_bytes`."""
    value: Any = settings
    for part in key.split("."):
        value = getattr(value, part)
    return value


def _place_of(secret: str) -> str | None:
    """A URL less its password and options; None for what is no URL."""
    if "://" not in secret:
        return None
    parts = urlsplit(secret)
    user, _, server = parts.netloc.rpartition("@")
    return f"{parts.scheme}://{user.partition(':')[0]}@{server}{parts.path}"


def _find_section(values: dict[str, Any], key: str) -> tuple[dict[str, Any], str]:
    *sections, name = key.split(".")
    for section in sections:
        values = values[section]
    return values, name


def _value_in(args: Mapping[str, Any], key: str) -> Any:
    value: Any = args
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _keep_known(values: Mapping[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key in list_keys(Settings):
        section, _, name = key.rpartition(".")
        there, here = (values.get(section, {}), kept.setdefault(section, {})) if section else (values, kept)
        if name in there:
            here[name] = there[name]
    return kept
