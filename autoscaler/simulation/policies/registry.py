"""All peers by name."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

from autoscaler.simulation.policies.peer import MOST_SETTINGS, Peer


def peers() -> dict[str, Peer]:
    """Every peer, by name. Raises ValueError for a peer that breaks the law of `peer`.

    A module tells its peers as PEER or PEERS; one with neither holds what peers share.
    """
    found: dict[str, Peer] = {}
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        loaded = importlib.import_module(f"{__package__}.{module.name}")
        one: Peer | None = getattr(loaded, "PEER", None)
        several: tuple[Peer, ...] = getattr(loaded, "PEERS", ())
        for peer in (*several, *((one,) if one else ())):
            defaults = sum(setting.default for setting in peer.settings)
            knobs = {setting.knobs for setting in peer.settings}
            if peer.name in found or not 1 <= len(knobs) == len(peer.settings) <= MOST_SETTINGS or defaults != 1:
                raise ValueError(f"peer {peer.name}: a name of its own, at most {MOST_SETTINGS} settings, one default")
            found[peer.name] = peer
    return found
