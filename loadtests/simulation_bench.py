"""How fast the simulator is, on one core: `python -m loadtests.simulation_bench`.

A fleet of constant size behind least-loaded routing, and a week of daily traffic through the Kubernetes layer with our
policy; with `--profile` where the week's time goes. Times are the processor's, after compilation.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import time

import numpy as np
from rich.console import Console

from autoscaler.core.planner import Planner
from autoscaler.core.records import Decision, Observation
from autoscaler.simulation import fleet as fleets
from autoscaler.simulation.engines import LLAMA_70B_H100X4, Floats, new_requests
from autoscaler.simulation.fleet import create, new_fleet
from autoscaler.simulation.kernel import compiled
from autoscaler.simulation.ours import Ours, spec_of
from autoscaler.simulation.scenario import Scenario
from autoscaler.simulation.score import score
from autoscaler.simulation.trace import Trace
from autoscaler.simulation.traffic import Rate, poisson, step_rate
from autoscaler.simulation.world import World

DAY_S = 86_400.0
REPLICAS = 10
REPLICA_RPS = 2.0  # near what one carries inside the objective
# Azure's conversations of 2023: 1,155 and 211 tokens on average; lognormal spread of about 1.
PROMPT_TOKENS, OUTPUT_TOKENS, SPREAD = 1155.0, 211.0, 1.0


def conversations(count: int, rng: np.random.Generator) -> Trace:
    """A mix to draw sizes from."""
    sizes = [
        np.rint(mean * rng.lognormal(-(SPREAD**2) / 2.0, SPREAD, count)) for mean in (PROMPT_TOKENS, OUTPUT_TOKENS)
    ]
    return Trace(np.zeros(count), *(np.maximum(1.0, size) for size in sizes))


def fleet_rps(seconds: float, rng: np.random.Generator) -> tuple[int, float]:
    """Requests, and how many of them are simulated in a second."""
    rate = REPLICAS * REPLICA_RPS
    trace = poisson(step_rate(rate, rate, 0.0), 0.0, seconds, rate, conversations(20_000, rng), rng)
    count = len(trace.arrival_s)
    run = compiled(fleets.run)
    took_s = []
    for until_s in (1.0, seconds, seconds, seconds):  # the first compiles
        fleet = new_fleet(new_requests(*trace), LLAMA_70B_H100X4, REPLICAS, rng.random(count))
        for _ in range(REPLICAS):
            create(fleet, -1.0, 0.0, 0.0)
        before = time.process_time()
        run(fleet, LLAMA_70B_H100X4, until_s)
        took_s.append(time.process_time() - before)
    return count, count / min(took_s[1:])


class TimedPlanner(Planner):
    """The planner, and how long it took."""

    spent_s = 0.0

    def observe(self, observation: Observation, now_s: float) -> Decision:
        """As the planner's own."""
        before = time.process_time()
        decision = super().observe(observation, now_s)
        self.spent_s += time.process_time() - before
        return decision


def daily_rate(least_rps: float, most_rps: float) -> Rate:
    """A sine a day."""

    def rate(t: Floats) -> Floats:
        found: Floats = least_rps + (most_rps - least_rps) * (1.0 - np.cos(2.0 * np.pi * t / DAY_S)) / 2.0
        return found

    return rate


def week(days: float, most_rps: float, rng: np.random.Generator) -> Scenario:
    """Daily traffic between a fifth of the peak and the peak."""
    mix = conversations(20_000, rng)
    trace = poisson(daily_rate(0.2 * most_rps, most_rps), 0.0, days * DAY_S, most_rps, mix, rng)
    return Scenario(trace, 0.0, days * DAY_S, LLAMA_70B_H100X4, initial_replicas=2, max_replicas=40)


def main() -> None:
    """Print both figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=25_000.0, help="of fleet traffic")
    parser.add_argument("--days", type=float, default=7.0, help="through the Kubernetes layer with our policy")
    parser.add_argument("--peak", type=float, default=8.0, help="requests/s at noon")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    console = Console()
    rng = np.random.default_rng(0)
    count, rps = fleet_rps(options.seconds, rng)
    console.print(f"fleet: {count:,} requests, {REPLICAS} replicas, least-loaded: {rps:,.0f} requests/s")
    scenario = week(options.days, options.peak, rng)
    warm = World(week(0.01, options.peak, rng), 0)
    warm.run(Ours(spec_of(warm.scenario)))
    profile = cProfile.Profile()
    before = time.process_time()
    if options.profile:
        profile.enable()
    planner = TimedPlanner()
    run = World(scenario, 0).run(Ours(spec_of(scenario), planner))
    profile.disable()
    took_s = time.process_time() - before
    scored = score(run)
    console.print(
        f"{options.days:g} days with our policy: {scored.requests:,} requests, {took_s:.1f} s, of it "
        f"{planner.spent_s:.1f} s in the planner; {100.0 * scored.attainment:.2f} % inside the objective, "
        f"{scored.replica_hours / (options.days * 24.0):.2f} replicas on average"
    )
    if options.profile:
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    main()
