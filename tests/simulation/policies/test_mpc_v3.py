"""MPC v3 on worked examples."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from autoscaler.core.records import Objective
from autoscaler.simulation.engines import Params
from autoscaler.simulation.policies import mpc_v3
from autoscaler.simulation.policies.mpc_v3 import MpcV3, State
from autoscaler.simulation.view import View
from tests.fakes.views import deployment, totals, view

# 10 ms, 0.1 ms a sequence, 0.01 ms a prompt token; 1000 in and 100 out make 28.6 requests per second, see the model.
PROFILE = Params(0.010, 0.0001, 0.00001, 0.0, 1.1e6, 200, 2048.0)
RPS = 1.0 / 0.035


def mpc(cold_s: float = 30.0, most: int = 8, spike: float = 0.0) -> MpcV3:
    policy = MpcV3(
        deployment(profile=PROFILE, objective=Objective(2.0, 0.050), max_replicas=most), cold_s, 0.1, spike=spike
    )
    policy.plant.resize(1000.0, 100.0, 0.0)
    return policy


def page(
    at_s: float, rps: float, ready: int, waiting: int = 0, running: int = 0, spec: int | None = None, held: int = 0
) -> View:
    """A fleet that has always served what came."""
    requests = rps * at_s
    told = totals(
        prompt_tokens=1000.0 * requests,
        generated_tokens=100.0 * requests,
        first_tokens=requests,
        finished=requests,
    )
    return view(
        at_s=at_s,
        spec=ready if spec is None else spec,
        waiting=[waiting] + [0] * (ready - 1),
        running=[running] + [0] * (ready - 1),
        held=held,
        arrivals=round(requests),
        totals_=told,
    )


def test_the_published_default_believes_the_deployments_start() -> None:
    policy = next(s for s in mpc_v3.PEERS[0].settings if s.default).build(deployment(start_s=120.0))
    assert isinstance(policy, MpcV3)
    assert (policy.cold_s, policy.lag, policy.steps, policy.rho_least) == (120.0, 24, 29, 0.1)


def test_the_order_book_says_who_serves_when() -> None:
    policy = mpc()
    policy.orders = [110.0]
    now = State(100.0, ready=2, spec=3, queue=0)
    active = policy.plan(np.array([4, 3, 2, 1]), np.zeros(11), now).active
    assert active[0].tolist() == [2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 4]  # the order at 10 s, a new one at 30 s
    assert active[1].tolist() == [2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3]
    assert active[2].tolist() == [2] * 11  # the order is cancelled first
    assert active[3].tolist() == [1] * 11  # then who serves


def test_the_backlog_walks_by_what_comes_less_what_is_served() -> None:
    policy = mpc()
    plan = policy.plan(np.array([1]), np.full(11, RPS - 2.0), State(0.0, 1, 1, queue=25))
    # 2 per second too few come: 25 falls by 10 a step, then stays at 0.
    assert plan.before[0, :5].tolist() == pytest.approx([25.0, 15.0, 5.0, 0.0, 0.0])
    assert plan.after[0, :4].tolist() == pytest.approx([15.0, 5.0, 0.0, 0.0])


def test_orders_follow_the_replicas_that_start() -> None:
    policy = mpc()
    policy.orders = [90.0, 120.0, 130.0]
    policy._reconcile(State(100.0, ready=3, spec=4, queue=0))
    assert policy.orders == [120.0]  # the one of 90 s has come, the newest was cancelled
    policy._reconcile(State(105.0, ready=3, spec=6, queue=0))
    assert policy.orders == [120.0, 135.0, 135.0]  # two that nobody ordered: a cold start from now


def test_a_queue_spike_asks_for_the_fewest_that_clear_it() -> None:
    policy = mpc()
    # 1 serves 28.57 per second and as many come: 550 waiting stay. From 30 s on n serve for 5 steps of 5 s:
    # 25 s x 28.57 x (n - 1) >= 549.5 needs n - 1 = 0.77: 2. With 1500: 2.1: 4.
    for queue, wanted in ((6, 1), (550, 2), (1500, 4), (100_000, 8)):
        assert policy._floor(np.full(11, RPS), State(0.0, 1, 1, queue)) == wanted


def test_a_spike_can_be_counted_in_requests_a_replica() -> None:
    assert mpc()._spikes(State(0.0, 4, 4, queue=7))
    assert not mpc(spike=2.0)._spikes(State(0.0, 4, 4, queue=7))
    assert mpc(spike=2.0)._spikes(State(0.0, 4, 4, queue=9))


def test_scaling_down_waits_for_one_cold_start_of_ticks() -> None:
    policy = mpc()
    # The first tick only looks; of the next, six of 5 s are a cold start. Without load the price alone counts: 1.
    wanted = [policy.decide(page(5.0 * k, 0.0, ready=3), 5.0 * k) for k in range(7)]
    assert wanted == [3, 3, 3, 3, 3, 3, 1]


def test_scaling_down_never_happens_while_an_order_is_pending() -> None:
    policy = mpc()
    wanted = [policy.decide(page(5.0 * k, 0.0, ready=2, spec=3), 5.0 * k) for k in range(20)]
    assert wanted == [3] * 20


def test_scaling_down_keeps_utilization_and_ttft_in_bounds() -> None:
    policy = mpc()
    counts, now = np.array([1, 2]), State(0.0, 3, 3, queue=0)
    for rps, feasible in ((0.74 * RPS, [True, True]), (0.76 * RPS, [False, True]), (1.52 * RPS, [False, False])):
        assert policy.feasible(counts, np.full(11, rps), now).tolist() == feasible
    # One serves 28.57 per second: 40 waiting are 1.4 s in the first step, less 0.5 x 28.57 x 5 = 0: 71 are served.
    assert policy.feasible(counts[:1], np.full(11, 0.5 * RPS), now._replace(queue=40)).tolist() == [True]
    # 150 leave 79 behind after a step: 2.8 s, more than half of 2 s.
    assert policy.feasible(counts[:1], np.full(11, 0.5 * RPS), now._replace(queue=150)).tolist() == [False]


def test_the_price_is_the_trailing_goodput_per_gpu_second() -> None:
    policy = mpc()
    now = State(0.0, ready=1, spec=2, queue=0)
    policy._price(10.0, now)
    # 50 requests in 5 s, TTFT 20 ms and ITL 13.9 ms well within: each sigmoid above 0.999; 2 x 4 GPUs for 5 s.
    assert policy.rho == pytest.approx(50.0 / 40.0, rel=2e-3)
    policy._price(0.0, now)
    assert policy.rho == pytest.approx(50.0 * 55.0 / 60.0 / 40.0, rel=2e-3)
    for _ in range(100):
        policy._price(0.0, now)
    assert policy.rho == 0.1  # its floor


def test_the_price_is_of_the_deployments_own_gpus() -> None:
    # Every replica was charged for four GPUs: one of one GPU had to earn four times as much at the price's floor.
    for gpus in (1, 4, 8):
        policy = MpcV3(replace(deployment(profile=PROFILE), gpus_per_replica=gpus), 30.0, 0.1)
        policy.plant.resize(1000.0, 100.0, 0.0)
        policy._price(10.0, State(0.0, ready=1, spec=2, queue=0))
        assert policy.rho == pytest.approx(50.0 / (2 * gpus * 5.0), rel=2e-3)


def test_the_bias_is_learnt_from_ticks_that_begin_and_end_with_a_queue() -> None:
    policy = mpc()
    policy.decide(page(5.0, 20.0, ready=1, waiting=7, running=100), 5.0)
    policy.decide(page(10.0, 20.0, ready=1, waiting=7, running=120), 10.0)
    # 100 came, 20 more are inside: 80 completed, 16 per second.
    learnt = policy.plant.bias
    assert learnt == pytest.approx(1.0 + 0.1 * (16.0 / RPS - 1.0))
    policy.decide(page(15.0, 20.0, ready=1, waiting=6, running=120), 15.0)
    assert policy.plant.bias == learnt


def test_a_backlog_that_orders_will_clear_asks_for_no_more() -> None:
    policy, rps = mpc(), np.full(11, 40.0)
    # 40 per second come and 28.57 are served: the 100 that wait are 443 in 30 s. In the 25 s after that n serve
    # 25 x (28.57 n - 40) more than comes: n = 3 is the first above 443.
    assert policy._floor(rps, State(5.0, 1, 1, queue=100)) == 3
    policy.orders = [35.0, 35.0]
    assert policy._floor(rps, State(10.0, 1, 3, queue=157)) == 3
    assert policy._floor(rps, State(30.0, 1, 3, queue=386)) == 3


def test_early_over_buy_while_rho_is_at_its_floor() -> None:
    policy = mpc()
    assert policy.decide(page(0.0, 40.0, ready=1), 0.0) == 1  # the first look
    # 100 waiting are 3.5 s: nothing is good, the price is at its floor, and one replica costs 0.1 x 4 x 55 = 22 good
    # requests: every one is worth it, though 3 would clear the backlog.
    assert policy.decide(page(5.0, 40.0, ready=1, waiting=100), 5.0) == 8
    assert policy.orders == [35.0] * 7


def test_constant_noisy_traffic_does_not_cycle() -> None:
    # 5.4 per second with Poisson noise on a worker that carries 2.9: the first version went 1, 8, 1 every minute.
    slow = PROFILE._replace(base_s=0.100, sequence_s=0.001, prompt_token_s=0.0001)
    policy = MpcV3(deployment(profile=slow, objective=Objective(2.0, 0.5), max_replicas=8), 30.0, 0.1)
    rng = np.random.default_rng(4)
    spec, requests, seen = 3, 0, []
    due: list[float] = []
    for k in range(400):
        requests += int(rng.poisson(5.4 * 5.0))
        told = totals(
            prompt_tokens=1000.0 * requests,
            generated_tokens=100.0 * requests,
            first_tokens=requests,
            finished=requests,
        )
        due = [at_s for at_s in due if at_s > 5.0 * k]
        ready = spec - len(due)
        now = view(at_s=5.0 * k, spec=spec, waiting=[0] * ready, arrivals=requests, totals_=told)
        wanted = policy.decide(now, 5.0 * k)
        due = [*due, *[5.0 * k + 30.0] * (wanted - spec)][: max(0, len(due) + wanted - spec)]
        spec = wanted
        seen.append(spec)
    assert sum(a != b for a, b in pairwise(seen)) <= 4
    assert max(seen) <= 5
