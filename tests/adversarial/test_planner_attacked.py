"""Pages that lie, clocks that jump, lists that repeat: nothing shrinks because of them, and nothing crashes."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import pytest

from autoscaler.core import Planner
from autoscaler.core.records import Decision, Observation, Sample
from tests.fakes.observations import Fleet, run

T0 = 1_000_000.0


def settled() -> tuple[Planner, Fleet, int]:
    planner, fleet = Planner(), Fleet()
    return planner, fleet, run(planner, fleet, [6.0] * 80, 6)[-1].roles[0].replicas


def changed(observation: Observation, **values: object) -> Observation:
    replicas = observation.roles[0].replicas
    assert replicas is not None
    lying = tuple(replace(r, sample=replace(r.sample, **values)) for r in replicas if r.sample)  # type: ignore[arg-type]
    return replace(observation, roles=(replace(observation.roles[0], replicas=lying),))


def numbers_of(sample_type: type[Sample]) -> list[str]:
    return [f.name for f in fields(sample_type) if "float" in str(f.type) and f.name not in ("at_s", "started_at_s")]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -5.0, 1e300])
@pytest.mark.parametrize("name", numbers_of(Sample))
def test_a_value_that_cannot_be_true_neither_crashes_nor_shrinks(name: str, value: float) -> None:
    planner, fleet, before = settled()
    decision = planner.observe(changed(fleet.observe(T0 + 400, 6, 6.0), **{name: value}), T0 + 400)
    assert decision.active
    assert before <= decision.roles[0].replicas <= 20
    assert all(math.isfinite(number) for role in decision.roles for r in role.reasons for _, number in r.numbers)


def test_a_counter_reset_is_a_new_baseline_and_not_demand() -> None:
    planner, fleet, before = settled()
    fleet.counters.clear()
    decision = planner.observe(fleet.observe(T0 + 400, 6, 6.0), T0 + 400)
    assert before <= decision.roles[0].replicas <= before + 1


@pytest.mark.parametrize("jump_s", [-1e9, -3600.0, 0.0, 1e9])
def test_a_clock_that_jumps_does_not_crash_or_shrink(jump_s: float) -> None:
    planner, fleet, before = settled()
    at_s = T0 + 400 + jump_s
    decision: Decision = planner.observe(fleet.observe(at_s, 6, 6.0), at_s)
    assert decision.roles[0].replicas >= (before if jump_s <= 0 else 1)


def test_replicas_listed_twice_count_once() -> None:
    planner, fleet, before = settled()
    seen = fleet.observe(T0 + 400, 6, 6.0)
    replicas = seen.roles[0].replicas
    assert replicas is not None
    twice = replace(seen, roles=(replace(seen.roles[0], replicas=replicas + replicas),))
    decision = planner.observe(twice, T0 + 400)
    assert decision.roles[0].replicas == before
    assert "duplicates" in {reason.code for reason in decision.roles[0].reasons}


def test_pages_that_say_nothing_are_not_an_empty_load() -> None:
    planner, fleet, before = settled()
    for i in range(8):
        at_s = T0 + 400 + 5 * i
        seen = fleet.observe(at_s, 6, 6.0)
        replicas = seen.roles[0].replicas
        assert replicas is not None
        empty = tuple(replace(r, sample=Sample(at_s, "vllm")) for r in replicas)
        decision = planner.observe(replace(seen, roles=(replace(seen.roles[0], replicas=empty),)), at_s)
    assert decision.active
    assert decision.roles[0].replicas >= before - 1
