"""The whole service on one page.

    client -> Ingress -> Detector -> (Liveness) -> Embedder -> Matcher -> Qdrant

Each box is one Serve deployment with its own replicas; how many, and how they batch, stands in the serve
config (`serve_config.yaml`, `config/`), and for boxes it need not name in `deployments/defaults.py`. Every
pack in `pack.also` has a line of boxes of its own beside the default pack's: `Detector-<pack id>` and so
on. Liveness is there when `liveness.model` names one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray import serve

from serving.deployments.defaults import FURTHER_LINE, LIVENESS
from serving.deployments.detector import Detector
from serving.deployments.embedder import Embedder
from serving.deployments.ingress import Ingress
from serving.deployments.line_handles import LineHandles
from serving.deployments.liveness import Liveness
from serving.deployments.matcher import Matcher
from serving.packs.configured import find_served_packs, prepare_pack
from serving.packs.configured_liveness import prepare_liveness
from serving.settings import DEPLOYED_AS, DeployedSettings, check_digest, load_settings, refuse_hidden_stores


def build(args: Mapping[str, Any] | None = None) -> serve.Application:
    """The graph, ready for `serve run`.

    Args:
        args: settings, as under `args` in a serve config.

    Raises:
        ConfigurationError: naming the wrong key, or one that commands would not see; or these are not the
            settings that `rollcall deploy` saw.
        PackError: a model pack cannot be prepared.
    """
    settings = load_settings(args)
    check_digest(settings, (args or {}).get(DEPLOYED_AS))
    refuse_hidden_stores(args or {}, settings)
    deployed = DeployedSettings.of(settings, args or {})
    default, *further = [pack.id for pack in find_served_packs(settings)]
    for pack_id in (None, *further):
        prepare_pack(settings, pack_id=pack_id)

    detector = serve.deployment(Detector).bind(deployed)
    embedder = serve.deployment(Embedder).bind(deployed)
    matcher = serve.deployment(Matcher).bind(deployed)
    lines: list[LineHandles] = [(default, detector, embedder, matcher)]
    lines += [_bind_further(deployed, pack_id) for pack_id in further]
    if settings.liveness.model is None:
        return serve.deployment(Ingress).bind(deployed, lines)
    prepare_liveness(settings)
    liveness = serve.deployment(Liveness).options(**LIVENESS).bind(deployed)
    return serve.deployment(Ingress).bind(deployed, lines, liveness)


def deployment_name(kind: str, pack_id: str) -> str:
    """What a box of a further pack is called in the serve config."""
    return f"{kind}-{pack_id}"


def _bind_further(deployed: DeployedSettings, pack_id: str) -> LineHandles:
    detector, embedder, matcher = (
        serve.deployment(kind)
        .options(name=deployment_name(kind.__name__, pack_id), **FURTHER_LINE[kind.__name__])
        .bind(deployed, pack_id)
        for kind in (Detector, Embedder, Matcher)
    )
    return pack_id, detector, embedder, matcher
