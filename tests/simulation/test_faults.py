"""What a restart of the policy and of the servers' counters do to a world."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autoscaler.simulation.engines import GENERATED
from autoscaler.simulation.hpa import KedaParams, exact
from autoscaler.simulation.policy import AverageValue, Metric
from autoscaler.simulation.scenario import Fault, FaultKind
from autoscaler.simulation.view import View
from autoscaler.simulation.world import World
from tests.fakes.small_worlds import small_scenario, steps


class Asks:
    """Asks for a number, and remembers when it was asked and what it saw."""

    scrape_s = 15.0

    def __init__(self, replicas: float) -> None:
        self.keda: KedaParams = exact(20)
        self.replicas = replicas
        self.seen: list[tuple[float, View]] = []

    def metrics(self, view: View, now_s: float) -> Sequence[Metric | None]:
        self.seen.append((now_s, view))
        return (AverageValue(self.replicas, 1.0),)

    def active(self, view: View, now_s: float) -> bool:  # noqa: ARG002
        return True


class Writes:
    """The same, by its own hand."""

    period_s = scrape_s = 10.0

    def __init__(self, replicas: int) -> None:
        self.replicas = replicas
        self.at_s: list[float] = []

    def decide(self, view: View, now_s: float) -> int:  # noqa: ARG002
        self.at_s.append(now_s)
        return self.replicas


def test_nothing_answers_while_a_policy_is_down_and_a_new_one_takes_over() -> None:
    scenario = small_scenario(steps((900.0, 0.5)), 900.0, fault=Fault(FaultKind.RESTART, 300.0, 60.0))
    old, new = Asks(2.0), Asks(3.0)
    run = World(scenario, 0).run(old, lambda: new)
    assert max(at for at, _ in old.seen) < 300.0
    assert min(at for at, _ in new.seen) >= 360.0
    assert [count for at, count in run.steps if 300.0 <= at < 360.0] == []  # an error holds
    assert run.steps[-1][1] == 3


def test_a_policy_that_writes_by_itself_is_replaced_too() -> None:
    scenario = small_scenario(steps((900.0, 0.5)), 900.0, fault=Fault(FaultKind.RESTART, 300.0, 60.0))
    old, new = Writes(2), Writes(4)
    run = World(scenario, 0).run(old, lambda: new)
    assert max(old.at_s) < 300.0
    assert min(new.at_s) >= 360.0
    assert run.steps[-1][1] == 4


def test_counters_restart_on_the_page_and_go_on_in_the_sum_of_a_store() -> None:
    trace = steps((900.0, 2.0))
    policy = Asks(4.0)
    World(small_scenario(trace, 900.0, initial=4, fault=Fault(FaultKind.RESET, 450.0)), 0).run(policy)
    before = [view for at, view in policy.seen if at < 450.0][-1]
    after = next(view for at, view in policy.seen if view.at_s > 450.0)
    assert after.floats[:, GENERATED].sum() < 0.2 * before.floats[:, GENERATED].sum()
    assert after.ttft.sum() < 0.2 * before.ttft.sum()
    assert after.totals.generated_tokens >= before.totals.generated_tokens
    assert after.totals.first_tokens >= before.totals.first_tokens


def test_restarted_counters_change_nothing_for_requests() -> None:
    trace = steps((600.0, 2.0))
    calm, reset = (
        World(small_scenario(trace, 600.0, initial=3, fault=fault), 0).run(Asks(3.0))
        for fault in (None, Fault(FaultKind.RESET, 300.0))
    )
    assert np.allclose(calm.finish_s, reset.finish_s)
