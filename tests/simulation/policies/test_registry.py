"""What holds for every peer."""

from __future__ import annotations

import pytest

from autoscaler.simulation.policies.peer import MOST_SETTINGS, Peer
from autoscaler.simulation.policies.registry import peers
from autoscaler.simulation.policy import HpaPolicy, ScalePolicy
from tests.fakes.small_worlds import run_small, small_scenario, steps
from tests.fakes.views import deployment

PEERS = tuple(peers().values())


def test_rules_that_are_published_as_coded_and_meant_otherwise_have_both_variants() -> None:
    names = set(peers())
    for name in ("aibrix-kpa", "aibrix-apa", "kthena", "llmd-saturation"):
        assert {name, f"{name}-intended"} <= names


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_at_most_six_settings_of_which_one_is_published_and_all_can_be_built(peer: Peer) -> None:
    assert 1 <= len(peer.settings) <= MOST_SETTINGS
    assert sum(setting.default for setting in peer.settings) == 1
    for setting in peer.settings:
        assert isinstance(setting.build(deployment()), ScalePolicy | HpaPolicy)


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_every_setting_lives_through_a_burst_from_zero_and_back(peer: Peer) -> None:
    world = small_scenario(steps((60.0, 0.5), (120.0, 3.0), (60.0, 0.1)), 400.0, start_s=20.0, initial=0, least=0)
    for setting in peer.settings:
        run = run_small(setting.build(deployment(start_s=20.0, min_replicas=0, max_replicas=20)), world)
        assert all(0 <= count <= 20 for _, count in run.steps)
