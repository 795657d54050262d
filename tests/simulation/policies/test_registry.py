"""The law of `peer`, for every peer there is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autoscaler.simulation.policies.peer import MOST_SETTINGS, Deployment, Peer, Setting
from autoscaler.simulation.policies.registry import peers
from autoscaler.simulation.policy import HpaPolicy, ScalePolicy, desired_of_all
from autoscaler.simulation.view import View
from autoscaler.simulation.world import World
from tests.fakes.small_worlds import small_scenario, steps
from tests.fakes.views import view

FOUND = peers()
EVERY = [(peer, setting) for peer in FOUND.values() for setting in peer.settings]
NAMES = [f"{peer.name} {setting.knobs}" for peer, setting in EVERY]
SCENARIO = small_scenario(steps((60.0, 0.4)), 60.0, initial=2)


def asks(policy: ScalePolicy | HpaPolicy, page: View, now_s: float) -> int | None:
    """The replicas wanted; None: an error, which holds."""
    if isinstance(policy, ScalePolicy):
        return policy.decide(page, now_s)
    assert policy.active(page, now_s) in (True, False)
    return desired_of_all(policy.metrics(page, now_s), page, policy.keda)


def test_there_are_peers_of_every_rule_that_was_studied() -> None:
    known = {
        *("static", "rate-rule", "self-tuned-rate", "mpc-v3", "dynamo-load", "dynamo-throughput", "ray-serve"),
        *("knative", "kubeai", "kthena", "kthena-intended", "keda-kaito", "keda-kaito-legacy"),
        *("aibrix-apa", "aibrix-apa-intended", "aibrix-kpa", "aibrix-kpa-intended"),
        *("keda-waiting", "keda-waiting-unaggregated", "keda-waiting-idle0", "keda-concurrency", "hpa-concurrency"),
        *("hpa-queue-kv", "hpa-queue-kv-mean", "hpa-gke-batch", "hpa-eks-latency"),
        *("baseten", "hf-endpoints", "runpod-queue-delay", "runpod-request-count"),
        *("llmd-queue", "llmd-queue-guard", "llmd-saturation", "llmd-saturation-intended", "llmd-slo"),
        *("llmd-token-aware", "wva-v1", "wva-v2", "wva-model", "wva-throughput"),
    }
    assert known <= set(FOUND)


@pytest.mark.parametrize("peer", FOUND.values(), ids=FOUND)
def test_a_peer_has_a_source_at_most_six_settings_and_one_default(peer: Peer) -> None:
    assert len(peer.source) > 10
    assert 1 <= len(peer.settings) <= MOST_SETTINGS == 6
    assert len({setting.knobs for setting in peer.settings}) == len(peer.settings)
    assert sum(setting.default for setting in peer.settings) == 1


@pytest.mark.parametrize(("peer", "setting"), EVERY, ids=NAMES)
def test_a_setting_builds_and_answers_a_first_view(peer: Peer, setting: Setting) -> None:
    policy = setting.build(Deployment.of(SCENARIO))
    assert isinstance(policy, (ScalePolicy, HpaPolicy))
    first = World(SCENARIO, 0).look()
    wanted = asks(policy, first, first.at_s)
    assert wanted is None or wanted >= 0


@pytest.mark.parametrize(("peer", "setting"), EVERY, ids=NAMES)
def test_a_setting_answers_with_no_replica_and_with_pages_that_stopped(peer: Peer, setting: Setting) -> None:
    policy = setting.build(Deployment.of(replace(SCENARIO, min_replicas=0)))
    for page, now_s in (
        (view(at_s=0.0, waiting=[]), 0.0),
        (view(at_s=60.0, waiting=[], held=3, arrivals=3), 60.0),
        (view(at_s=120.0, waiting=[], coming=2, held=9, arrivals=9), 120.0),
        (view(at_s=240.0, waiting=[30, 0], running=[8, 8], kv_usage=[0.9, 0.1], arrivals=60), 240.0),
        (view(at_s=240.0, waiting=[30, 0], running=[8, 8], kv_usage=[0.9, 0.1], arrivals=60), 2000.0),
    ):
        wanted = asks(policy, page, now_s)
        assert wanted is None or wanted >= 0


@pytest.mark.parametrize(("peer", "setting"), EVERY, ids=NAMES)
def test_two_policies_of_one_setting_share_no_memory(peer: Peer, setting: Setting) -> None:
    deployment = Deployment.of(SCENARIO)
    first, second, alone = (setting.build(deployment) for _ in range(3))
    busy = view(at_s=0.0, waiting=[40, 40], running=[8, 8], kv_usage=[0.9, 0.9], arrivals=100)
    calm = view(at_s=0.0, waiting=[0, 0], running=[1, 1], kv_usage=[0.1, 0.1], arrivals=2)
    asks(first, busy, 0.0)
    assert asks(second, calm, 0.0) == asks(alone, calm, 0.0)
