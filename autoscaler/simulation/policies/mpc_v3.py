"""CloudAI MPC v3: a plan over one cold start, with an order book, that maximises good requests less GPUs at a price.

Source: ai-dynamo/dynamo gyms/planner-gym/src/autoscaling_arena/adapters/cloudai_mpc_v3.py, aggregated mode; its
docstring gives the reasons for every constant. The price is the fleet's trailing goodput per GPU-second, so the plan
climbs the ratio itself. Its capacity model asks an engine simulator; here the profile is asked. Its TTFT 2 s and ITL
50 ms are the objective's, its cold start of 30 s is the deployment's mean start (it wants that of the engine), its 8
replicas the deployment's maximum. The settings are the cold start it believes in, as a share or in seconds, the floor
of the price, and what counts as a spike of the queue: its 6 requests are meant for 8 replicas and are normal in a
larger fleet, some settings count in requests a replica. Ours: sizes and cache hits are ratios of 60 s averages of
counters, because pages tell sizes of outputs in coarse buckets only; a tick without a new page keeps the replicas;
the Little's-law fixed point is solved, not iterated.
"""

from __future__ import annotations

import math
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from autoscaler.simulation.engines import Floats, Ints
from autoscaler.simulation.policies.mpc_v3_model import TICK_S, Forecaster, Plant
from autoscaler.simulation.policies.peer import Deployment, Peer, Setting
from autoscaler.simulation.policies.signals import in_flight
from autoscaler.simulation.view import View

HORIZON = 5  # plan steps beyond the cold start
SHAPE_TAU_S = 60.0
QUEUE_SPIKE = 6  # requests
CLEARED = 0.5  # requests left that count as none
DOWN_UTILIZATION, DOWN_TTFT_SHARE = 0.75, 0.5
DEADBAND = 0.05  # of the present cost
WORSE_IN_A_ROW = 4  # candidates after which the search ends
RHO_WINDOW_S = 60.0
SOFTNESS = 0.1  # of a limit: the width of the sigmoid


class State(NamedTuple):
    """The fleet at a tick."""

    now_s: float
    ready: int
    spec: int
    queue: int


class Plan(NamedTuple):
    """Rows: candidates; columns: steps."""

    active: Floats
    before: Floats  # requests queued at the beginning of a step
    after: Floats
    capacity: Floats  # requests per second


class MpcV3:
    """The controller."""

    period_s = TICK_S
    scrape_s = TICK_S

    def __init__(self, deployment: Deployment, cold_s: float, rho_least: float, spike: float = 0.0) -> None:
        self.ttft_s, self.itl_s = deployment.objective.ttft_s, deployment.objective.tpot_s
        self.least, self.most = max(1, deployment.min_replicas), max(1, deployment.max_replicas)
        self.gpus = float(deployment.gpus_per_replica)
        self.cold_s, self.rho_least, self.spike = cold_s, rho_least, spike
        self.lag = math.ceil(cold_s / TICK_S)
        self.steps = self.lag + HORIZON
        self.plant = Plant(deployment.profile)
        self.forecaster = Forecaster(cold_s, self.steps * TICK_S)
        self.orders: list[float] = []  # when each replica under way should serve, the earliest first
        self.sums = np.zeros(5)  # averages of prompt, cached and generated tokens, first tokens, finished requests
        self.rho = rho_least
        self.earned: tuple[float, float] | None = None  # averages of good requests and GPU-seconds of a tick
        self.down_ticks = 0
        self.former: tuple[View, State] | None = None

    def decide(self, view: View, now_s: float) -> int:
        """The best candidate, within what the floor and the rule for scaling down allow."""
        spec = max(view.spec, self.least)
        now = State(now_s, min(spec, view.ready), spec, view.held + int(view.waiting.sum()))
        former = self.former
        if former is not None and view.at_s <= former[0].at_s:
            return spec
        self.former = view, now
        if former is None:
            return spec
        self._reconcile(now)
        rps = self._observe(view, now, *former)
        self._price(rps, now)
        mean, more = self.forecaster.plan(self.steps)
        may_shrink = not self.orders and spec > self.least
        may_shrink = may_shrink and bool(self.feasible(np.array([spec - 1]), mean + more, now)[0])
        self.down_ticks = self.down_ticks + 1 if may_shrink else 0
        best = max(self._search(mean, more, now), self._floor(mean, now))
        if best != spec:
            self.down_ticks = 0
        self.orders += [now_s + self.cold_s] * (best - spec)
        del self.orders[max(0, len(self.orders) - max(0, spec - best)) :]  # a smaller fleet cancels the newest first
        return best

    # --- what is known -----------------------------------------------------------------------------------------------

    def _reconcile(self, now: State) -> None:
        """As many orders as replicas start: late ones have come, of the others the newest were cancelled."""
        starting = now.spec - now.ready
        while len(self.orders) > starting and self.orders[0] <= now.now_s:
            del self.orders[0]
        del self.orders[starting:]
        self.orders += [now.now_s + self.cold_s] * (starting - len(self.orders))

    def _observe(self, view: View, now: State, former: View, before: State) -> float:
        """Forecast, sizes and bias; gives the arrivals per second of the tick."""
        new, old, seconds = view.totals, former.totals, view.at_s - former.at_s
        arrived = view.arrivals - former.arrivals
        self.forecaster.add(arrived, seconds)
        told = (
            new.prompt_tokens - old.prompt_tokens,
            new.cached_tokens - old.cached_tokens,
            new.generated_tokens - old.generated_tokens,
            new.first_tokens - old.first_tokens,
            new.finished - old.finished,
        )
        self.sums += min(1.0, seconds / SHAPE_TAU_S) * (np.array(told) - self.sums)
        prompt, cached, generated, first, finished = self.sums.tolist()
        if first > 0.0 and finished > 0.0 and prompt > 0.0:
            self.plant.resize(prompt / first, generated / finished, min(0.99, cached / prompt))
        completed = arrived - (in_flight(view) - in_flight(former))
        if self._spikes(now) and self._spikes(before) and 0 < now.ready == before.ready and completed > 0:
            self.plant.learn(completed / now.ready / seconds)
        return arrived / seconds

    def _spikes(self, state: State) -> bool:
        return state.queue > max(QUEUE_SPIKE, self.spike * state.spec)

    def _price(self, rps: float, now: State) -> None:
        """Modelled goodput per GPU-second of the present state, averaged over a minute."""
        active, queued = np.array([[max(1.0, float(now.ready))]]), np.array([[float(now.queue)]])
        plan = Plan(active, queued, queued, active * self.plant.rps)
        good = float(self._good(plan, np.array([rps]), 0.0)[0, 0])
        gpu_s = now.spec * self.gpus * TICK_S
        if self.earned is not None:
            alpha = TICK_S / RHO_WINDOW_S
            good = self.earned[0] + alpha * (good - self.earned[0])
            gpu_s = self.earned[1] + alpha * (gpu_s - self.earned[1])
        self.earned = good, gpu_s
        self.rho = max(self.rho_least, good / gpu_s)

    # --- the plan ----------------------------------------------------------------------------------------------------

    def plan(self, counts: Ints, rps: Floats, now: State) -> Plan:
        """Active workers and backlog of every candidate at every step."""
        pending = len(self.orders)
        at_s = now.now_s + TICK_S * np.arange(self.steps)
        due = np.searchsorted(np.array(self.orders), at_s, side="right")
        fewer = np.maximum(0, now.spec - counts)
        kept = np.maximum(0, pending - fewer)[:, None]
        active = (now.ready - np.maximum(0, fewer - pending))[:, None] + np.minimum(due, kept)
        active[:, self.lag :] += np.maximum(0, counts - now.spec)[:, None]
        active = np.maximum(1.0, active)
        capacity = active * self.plant.rps
        walked = now.queue + np.cumsum((rps - capacity) * TICK_S, axis=1)
        after = walked - np.minimum(0.0, np.minimum.accumulate(walked, axis=1))
        before = np.empty_like(after)
        before[:, 0], before[:, 1:] = now.queue, after[:, :-1]
        return Plan(active, before, after, capacity)

    def _good(self, plan: Plan, rps: Floats, cleared: float) -> Floats:
        """Requests served within both limits, softly counted; a backlog above `cleared` is saturation."""
        served = np.minimum(plan.before + rps * TICK_S, plan.capacity * TICK_S)
        ttft_s = plan.before / plan.capacity + self.plant.prefill_s
        is_saturated = (plan.before > cleared) | (rps >= plan.capacity)
        itl_s = np.where(is_saturated, self.plant.saturated_itl_s, self.plant.itl_s(rps / plan.active))
        return np.asarray(served * _within(ttft_s, self.ttft_s) * _within(itl_s, self.itl_s))

    def feasible(self, counts: Ints, rps: Floats, now: State) -> NDArray[np.bool_]:
        """Whether each smaller fleet keeps utilization and TTFT in bounds at every step."""
        plan = self.plan(counts, rps, now)
        ttft_s = plan.after / plan.capacity + self.plant.prefill_s
        is_easy = (rps <= DOWN_UTILIZATION * plan.capacity) & (ttft_s < DOWN_TTFT_SHARE * self.ttft_s)
        return np.asarray(is_easy.all(axis=1))

    def _floor(self, rps: Floats, now: State) -> int:
        """At a spike of the queue the fewest whose plan clears it; no fewer than provisioned while some start."""
        if not self._spikes(now):
            return self.least
        counts = np.arange(now.spec if self.orders else self.least, self.most + 1)
        clears = self.plan(counts, rps, now).after[:, -1] <= CLEARED
        return int(counts[np.argmax(clears)]) if clears.any() else self.most

    def _search(self, rps: Floats, more: float, now: State) -> int:
        """The cheapest candidate, outwards from the present count until four in a row are worse."""
        smaller: Ints = np.arange(self.least, now.spec if self.down_ticks >= max(1, self.lag) else self.least)
        if len(smaller):
            smaller = smaller[self.feasible(smaller, rps + more, now)]
        ways = iter(range(now.spec, self.most + 1))
        if len(smaller):
            ways = iter(sorted((*ways, *smaller.tolist()), key=lambda n: (abs(n - now.spec), now.spec - n)))
        best, best_cost, present, worse = now.spec, math.inf, 0.0, 0
        while worse < WORSE_IN_A_ROW and (batch := list(islice(ways, WORSE_IN_A_ROW + 1))):
            counts = np.array(batch)
            costs = self.rho * self.gpus * TICK_S * self.steps * counts
            costs -= self._good(self.plan(counts, rps, now), rps, CLEARED).sum(axis=1)
            for n, cost in zip(batch, costs.tolist(), strict=True):
                present = cost if n == now.spec else present
                worse = 0 if cost < best_cost else worse + 1
                best, best_cost = (n, cost) if cost < best_cost else (best, best_cost)
                if worse >= WORSE_IN_A_ROW:
                    break
        return best if (present - best_cost) / max(1e-6, abs(present)) >= DEADBAND else now.spec


def _within(value: Floats, limit: float) -> Floats:
    """1 well within the limit, 0 well beyond."""
    return np.asarray(1.0 / (1.0 + np.exp(np.minimum(50.0, (value - limit) / (SOFTNESS * limit)))))


def _setting(
    knobs: str, *, share: float = 1.0, cold_s: float | None = None, rho: float = 0.1, spike: float = 0.0
) -> Setting:
    def build(deployment: Deployment) -> MpcV3:
        return MpcV3(deployment, share * deployment.starts.mean_s if cold_s is None else cold_s, rho, spike)

    return Setting(knobs, build, default=knobs == "cold=x1 rho=0.1")


PEERS: tuple[Peer, ...] = (
    Peer(
        "mpc-v3",
        "ai-dynamo/dynamo gyms/planner-gym, cloudai_mpc_v3",
        (
            _setting("cold=x1 rho=0.1"),
            _setting("cold=30s rho=0.1", cold_s=30.0),
            _setting("cold=x2 rho=0.1", share=2.0),
            _setting("cold=x1 rho=0.1 spike=2/replica", spike=2.0),
            _setting("cold=x0.5 rho=0.1 spike=2/replica", share=0.5, spike=2.0),
            _setting("cold=x1 rho=0.5 spike=2/replica", rho=0.5, spike=2.0),
        ),
    ),
)
