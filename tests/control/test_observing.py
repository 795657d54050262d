"""Phases of replicas without Kubernetes: from listings and scrapes alone."""

from __future__ import annotations

from collections.abc import Iterable

from autoscaler.config.records import ListKind, ReplicaList, TargetSettings
from autoscaler.control.observing import RoleWatch
from autoscaler.core import Planner
from autoscaler.core.records import HeldReading, Observation, Replica, ReplicaPhase, RoleObservation, Sample
from autoscaler.ports import Endpoint, ListedReplica, Listing, ScrapeState
from tests.fakes.observations import SPEC

T0 = 1_000_000.0
DAY_S = 86_400.0


class Pages:
    """A SampleSource that says what the test sets."""

    def __init__(self) -> None:
        self.states: dict[str, ScrapeState] = {}

    def watch(self, owner: str, endpoints: Iterable[Endpoint]) -> None:
        """Nothing to do."""

    def state(self, replica_id: str) -> ScrapeState:
        """What was set."""
        return self.states.get(replica_id.split("|")[1], ScrapeState())

    def answers(self, name: str, at_s: float, arrivals: float = 0.0) -> None:
        sample = Sample(at_s, "vllm", waiting=0.0, running=0.0, arrivals_counter=arrivals, arrivals_pending=0.0)
        self.states[name] = ScrapeState(sample, None, False, 1, 0)

    def refuses(self, name: str) -> None:
        former = self.states.get(name, ScrapeState())
        self.states[name] = ScrapeState(former.sample, "nothing listens", True, former.attempts + 1, 1)


def watch() -> tuple[RoleWatch, Pages]:
    return RoleWatch(TargetSettings("", ReplicaList(ListKind.STATIC)), "default/chat/"), Pages()


def listing(at_s: float, **created: float | None) -> Listing:
    listed = tuple(ListedReplica(name, f"http://{name}/metrics", at) for name, at in created.items())
    return Listing(listed, at_s)


def only(role: RoleObservation) -> Replica:
    assert role.replicas is not None
    (replica,) = role.replicas
    return replica


def test_a_replica_that_was_there_before_us_tells_no_start_up_time() -> None:
    # A pod of last week, read for the first time, was learned as a start of a week.
    one, pages = watch()
    seen = listing(T0, a=T0 - 7 * DAY_S)
    assert only(one.observe(seen, pages, T0)).phase is ReplicaPhase.STARTING
    pages.answers("a", T0 + 1)
    ready = only(one.observe(seen, pages, T0 + 5))
    assert (ready.phase, ready.ready_at_s) == (ReplicaPhase.READY, None)


def test_a_pod_of_last_week_whose_container_starts_anew_tells_none_either() -> None:
    one, pages = watch()
    seen = listing(T0, a=T0 - 7 * DAY_S)
    pages.refuses("a")
    one.observe(seen, pages, T0)
    pages.answers("a", T0 + 60)
    assert only(one.observe(seen, pages, T0 + 60)).ready_at_s is None


def test_a_replica_that_appears_later_is_measured_from_its_creation() -> None:
    one, pages = watch()
    one.observe(listing(T0), pages, T0)
    seen = listing(T0 + 5, a=T0 + 2)
    pages.refuses("a")
    assert only(one.observe(seen, pages, T0 + 5)).phase is ReplicaPhase.STARTING
    pages.answers("a", T0 + 47)
    ready = only(one.observe(seen, pages, T0 + 50))
    assert (ready.created_at_s, ready.ready_at_s) == (T0 + 2, T0 + 47)


def test_after_a_list_was_out_for_an_hour_what_it_names_anew_is_not_measured() -> None:
    one, pages = watch()
    one.observe(listing(T0), pages, T0)
    pages.answers("a", T0 + 3601)
    seen = listing(T0 + 3600, a=T0 - 10)
    assert only(one.observe(seen, pages, T0 + 3602)).ready_at_s is None


def test_one_that_answered_and_refuses_starts_a_new_life() -> None:
    one, pages = watch()
    seen = listing(T0, a=None)
    pages.answers("a", T0)
    assert only(one.observe(seen, pages, T0)).replica_id == "a"
    pages.refuses("a")
    again = only(one.observe(seen, pages, T0 + 5))
    assert (again.replica_id, again.phase, again.restarts) == ("a#1", ReplicaPhase.STARTING, 1)


def test_the_counters_of_a_server_met_for_the_first_time_are_a_baseline_and_not_a_load() -> None:
    # 1,000,000 requests since last week, read as those of one second, asked for every replica there may be.
    one, pages = watch()
    planner = Planner()
    seen = listing(T0, a=T0 - 7 * DAY_S)
    for i in range(10):
        now = T0 + 5.0 * i
        role = one.observe(seen, pages, now)
        decision = planner.observe(Observation(SPEC, (role,), (HeldReading("gw", now, 0.0),)), now)
        pages.answers("a", now + 1, 1_000_000.0 + i)
        assert decision.roles[0].replicas <= 1, decision.roles[0].reasons
    assert decision.estimates[0].lead_time_s == SPEC.lead_time_prior_s
