"""What `rollcall serve` looks at before it starts Ray, so that a fault is one message and not a replica's."""

from __future__ import annotations

from serving.installation import check_installation
from serving.settings import Settings


def check_start(settings: Settings) -> None:
    """Check the environment, and that what shall run the models is on this machine.

    Raises:
        InstallationConflict: packages that exclude each other.
        ProviderUnavailable: what shall run the models is not here.
    """
    check_installation()
    from serving.vision.providers import check_providers  # only now: it needs ONNX Runtime

    check_providers(settings.make_execution())
