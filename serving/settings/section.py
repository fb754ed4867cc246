"""Base of every section of the settings."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Base of all: frozen, and a key that is not named here is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)
