"""AIBrix's APA on worked examples."""

from __future__ import annotations

from autoscaler.simulation.policies.aibrix_apa import AibrixApa
from autoscaler.simulation.policies.aibrix_kpa import KV, REQUESTS
from tests.fakes.views import view


def apa(target: float = 10.0, *, is_intended: bool = False) -> AibrixApa:
    return AibrixApa(REQUESTS, target, is_intended=is_intended)


def test_replicas_times_use_over_target_at_most_twice_and_at_least_half() -> None:
    # 4 x 13 / 10 = 5.2; 4 x 50 / 10 = 20, but 8 at most; 4 x 6 / 10 = 2.4; 4 x 1 / 10 = 0.4, but 2 at least.
    for running, wanted in ((13, 6), (50, 8), (6, 3), (1, 2), (11, 4), (9, 4)):
        assert apa().decide(view(waiting=[0] * 4, running=[running] * 4), 0.0) == wanted


def test_pods_that_load_get_no_credit_2_4_8_16() -> None:
    policy, spec = apa(), 2
    for k in range(3):  # 2 pods serve at twice the target while the others load
        spec = policy.decide(view(at_s=10.0 * k, spec=spec, waiting=[0] * 2, running=[20] * 2), 10.0 * k)
    assert spec == 16


def test_use_is_the_mean_of_three_minutes() -> None:
    policy = apa()
    # 17 loops at the target, one at 46: (17 x 10 + 46) / 18 = 12: 4 x 1.2 = 4.8.
    for k in range(1, 19):
        running = [10 if k < 18 else 46] * 4
        wanted = policy.decide(view(at_s=10.0 * k, waiting=[0] * 4, running=running), 10.0 * k)
    assert wanted == 5


def test_one_low_sample_scales_in_as_coded_and_not_as_intended() -> None:
    for is_intended, wanted in ((False, 2), (True, 4)):
        policy = AibrixApa(KV, 0.5, is_intended=is_intended)
        policy.decide(view(at_s=0.0, waiting=[0] * 4, kv_usage=[0.5] * 4), 0.0)  # asks 4
        policy.seen.kept.clear()  # the next page alone
        # 4 x 0.2 / 0.5 = 1.6: 2.
        assert policy.decide(view(at_s=10.0, waiting=[0] * 4, kv_usage=[0.2] * 4), 10.0) == wanted


def test_from_zero_there_is_no_way_up() -> None:
    assert apa().decide(view(waiting=[], held=9), 0.0) == 0
