"""The Kubernetes layer around a simulated fleet, in virtual time: scrapes, KEDA, the HPA, ReplicaSet, pods.

Law: a policy meets here what it would meet live: pages as old as its scrapes, polls, pushes and syncs on their own
timers, starts that take their time, removal in the ReplicaSet's order. The truth is only told by `Run`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from autoscaler.simulation import hpa
from autoscaler.simulation.engines import NONE, Floats, Ints, new_requests
from autoscaler.simulation.fleet import ALIVE, LOADING, Fleet, create, new_fleet, restart_counters, retire, run
from autoscaler.simulation.kernel import bound
from autoscaler.simulation.policy import HpaPolicy, ScalePolicy, TickingPolicy, desired_of_all
from autoscaler.simulation.scenario import FaultKind, Life, Scenario, billed_s
from autoscaler.simulation.view import PageReader, View

DRAIN_S = 900.0  # after the scored part nothing scales and nothing comes; what is inside has this long to finish
SYNC_S = 15.0  # the HPA's

Policy = ScalePolicy | HpaPolicy | TickingPolicy


@dataclass(frozen=True, slots=True)
class Run:
    """What became of a scenario under a policy; the truth, for scoring."""

    scenario: Scenario
    arrival_s: Floats  # every request's
    first_s: Floats  # -1: never
    finish_s: Floats
    lives: tuple[Life, ...]
    steps: tuple[tuple[float, int], ...]  # changes of spec.replicas, the first at the beginning


class World:
    """One run of one scenario; the seed varies start-up times, routing among equals, timers and removal order.

    `onlooker` is called whenever time has moved, and may end the run by raising.
    """

    def __init__(self, scenario: Scenario, seed: int, onlooker: Callable[[World], None] | None = None) -> None:
        trace = scenario.trace
        self.scenario = scenario
        self._onlooker = onlooker
        self._rng = np.random.default_rng(seed)
        requests = new_requests(trace.arrival_s, trace.prompt_tokens, trace.output_tokens)
        room = 2 * scenario.max_replicas + 8  # as many may drain
        luck = self._rng.random(len(trace.arrival_s))
        self.fleet: Fleet = new_fleet(requests, scenario.params, room, luck, scenario.routing)
        self.now_s = scenario.from_s
        self._reset_s = self._fault_s(FaultKind.RESET)  # inf: it is over, or never comes
        self._run_fleet = bound(run, self.fleet, scenario.params, 0.0)
        self._create_one = bound(create, self.fleet, 0.0, 0.0, 0.0)
        self._retire = bound(retire, self.fleet, 0, 0.0)
        self._serials: Ints = np.zeros(room, dtype=np.int64)
        self._pages = PageReader(self.fleet, self._serials, scenario.params.kv_tokens)
        self._serial = 0
        self._lives: list[Life] = []
        self._living: dict[int, Life] = {}  # by place
        self.spec = 0
        self.steps: list[tuple[float, int]] = []
        for _ in range(scenario.initial_replicas):
            self._create(0.0, 0.0)
        self.spec = scenario.initial_replicas
        self.steps.append((self.now_s, self.spec))
        self._advance(self.now_s + 1e-6)

    # --- time and pods -----------------------------------------------------------------------------------------------

    def _advance(self, until_s: float) -> None:
        if self.now_s <= self._reset_s < until_s:
            self._run_fleet(self.fleet, self.scenario.params, self._reset_s)
            self._reset_s = np.inf
            restart_counters(self.fleet)
        if until_s > self.now_s:
            self._run_fleet(self.fleet, self.scenario.params, until_s)
            self.now_s = until_s
            if self._onlooker is not None:
                self._onlooker(self)

    def _fault_s(self, kind: FaultKind) -> float:
        """When the scenario's fault of this kind begins; inf: it has none."""
        fault = self.scenario.fault
        return fault.at_s if fault is not None and fault.kind is kind else np.inf

    def _during(self, kind: FaultKind, at_s: float) -> bool:
        fault = self.scenario.fault
        return fault is not None and fault.kind is kind and fault.at_s <= at_s < fault.at_s + fault.for_s

    def _create(self, node_s: float, start_s: float) -> None:
        place = self._create_one(self.fleet, self.now_s, node_s, start_s)
        if place == NONE:  # every place drains: the cluster is full, a later sync tries again
            return
        former = self._living.pop(place, None)
        if former is not None:
            self._lives.append(replace(former, ended_s=self._ended_s[place]))
        self._serial += 1
        self._serials[place] = self._serial
        self._living[place] = Life(self.now_s, self.now_s + node_s, self.now_s + node_s + start_s, np.inf)
        self._ended_s[place] = np.inf

    @property
    def _ended_s(self) -> Floats:
        return self.fleet.ended_s

    def scale_to(self, count: int) -> None:
        """Make spec.replicas `count`: create, or take away in the ReplicaSet's order."""
        if count != self.spec:
            self.spec = count
            self.steps.append((self.now_s, count))
        present = self._alive()
        for _ in range(count - present):
            self._create(*self.scenario.starts.draw(self._rng))
        if present > count:
            for place in self._removal_order()[: present - count]:
                self._retire(self.fleet, place, self.now_s)

    def _alive(self) -> int:
        """Replicas that load or serve; what drains or is gone is not counted."""
        return int(self.fleet.line[ALIVE])

    def _removal_order(self) -> list[int]:
        """Places in the order in which a ReplicaSet takes pods away (kubernetes pkg/controller/controller_utils.go).

        Not on a node, then not ready, then by how long they have been ready, in powers of two, the newest first; equal
        ones in any order.
        """
        fleet = self.fleet
        loading = [int(r) for r in np.nonzero(fleet.phase == LOADING)[0]]
        loading.sort(key=lambda r: (fleet.scheduled_s[r] <= self.now_s, -fleet.created_s[r]))
        serving = [int(r) for r in np.sort(fleet.serving[: fleet.line[4]])]
        luck = self._rng.random(len(serving))
        age = [int(np.log2(max(1.0, self.now_s - fleet.ready_s[r]))) for r in serving]
        return loading + [serving[k] for k in np.lexsort((luck, np.array(age)))]

    def look(self) -> View:
        """What a scrape would tell now."""
        return self._pages.look(self.spec, self.now_s)

    def _clip(self, count: int) -> int:
        return min(self.scenario.max_replicas, max(self.scenario.min_replicas, count))

    # --- who scales --------------------------------------------------------------------------------------------------

    def run(self, policy: Policy, again: Callable[[], Policy] | None = None) -> Run:
        """The whole scenario under a policy; `again` makes the one that comes up after a RESTART of its process."""
        if isinstance(policy, ScalePolicy):
            self._run_by_itself(policy, again)
        else:
            self._run_by_keda(policy, again)
        return self._end()

    def replay(self, plan: tuple[tuple[float, int], ...]) -> Run:
        """The scenario with spec.replicas changed at given times."""
        for at_s, count in plan:
            if at_s >= self.scenario.end_s:
                break
            self._advance(max(at_s, self.now_s))
            self.scale_to(count)
        return self._end()

    def _end(self) -> Run:
        scenario, fleet = self.scenario, self.fleet
        self._advance(scenario.end_s)
        fleet.line[0] = len(fleet.requests.arrival_s)  # no more arrivals; what is held or inside may still finish
        self._advance(scenario.end_s + DRAIN_S)
        requests = fleet.requests
        return Run(scenario, requests.arrival_s, requests.first_s, requests.finish_s, self._all(), tuple(self.steps))

    def _all(self) -> tuple[Life, ...]:
        there = (replace(life, ended_s=float(self._ended_s[place])) for place, life in self._living.items())
        return (*self._lives, *there)

    def billed_s(self, from_s: float, until_s: float) -> float:
        """Replica-seconds paid for so far within a span."""
        return billed_s(self._all(), from_s, until_s)

    def _run_by_itself(self, policy: ScalePolicy, again: Callable[[], Policy] | None) -> None:
        scrape_s, decide_s = self.now_s, self.now_s + policy.period_s * self._rng.random()
        restart_s = self._fault_s(FaultKind.RESTART)
        view = self.look()
        while (at_s := min(scrape_s, decide_s)) < self.scenario.end_s:
            if at_s >= restart_s and again is not None:
                restart_s, reborn = np.inf, again()
                policy = reborn if isinstance(reborn, ScalePolicy) else policy
            down = self._during(FaultKind.RESTART, at_s)
            if at_s == scrape_s:
                scrape_s += policy.scrape_s
                if not (down or self._during(FaultKind.BLACKOUT, at_s)):
                    self._advance(at_s)
                    view = self.look()
            if at_s == decide_s:
                decide_s += policy.period_s
                if down:
                    continue
                # The object's own replica count is read when it is written, whatever the age of the pages.
                wanted = self._clip(policy.decide(_with_spec(view, self.spec), at_s))
                if wanted != self._alive():
                    self._advance(at_s)
                self.scale_to(wanted)

    def _run_by_keda(self, policy: HpaPolicy | TickingPolicy, again: Callable[[], Policy] | None) -> None:
        scenario = self.scenario
        keda = policy.keda._replace(min_replicas=scenario.min_replicas, max_replicas=scenario.max_replicas)
        state = hpa.new_keda(keda, self.spec, self.now_s)
        poll = bound(hpa.poll, keda, state, 0.0, True, True, 0)
        settle = bound(hpa.settle, keda, state, 0.0, 0, True)
        scrape_s = tick_s = self.now_s
        poll_s = self.now_s + keda.polling_interval_s * self._rng.random()
        sync_s = self.now_s + SYNC_S * self._rng.random()
        restart_s = self._fault_s(FaultKind.RESTART)
        ticking = policy if isinstance(policy, TickingPolicy) else None
        view, was_active = self.look(), True
        # The fleet is only brought up to date where somebody looks at it or changes it: a kernel's call costs as much
        # as ten requests.
        while (at_s := min(scrape_s, poll_s, sync_s)) < scenario.end_s:
            spec = self.spec
            if at_s >= restart_s and again is not None:
                restart_s, reborn = np.inf, again()
                policy = policy if isinstance(reborn, ScalePolicy) else reborn
                ticking = policy if isinstance(policy, TickingPolicy) else None
            down = self._during(FaultKind.RESTART, at_s)  # every call to it is an error
            if at_s == scrape_s:
                scrape_s += policy.scrape_s
                if not (down or self._during(FaultKind.BLACKOUT, at_s)):
                    self._advance(at_s)
                    view = self.look()
                if ticking is not None and not down:
                    tick_s = at_s + ticking.tick(_with_spec(view, spec), at_s)
                    scrape_s = tick_s
                    active = ticking.active(view, at_s)
                    if active and not was_active:
                        spec = poll(keda, state, at_s, True, True, hpa.BY_PUSH)
                    was_active = active
            now_view = _with_spec(view, spec)
            if at_s == poll_s:
                poll_s += keda.polling_interval_s
                active = not down and policy.active(now_view, at_s)
                spec = poll(keda, state, at_s, active, not down, hpa.BY_POLL)
            if at_s == sync_s:
                sync_s += SYNC_S
                asked = None if down else desired_of_all(policy.metrics(now_view, at_s), now_view, keda)
                spec = settle(keda, state, at_s, asked or 0, asked is not None)
            if spec != self.spec:
                self._advance(at_s)
                self.scale_to(spec)


def _with_spec(view: View, spec: int) -> View:
    return view if view.spec == spec else view._replace(spec=spec)
