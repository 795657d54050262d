"""The records that flow through the planner: what is observed, and what is decided.

All are frozen and slotted; times are seconds on the clock of `observe`'s `now` (Unix time when live), None means
"the source does not say" and is never to be read as zero.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


@dataclass(frozen=True, slots=True, order=True)
class ServiceId:
    """What users ask for: an InferenceService, an LLMInferenceService, or a bare workload."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, order=True)
class TargetId:
    """One role of a service, the thing with a `/scale`; written `namespace/service[/role]`."""

    service: ServiceId
    role: str = ""

    def __str__(self) -> str:
        return f"{self.service}/{self.role}" if self.role else str(self.service)


@dataclass(frozen=True, slots=True)
class Objective:
    """The latency limits and the share of offered requests that must meet both."""

    ttft_s: float = 3.0
    tpot_s: float = 0.060
    attainment: float = 0.95


class ServiceMode(Enum):
    """Whether the operator lets decisions act."""

    ACT = "act"
    SHADOW = "shadow"


@dataclass(frozen=True, slots=True)
class RoleSpec:
    """What the operator says of one role of a service."""

    role: str = ""  # "", "prefill" or "decode"
    min_replicas: int = 0
    max_replicas: int = 100  # KEDA's own default for maxReplicaCount
    gpus_per_replica: int = 1
    prior: str = "generic"  # key of the step-time prior table, see core.priors
    max_batched_tokens: int | None = None  # the server's tokens per step, which no page tells
    max_sequences: int | None = None  # requests it runs at a time, which most pages do not tell


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """What the operator says of a service: objective, bounds, prices. The only inputs that are not measured."""

    service: ServiceId
    roles: tuple[RoleSpec, ...] = (RoleSpec(),)
    objective: Objective = Objective()
    mode: ServiceMode = ServiceMode.ACT
    has_wake_source: bool = False  # something speaks for the service at zero; else the floor is 1
    zero_without_wake_source: bool = False  # the operator said `wakeSource: none` in so many words
    keep_warm_s: float | None = None  # idle time before zero; None: the break-even time
    gpu_price_per_hour: float = 2.5  # money; only ratios matter until a cold start is priced
    lead_time_prior_s: float = 120.0  # until one start was measured
    period_s: float = 5.0  # decision period
    stale_after_s: float = 15.0  # a sample older than this says nothing about now: three periods
    hold_limit_s: float = 600.0  # blind for longer: unknown


@dataclass(frozen=True, slots=True)
class Histogram:
    """One cumulative histogram as on the page: `counts[i]` observations were <= `bounds[i]`; the last bound is +Inf."""

    bounds: tuple[float, ...]  # seconds, or tokens where the signal says so
    counts: tuple[float, ...]  # cumulative
    total: float  # sum of observations


@dataclass(frozen=True, slots=True)
class Sample:
    """What one scrape of one replica said, in canonical signals; counters are as on the page, resets included."""

    at_s: float
    server: str  # profile name
    model: str | None = None
    waiting: float | None = None  # requests, not yet in a batch
    running: float | None = None  # requests in the batch, prefill included
    max_running: float | None = None  # requests
    kv_usage: float | None = None  # 0..1
    kv_capacity_tokens: float | None = None
    # Arrivals between two samples = change of arrivals_counter + change of arrivals_pending: the counter is the
    # server's earliest per-request event (first token, start, or finish), pending the requests that arrived before it.
    arrivals_counter: float | None = None
    arrivals_pending: float | None = None
    prompt_tokens: float | None = None  # counter, tokens
    cached_prompt_tokens: float | None = None  # counter, prompt tokens that the prefix cache saved
    generation_tokens: float | None = None  # counter, tokens
    rejected: float | None = None  # counter, requests refused by admission: demand that waiting hides
    preemptions: float | None = None  # counter
    ttft: Histogram | None = None
    itl: Histogram | None = None  # per token or per message: use total/count for speed, see the profile
    tpot: Histogram | None = None  # per-request mean time per output token
    prompt_sizes: Histogram | None = None  # tokens of finished requests: the bounds are tokens, not seconds
    output_sizes: Histogram | None = None  # the same for what was generated
    step_tokens: Histogram | None = None  # tokens computed per engine step
    started_at_s: float | None = None  # process start, where the page has it
    asleep: bool = False  # answers, but has no capacity (vLLM sleep mode)


class ReplicaPhase(Enum):
    """Where a serving unit is in its life."""

    PENDING = "pending"  # asked for, no node yet
    STARTING = "starting"  # on a node, not serving
    READY = "ready"
    DRAINING = "draining"  # finishes what it has, takes nothing new


@dataclass(frozen=True, slots=True)
class Replica:
    """One serving unit (a pod, or a LeaderWorkerSet group), and the newest that its page said."""

    replica_id: str  # pod uid with restart count, or URL: a new life has a new id
    phase: ReplicaPhase
    created_at_s: float | None = None
    scheduled_at_s: float | None = None
    ready_at_s: float | None = None
    sample: Sample | None = None
    failure: str | None = None  # why the last scrape failed; None: it succeeded
    restarts: int = 0  # lives before this one: it answered once, and then nothing listened


@dataclass(frozen=True, slots=True)
class RoleObservation:
    """The replicas of one role at one time."""

    role: str = ""
    replicas: tuple[Replica, ...] | None = None  # None: the list could not be read
    spec_replicas: int | None = None  # of the scale subresource; None without Kubernetes
    status_replicas: int | None = None
    stopped: bool = False  # the workload is gone or stopped by its owner: neither an error nor a zero
    max_replicas_now: int | None = None  # what quota or budget leave, from the allocator


@dataclass(frozen=True, slots=True)
class HeldReading:
    """What a gateway, router or activator says of requests for the service, replicas or not."""

    source: str
    at_s: float
    held: float | None = None  # requests waiting there now
    arrivals: float | None = None  # counter of requests that came in


@dataclass(frozen=True, slots=True)
class Wake:
    """A call of the wake API: keep at least `replicas` until `expires_at_s`."""

    replicas: int
    expires_at_s: float


@dataclass(frozen=True, slots=True)
class Observation:
    """All samples, replica states and held requests of a service, per role, at one time."""

    spec: ServiceSpec
    roles: tuple[RoleObservation, ...]
    held: tuple[HeldReading, ...] = ()
    wakes: tuple[Wake, ...] = ()


class Mode(Enum):
    """How much a decision knows."""

    NORMAL = "normal"
    HOLD = "hold"  # blind for a while: keep what is there
    UNKNOWN = "unknown"  # never seen, or blind for too long: an error, not a number
    SHADOW = "shadow"  # decide, publish, do not act


@dataclass(frozen=True, slots=True)
class Reason:
    """One rule or clamp that shaped a decision: its name, one sentence, its numbers."""

    code: str  # snake_case, stable
    text: str
    numbers: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class RoleDecision:
    """The exact number of replicas asked for one role, and why."""

    role: str
    replicas: int
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class Estimates:
    """What the planner believes of one role, for metrics and explanation; None where nothing is known yet."""

    role: str
    arrivals_rps: float | None = None
    prompt_tokens_mean: float | None = None
    output_tokens_mean: float | None = None
    capacity_rps: float | None = None  # of one replica, inside the objective
    demand_replicas: float | None = None  # work arriving, in replica-seconds per second
    forecast_replicas: float | None = None  # the same as expected at the horizon, at the aim and before rounding
    lead_time_s: float | None = None
    attainment: float | None = None  # measured from pages, where they tell
    backlog_requests: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """A replica count per role, one activity, a mode, reasons."""

    service: ServiceId
    at_s: float
    mode: Mode
    active: bool
    roles: tuple[RoleDecision, ...]
    reasons: tuple[Reason, ...] = ()  # of the service as a whole
    estimates: tuple[Estimates, ...] = field(default=())
    next_in_s: float = 5.0  # when to decide again: 1 s while something is waking

    def role(self, name: str) -> RoleDecision | None:
        """The decision for one role, None if the service has no such role."""
        return next((role for role in self.roles if role.role == name), None)
