"""Where face vectors live."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr, model_validator

from serving.settings.section import Section


class GallerySettings(Section):
    """Where face vectors live."""

    engine: Literal["embedded", "server"] = "embedded"
    url: str | None = Field(None, description="Qdrant server, for engine `server`.")
    api_key: SecretStr | None = None
    timeout_s: float = Field(5.0, gt=0, le=60)

    @model_validator(mode="after")
    def _needs_url(self) -> GallerySettings:
        if self.engine == "server" and not self.url:
            raise ValueError("engine `server` needs gallery.url")
        return self
