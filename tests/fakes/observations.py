"""A small fluid fleet in vLLM's signals, to observe with a planner in tests."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from autoscaler.core import Planner
from autoscaler.core.records import (
    Decision,
    HeldReading,
    Observation,
    Replica,
    ReplicaPhase,
    RoleObservation,
    RoleSpec,
    Sample,
    ServiceId,
    ServiceSpec,
)

CHAT = ServiceId("default", "chat")
ROLE = RoleSpec("", 0, 20, 4, "llama-3.1-70b/a100x4", 2048)
SPEC = ServiceSpec(CHAT, (ROLE,), has_wake_source=True, lead_time_prior_s=45.0)


@dataclass(slots=True)
class Fleet:
    """`count` ready replicas that share a load of `rate_rps` evenly; counters only grow."""

    spec: ServiceSpec = SPEC
    prompt: float = 1200.0
    output: float = 200.0
    start_s: float = 1_000_000.0
    counters: dict[str, float] = field(default_factory=dict)

    def sample(self, name: str, at_s: float, rate_rps: float, dt_s: float) -> Sample:
        """The page of one replica after `dt_s` more seconds at a rate."""
        done = self.counters[name] = self.counters.get(name, 0.0) + rate_rps * dt_s
        return Sample(
            at_s,
            "vllm",
            waiting=0.0,
            running=rate_rps * self.output * 0.04,
            kv_usage=0.1,
            kv_capacity_tokens=476_864.0,
            arrivals_counter=done,
            arrivals_pending=0.0,
            prompt_tokens=done * self.prompt,
            generation_tokens=done * self.output,
        )

    def observe(self, at_s: float, count: int, rate_rps: float, dt_s: float = 5.0, held: float = 0.0) -> Observation:
        """One observation of the whole service."""
        share = rate_rps / count if count else 0.0
        replicas = tuple(
            Replica(f"r{i}", ReplicaPhase.READY, sample=self.sample(f"r{i}", at_s, share, dt_s)) for i in range(count)
        )
        reading = HeldReading("gw", at_s, held)
        return Observation(self.spec, (RoleObservation("", replicas),), (reading,))


def run(planner: Planner, fleet: Fleet, rates: list[float], count: int, from_s: float | None = None) -> list[Decision]:
    """Observe a constant number of replicas under a series of rates, one each 5 s."""
    start_s = fleet.start_s if from_s is None else from_s
    return [
        planner.observe(fleet.observe(start_s + 5.0 * i, count, rate), start_s + 5.0 * i)
        for i, rate in enumerate(rates)
    ]


def without_samples(observation: Observation, failure: str | None = "timeout") -> Observation:
    """The same replicas, none of which answers."""
    roles = tuple(
        replace(role, replicas=tuple(replace(r, sample=None, failure=failure) for r in role.replicas or ()))
        for role in observation.roles
    )
    return replace(observation, roles=roles)
