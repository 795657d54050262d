"""Players under one history: the same simulator and the same score for all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from autoscaler.backtest.history import Gap, History, Told, history
from autoscaler.backtest.running import Field, Task, run_all, run_task
from autoscaler.backtest.settings import Settings
from autoscaler.backtest.worlds import asked_for, busiest, setup
from autoscaler.simulation.comparison import Constants, Kind, Player, bins_of, paid_replicas, play
from autoscaler.simulation.scenario import Scenario, Starts, billed_s
from autoscaler.simulation.score import score
from autoscaler.simulation.world import World
from tests.backtest.histories import small_trace
from tests.fakes.small_worlds import small_scenario, steps

PLAN = ((0.0, 1), (200.0, 4), (500.0, 2))


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return replace(small_scenario(steps((300.0, 1.5), (300.0, 4.0), (300.0, 1.5)), 900.0), start_s=60.0)


def told(ran: tuple[tuple[float, int], ...] | None = None, *, ready: bool = False) -> History:
    trace = small_trace()
    return history("x", "requests", Told(*trace, 0.0, 1200.0, ran=ran, ran_are_ready=ready), 0.2)


def test_what_ran_is_the_replay_of_that_schedule_in_the_same_simulator(scenario: Scenario) -> None:
    bins = bins_of(scenario, 480)
    outcome = play(Player(Kind.RAN, "what ran", plan=PLAN), scenario, 5, bins)
    run = World(replace(scenario, initial_replicas=1), 5).replay(PLAN[1:])
    assert outcome.score == score(run)
    assert outcome.steps == run.steps
    assert [count for _, count in outcome.steps] == [1, 4, 2]


def test_what_ran_may_have_been_more_than_is_allowed_now(scenario: Scenario) -> None:
    small = replace(scenario, max_replicas=2)
    outcome = play(Player(Kind.RAN, "what ran", plan=((0.0, 5),)), small, 1, bins_of(small, 480))
    assert outcome.score.replica_hours == pytest.approx(5 * 840.0 / 3600.0, rel=0.01)


def test_bins_of_replicas_add_up_to_what_is_billed(scenario: Scenario) -> None:
    run = World(scenario, 5).replay(PLAN[1:])
    length_s, count = bins_of(scenario, 480)
    paid = paid_replicas(run.lives, scenario.from_s, length_s, count)
    assert paid.sum() * length_s == pytest.approx(billed_s(run.lives, scenario.from_s, scenario.end_s))


def test_the_fewest_constant_replicas_are_those_of_a_search_one_by_one(scenario: Scenario) -> None:
    bins = bins_of(scenario, 480)
    one_by_one = Constants(scenario, 1, bins)
    shares = [one_by_one.outcome(n).score.attainment for n in range(1, 8)]
    for asked in (0.3, 0.6, 0.95):
        expected = next(n for n, share in enumerate(shares, 1) if share >= asked)
        found = Constants(scenario, 1, bins).fewest(asked, 7)
        assert found is not None
        assert found.knobs == str(expected)
    assert Constants(scenario, 1, bins).fewest(1.1, 3) is None


def test_every_seed_gives_its_own_outcome_again_and_processes_change_nothing(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    field = Field(scenario, 3, bins_of(scenario, 480))
    tasks = [Task("ours", Player(Kind.OURS, "ours")), Task("rate-rule", Player(Kind.PEER, "rate-rule"))]
    console = Console(quiet=True)
    here = run_all(field, tasks, 1, console)
    assert here == {task.key: run_task(field, task) for task in tasks}
    monkeypatch.setattr("autoscaler.backtest.running.FEW_REQUESTS", 0)
    assert run_all(field, tasks, 2, console) == here
    other = run_all(replace(field, seed=4), tasks[:1], 1, console)
    assert other["ours"] != here["ours"]


def test_progress_is_told_up_to_the_end(scenario: Scenario) -> None:
    shares: list[float] = []
    play(Player(Kind.PEER, "rate-rule"), scenario, 1, bins_of(scenario, 480), shares.append)
    assert shares == sorted(shares)
    assert shares[-1] > 0.95


def test_replicas_that_were_seen_serving_had_been_asked_for_a_start_before() -> None:
    seen = told(((0.0, 2), (600.0, 3), (900.0, 1)), ready=True)
    assert asked_for(seen, Starts(100.0)) == ((0.0, 2), (498.0, 3), (900.0, 1))
    assert asked_for(told(((0.0, 2), (600.0, 3))), Starts(100.0)) == ((0.0, 2), (600.0, 3))
    void = told(((0.0, 3), (550.0, 2), (600.0, 3)), ready=True)
    assert asked_for(void, Starts(100.0)) == ((0.0, 3), (498.0, 3)), "the fall between is voided by the earlier raise"


def test_everybody_begins_with_what_ran_and_may_have_as_many() -> None:
    built = setup(told(((0.0, 3), (600.0, 40))), Settings("x", replica="llama-3.1-70b/a100x4"))
    assert built.scenario.initial_replicas == 3
    assert built.scenario.max_replicas == 40
    assert built.ran is not None
    assert any("maxReplicas was not given: 40" in fact for fact in built.facts)


def test_the_first_tenth_is_not_scored() -> None:
    built = setup(told(), Settings("x"))
    assert built.scenario.start_s == pytest.approx(120.0)
    assert setup(told(), Settings("x", warm_up_s=0.0)).scenario.start_s == 0.0


def test_the_busiest_span_begins_at_a_whole_hour() -> None:
    at_s = np.concatenate([np.arange(0, 20_000, 20.0), np.arange(20_000, 27_000, 1.0), np.arange(27_000, 40_000, 20.0)])
    ones = np.ones(len(at_s))
    long = history("x", "requests", Told(at_s, ones, ones, 0.0, 40_000.0, (Gap(0.0, 0.0),)), 0.2)
    assert busiest(long, 7200.0) == (21_600.0, 28_800.0)
    assert busiest(told(), 7200.0) == (0.0, 1200.0)
