"""Events whose pack does not serve: what is said of them when the service starts."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping


def describe_dormant_events(events: Mapping[str, Collection[str]], served: Collection[str]) -> Iterator[str]:
    """A line for each pack that events need and that does not serve.

    Args:
        events: by pack the ids of the first few events that need it; see `PackMigrations.packs`.
        served: ids of the packs that serve.
    """
    for pack_id, ids in sorted(events.items()):
        if pack_id not in served:
            yield (
                f"the pack {pack_id} does not serve, and these events need it, perhaps others too: "
                f"{', '.join(sorted(ids))}. Until it is named in pack.also nobody is enrolled or recognised "
                "there; erasing and retention go on."
            )
