"""Our own metrics page."""

from __future__ import annotations

import asyncio

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

from autoscaler.core.records import Decision, Mode, Observation, ServiceId

_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
LAG_PROBE_S = 0.1


class Metrics:
    """Every metric of ours, in a registry of its own; takes decisions, calls and scrapes as an observer."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.labels: dict[str, tuple[str, ...]] = {}  # of every metric, by its full name without _total
        target = ("namespace", "service", "role")

        def named(name: str, labels: tuple[str, ...]) -> str:
            self.labels[f"llm_autoscaler_{name}"] = labels
            return f"llm_autoscaler_{name}"

        def gauge(name: str, text: str, labels: tuple[str, ...] = target) -> Gauge:
            return Gauge(named(name, labels), text, labels, registry=registry)

        def counter(name: str, text: str, labels: tuple[str, ...]) -> Counter:
            return Counter(named(name, labels), text, labels, registry=registry)

        def histogram(name: str, text: str, labels: tuple[str, ...] = ()) -> Histogram:
            return Histogram(named(name, labels), text, labels, registry=registry, buckets=_SECONDS)

        self._asked = gauge("asked_replicas", "Replicas asked for.")
        self._listed = gauge("listed_replicas", "Replicas listed, whether they answer or not.")
        self._demand = gauge("demand_replicas", "Work arriving, in replicas.")
        self._capacity = gauge("capacity_rps", "Requests/s one replica carries inside the objective.")
        self._arrivals = gauge("arrivals_rps", "Requests/s arriving.")
        self._lead = gauge("lead_time_seconds", "Decision to serving, 90th percentile.")
        self._attainment = gauge("attainment_ratio", "Share of requests inside the objective, as pages tell.")
        self._backlog = gauge("backlog_requests", "Requests waiting and held.")
        self._data_age = gauge("data_age_seconds", "Age of the oldest newest sample of a ready replica.")
        service = ("namespace", "service")
        self._active = gauge("active", "1 while the service should run.", service)
        self._mode = gauge("mode", "1 for the mode of the newest decision.", (*service, "mode"))
        self._of_services = [self._asked, self._listed, self._demand, self._capacity, self._arrivals, self._lead]
        self._of_services += [self._attainment, self._backlog, self._data_age, self._active, self._mode]
        self._decisions = counter("decisions", "Decisions made.", (*service, "mode"))
        self._reasons = counter("decision_reasons", "Rules that shaped decisions.", (*service, "code"))
        self._took = histogram("decision_duration_seconds", "Time of one decision.")
        self._scrapes = counter("scrapes", "Scrapes of replicas.", ("outcome",))
        self._scrape_took = histogram("scrape_duration_seconds", "Time of one scrape, reading included.", ("outcome",))
        self._calls = counter("grpc_calls", "Calls of KEDA.", ("method", "code"))
        self._call_took = histogram("grpc_call_duration_seconds", "Time of one call of KEDA.", ("method",))
        self._streams = gauge("grpc_push_streams", "Open push streams.", ())
        self._owner = gauge("owner", "1 while this replica plans, 0 while it follows another.", ())
        self._terms = counter("terms", "Times this replica began to plan.", ())
        self._followers = gauge("followers", "Replicas that follow this one.", ())
        self._lease_problem = gauge("lease_problem", "1 while the Lease cannot be read or written.", ())
        self._without_lease = gauge(
            "plans_without_lease", "1 while this replica plans though the API server forbids it the Lease.", ()
        )
        watched = ("resource", "kube_namespace")
        self._informers = gauge(
            "kube_watched", "1 while a kind is watched, 0 while it is turned off: no CRD, or no rule.", watched
        )
        self._lists = counter("kube_lists", "Lists of a kind of Kubernetes object.", (*watched, "reason"))
        self._kube_failures = counter("kube_failures", "Lists and watches that failed.", (*watched, "reason"))
        self._writes = counter(
            "kube_writes",
            "What writers wrote into the cluster, and what did not come to be: conflict (somebody wrote first), "
            "refused (no rule, or no CRD), failed, limited (by us).",
            ("writer", "namespace", "outcome"),
        )
        self._lag = histogram("loop_lag_seconds", "How late the event loop ran a timer.")

    def publish(self, observation: Observation, decision: Decision, took_s: float) -> None:
        """Take one decision (a `DecisionSink`)."""
        service = (decision.service.namespace, decision.service.name)
        self._took.observe(took_s)
        self._active.labels(*service).set(decision.active)
        for mode in Mode:
            self._mode.labels(*service, mode.value).set(mode is decision.mode)
        self._decisions.labels(*service, decision.mode.value).inc()
        for reason in decision.reasons:
            self._reasons.labels(*service, reason.code).inc()
        for role in decision.roles:
            self._asked.labels(*service, role.role).set(role.replicas)
            for reason in role.reasons:
                self._reasons.labels(*service, reason.code).inc()
        for seen in observation.roles:
            replicas = seen.replicas or ()
            self._listed.labels(*service, seen.role).set(len(replicas))
            ages = [decision.at_s - replica.sample.at_s for replica in replicas if replica.sample]
            self._data_age.labels(*service, seen.role).set(max(ages, default=0.0))
        for estimates in decision.estimates:
            for gauge, value in (
                (self._demand, estimates.demand_replicas),
                (self._capacity, estimates.capacity_rps),
                (self._arrivals, estimates.arrivals_rps),
                (self._lead, estimates.lead_time_s),
                (self._attainment, estimates.attainment),
                (self._backlog, estimates.backlog_requests),
            ):
                if value is not None:
                    gauge.labels(*service, estimates.role).set(value)

    def scraped(self, outcome: str, took_s: float) -> None:
        """Take the fate of one scrape."""
        self._scrapes.labels(outcome).inc()
        self._scrape_took.labels(outcome).observe(took_s)

    def called(self, method: str, code: str, took_s: float) -> None:
        """Take the fate of one call."""
        self._calls.labels(method, code).inc()
        self._call_took.labels(method).observe(took_s)

    def streams(self, change: int) -> None:
        """A push stream opened (+1) or ended (-1)."""
        self._streams.inc(change)

    def owns(self, owner: bool) -> None:
        """This replica began to plan, or ended; what it said of services is then no longer its to say."""
        self._owner.set(owner)
        if owner:
            self._terms.inc()
            return
        for gauge in self._of_services:
            gauge.clear()

    def forgets(self, service: ServiceId) -> None:
        """A service is planned no more: what was said of it is not kept standing."""
        for gauge in self._of_services:
            found = [sample for metric in gauge.collect() for sample in metric.samples]
            for sample in found:
                if (sample.labels["namespace"], sample.labels["service"]) == (service.namespace, service.name):
                    gauge.remove(*(sample.labels[label] for label in self.labels[sample.name]))

    def followers(self, change: int) -> None:
        """A follower came (+1) or went (-1)."""
        self._followers.inc(change)

    def lease_problem(self, problem: bool) -> None:
        """The Lease cannot be used, or can again."""
        self._lease_problem.set(problem)

    def plans_without_lease(self, alone: bool) -> None:
        """The Lease is forbidden and nobody else is heard."""
        self._without_lease.set(alone)

    def available(self, resource: str, namespace: str, available: bool) -> None:
        """A kind of Kubernetes object is watched, or turned off (an `InformerMetrics`)."""
        self._informers.labels(resource, namespace).set(available)

    def listed(self, resource: str, namespace: str, reason: str) -> None:
        """A kind was listed: first, gone, resync."""
        self._lists.labels(resource, namespace, reason).inc()

    def failed(self, resource: str, namespace: str, reason: str) -> None:
        """A list or watch failed."""
        self._kube_failures.labels(resource, namespace, reason).inc()

    def wrote(self, writer: str, namespace: str, outcome: str) -> None:
        """A writer wrote something, or did not (a `WriteMetrics`)."""
        self._writes.labels(writer, namespace, outcome).inc()

    async def probe_lag(self) -> None:
        """Measure for ever how late the event loop runs a timer."""
        loop = asyncio.get_running_loop()
        while True:
            due_s = loop.time() + LAG_PROBE_S
            await asyncio.sleep(LAG_PROBE_S)
            self._lag.observe(max(0.0, loop.time() - due_s))

    def render(self) -> bytes:
        """The page."""
        return generate_latest(self.registry)
