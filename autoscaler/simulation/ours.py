"""The planner as a policy: the live service's own object, fed with what its scrapes would have read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autoscaler.core.planner import Planner
from autoscaler.core.records import (
    Decision,
    HeldReading,
    Histogram,
    Mode,
    Observation,
    Replica,
    ReplicaPhase,
    RoleObservation,
    RoleSpec,
    Sample,
    ServiceId,
    ServiceSpec,
)
from autoscaler.simulation.engines import (
    CACHED_DONE,
    GENERATED,
    ITL_COUNT,
    ITL_S,
    PREEMPTIONS,
    PROMPT_DONE,
    SIZE_BOUNDS,
    STEP_TOKENS_BOUNDS,
    TPOT_BOUNDS,
    TPOT_S,
    TTFT_BOUNDS,
    TTFT_S,
)
from autoscaler.simulation.hpa import KedaParams, exact
from autoscaler.simulation.policy import AverageValue, Metric
from autoscaler.simulation.scenario import Scenario
from autoscaler.simulation.view import View

INF = float("inf")
TTFT, TPOT, SIZES, STEPS = ((*bounds, INF) for bounds in (TTFT_BOUNDS, TPOT_BOUNDS, SIZE_BOUNDS, STEP_TOKENS_BOUNDS))
SERVICE = ServiceId("simulated", "service")


def spec_of(scenario: Scenario, prior: str = "generic") -> ServiceSpec:
    """What an operator would say of the scenario: objective and bounds, nothing of the traffic or the server."""
    role = RoleSpec("", scenario.min_replicas, scenario.max_replicas, scenario.gpus_per_replica, prior)
    return ServiceSpec(SERVICE, (role,), scenario.objective, has_wake_source=scenario.min_replicas == 0)


class Ours:
    """The planner behind KEDA's external-push trigger with the ScaledObject that its chart ships."""

    scrape_s = 5.0

    def __init__(self, spec: ServiceSpec, planner: Planner | None = None) -> None:
        self.keda: KedaParams = exact(spec.roles[0].max_replicas)
        self.spec = spec
        self.planner = planner or Planner()
        self.decision: Decision | None = None
        self.decisions: list[Decision] = []
        self.keep = False

    def tick(self, view: View, now_s: float) -> float:
        """Decide; gives the seconds until the next tick."""
        self.decision = self.planner.observe(observation(self.spec, view, now_s), now_s)
        if self.keep:
            self.decisions.append(self.decision)
        return self.decision.next_in_s

    def metrics(self, view: View, now_s: float) -> Sequence[Metric | None]:
        """The one metric `replicas`, target 1."""
        if self.decision is None or self.decision.mode is Mode.UNKNOWN:
            return (None,)
        return (AverageValue(float(self.decision.roles[0].replicas), 1.0),)

    def active(self, view: View, now_s: float) -> bool:
        """Whether the service should run at all."""
        return self.decision is None or self.decision.active


def observation(spec: ServiceSpec, view: View, now_s: float) -> Observation:
    """A view as the live service's own record."""
    held = (HeldReading("gateway", view.at_s, float(view.held), float(view.arrivals)),) if spec.has_wake_source else ()
    replicas = (*_serving(view, now_s), *_coming(view))
    return Observation(spec, (RoleObservation("", replicas, view.spec),), held)


def _coming(view: View) -> list[Replica]:
    return [
        Replica(
            str(one.serial),
            ReplicaPhase.PENDING if one.scheduled_s is None else ReplicaPhase.STARTING,
            one.created_s,
            one.scheduled_s,
        )
        for one in view.coming
    ]


def _serving(view: View, now_s: float) -> list[Replica]:
    failure = "no answer" if view.at_s < now_s else None
    ttft, tpot = np.cumsum(view.ttft, axis=1, dtype=float).tolist(), np.cumsum(view.tpot, axis=1, dtype=float).tolist()
    steps = np.cumsum(view.step_tokens, axis=1, dtype=float).tolist()
    prompts, outputs = (
        np.cumsum(view.prompt_sizes, axis=1, dtype=float).tolist(),
        np.cumsum(view.output_sizes, axis=1, dtype=float).tolist(),
    )
    floats, ints = view.floats.tolist(), view.ints.tolist()
    kv_usage, waiting, running = view.kv_usage.tolist(), view.waiting.tolist(), view.running.tolist()
    replicas = []
    for place in range(view.ready):
        f, n = floats[place], ints[place]
        first = float(ttft[place][-1])
        sample = Sample(
            at_s=view.at_s,
            server="vllm",
            waiting=float(waiting[place]),
            running=float(running[place]),
            kv_usage=kv_usage[place],
            kv_capacity_tokens=view.kv_tokens,
            arrivals_counter=first,
            arrivals_pending=float(waiting[place]),
            prompt_tokens=f[PROMPT_DONE],
            cached_prompt_tokens=f[CACHED_DONE],
            generation_tokens=f[GENERATED],
            preemptions=float(n[PREEMPTIONS]),
            ttft=Histogram(TTFT, tuple(ttft[place]), f[TTFT_S]),
            itl=Histogram((INF,), (f[ITL_COUNT],), f[ITL_S]),
            tpot=Histogram(TPOT, tuple(tpot[place]), f[TPOT_S]),
            prompt_sizes=Histogram(SIZES, tuple(prompts[place]), f[PROMPT_DONE]),
            output_sizes=Histogram(SIZES, tuple(outputs[place]), f[GENERATED]),
            step_tokens=Histogram(STEPS, tuple(steps[place]), 0.0),
        )
        replicas.append(
            Replica(
                str(view.serial[place]),
                ReplicaPhase.READY,
                float(view.created_s[place]),
                float(view.scheduled_s[place]),
                float(view.ready_s[place]),
                sample,
                failure,
            )
        )
    return replicas
