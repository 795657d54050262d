"""How long one decision takes: a simulated hour at 20 replicas, recorded first and then planned again without it.

`python -m loadtests.decision_bench`: prints quantiles in milliseconds of processor time.
"""

from __future__ import annotations

import gc
import time
from pathlib import Path

import numpy as np

from autoscaler.core import Planner
from autoscaler.core.records import Observation
from autoscaler.simulation.engines import LLAMA_70B_H100X4
from autoscaler.simulation.ours import Ours, observation, spec_of
from autoscaler.simulation.scenario import Scenario, Starts
from autoscaler.simulation.trace import read_trace
from autoscaler.simulation.traffic import multiply
from autoscaler.simulation.view import View
from autoscaler.simulation.world import World

REPLICAS = 20
SECONDS = 2000.0
QUANTILES = (0.1, 0.5, 0.9, 0.99, 1.0)
TRACE = Path(__file__).parent.parent / "autoscaler/lab/data/azure2023-conv_min00-35_real.csv.gz"


class Recording(Ours):
    """The planner, with what it observed kept."""

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(spec_of(scenario))
        self.seen: list[tuple[Observation, float]] = []

    def tick(self, view: View, now_s: float) -> float:
        """Keep the observation, then decide."""
        self.seen.append((observation(self.spec, view, now_s), now_s))
        return super().tick(view, now_s)


def record() -> list[tuple[Observation, float]]:
    """What a planner of a busy fleet of constant size observes."""
    trace = multiply(read_trace(TRACE), 8.0, np.random.default_rng(0))
    scenario = Scenario(
        trace,
        0.0,
        SECONDS,
        LLAMA_70B_H100X4,
        Starts(120.0),
        initial_replicas=REPLICAS,
        min_replicas=REPLICAS,
        max_replicas=REPLICAS,
    )
    policy = Recording(scenario)
    World(scenario, 0).run(policy)
    return policy.seen


def spent_ms(seen: list[tuple[Observation, float]]) -> np.ndarray:
    """Milliseconds of processor time of each decision."""
    planner, spent = Planner(), []
    gc.collect()
    gc.freeze()
    for one, now_s in seen:
        started = time.process_time()
        planner.observe(one, now_s)
        spent.append(1e3 * (time.process_time() - started))
    return np.array(spent)


def main() -> None:
    """Print the quantiles of the best of three."""
    seen = record()
    best = min((spent_ms(seen) for _ in range(3)), key=lambda spent: float(np.median(spent)))
    words = ", ".join(f"p{100 * share:.0f} {np.quantile(best, share):.3f}" for share in QUANTILES)
    print(f"{len(best)} decisions at {REPLICAS} replicas, ms: {words}; mean {best.mean():.3f}")


if __name__ == "__main__":
    main()
