"""One history under several policies: what each attained and cost, and how many replicas it paid for when.

Law: pure; an outcome follows from the scenario, the player and the seed alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from autoscaler.core.records import RoleSpec, ServiceSpec
from autoscaler.simulation.clairvoyant import BLOCK_S, bound, hindsight, work_s
from autoscaler.simulation.engines import Floats
from autoscaler.simulation.ours import Ours, spec_of
from autoscaler.simulation.policies.peer import Deployment
from autoscaler.simulation.policies.registry import peers
from autoscaler.simulation.scenario import Life, Scenario
from autoscaler.simulation.score import Score, score
from autoscaler.simulation.view import View
from autoscaler.simulation.world import Run, World

Plan = tuple[tuple[float, int], ...]

USABLE = 0.45  # of a replica's step time is filled by requests at the objective, about: for first guesses only
LOAD_S = 600.0  # over which load is averaged for them
SHORT_WINDOW_S = 2 * 3600.0
SHORT_BLOCK_S = 300.0  # of the hindsight schedule, where the history is short


class Kind(Enum):
    """Who scales."""

    OURS = "ours"
    RAN = "what ran"
    CONSTANT = "constant"
    PEER = "peer"
    BOUND = "hindsight bound"


@dataclass(frozen=True, slots=True)
class Player:
    """One row of the comparison."""

    kind: Kind
    name: str
    plan: Plan = ()  # RAN: changes of spec.replicas
    period_s: float = 5.0  # OURS: between decisions
    prior: str = "generic"  # OURS: what the operator says of the replica
    batched_tokens: int | None = None  # OURS: and of its tokens per step
    sequences: int | None = None  # OURS: and of the requests it runs at a time
    keep_warm_s: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a history under a player."""

    player: Player
    knobs: str  # of a peer's setting; the number of a constant fleet
    score: Score
    steps: Plan  # changes of spec.replicas
    paid: tuple[float, ...]  # replicas paid for, mean of each bin


def bins_of(scenario: Scenario, most: int) -> tuple[float, int]:
    """Length and number of the bins of a chart: whole minutes, at most so many."""
    span_s = scenario.end_s - scenario.from_s
    length_s = 60.0 * max(1.0, math.ceil(span_s / 60.0 / most))
    return length_s, max(1, round(span_s / length_s))


def paid_replicas(lives: tuple[Life, ...], from_s: float, length_s: float, count: int) -> Floats:
    """Replicas paid for in each bin, on average: loading, serving and draining."""
    edges = from_s + length_s * np.arange(count + 1)
    sums = np.zeros(count + 1)
    for life in lives:
        low, high = np.clip([life.scheduled_s, life.ended_s], edges[0], edges[-1])
        sums += np.clip(edges, low, high) - low
    return np.asarray(np.diff(sums) / length_s)


def loads(scenario: Scenario, over_s: float = LOAD_S) -> Floats:
    """Replicas' worth of work that arrives, per span, at what a replica does inside the objective; a guess."""
    trace = scenario.trace
    span_s = min(over_s, scenario.end_s - scenario.from_s)
    block = np.maximum(0, (trace.arrival_s - scenario.from_s) // span_s).astype(int)
    last = int((scenario.end_s - scenario.from_s) // span_s)
    sums = np.bincount(np.minimum(block, last), weights=work_s(scenario), minlength=last + 1)
    whole = sums[:-1] if last >= 1 else sums  # the last block is cut
    return np.asarray(whole / span_s / USABLE)


def play(
    player: Player,
    scenario: Scenario,
    seed: int,
    bins: tuple[float, int],
    watch: Callable[[float], None] | None = None,
) -> Outcome:
    """One run; `watch` is told the share of the time that is done."""
    if player.kind is Kind.BOUND:
        return _bounded(player, scenario, bins)
    if player.kind is Kind.RAN:
        first = replace(scenario, initial_replicas=player.plan[0][1], max_replicas=_room(scenario, player.plan))
        return _outcome(player, "", World(first, seed).replay(player.plan[1:]), bins)
    world = _Watched(scenario, seed, watch)
    if player.kind is Kind.OURS:
        return _outcome(player, "", world.run(Ours(_spec(player, scenario))), bins)
    setting = next(one for one in peers()[player.name].settings if one.default)
    return _outcome(player, setting.knobs, world.run(setting.build(Deployment.of(scenario))), bins)


class _Watched(World):
    """A world that tells how far it is."""

    def __init__(self, scenario: Scenario, seed: int, watch: Callable[[float], None] | None) -> None:
        self._watch = watch
        super().__init__(scenario, seed)

    def look(self) -> View:
        if self._watch is not None:
            span_s = self.scenario.end_s - self.scenario.from_s
            self._watch((self.now_s - self.scenario.from_s) / max(1e-9, span_s))
        return super().look()


def _room(scenario: Scenario, plan: Plan) -> int:
    """What ran may have been more than the most that is allowed now."""
    return max(scenario.max_replicas, *(count for _, count in plan))


def _spec(player: Player, scenario: Scenario) -> ServiceSpec:
    spec = spec_of(scenario, player.prior)
    role: RoleSpec = replace(spec.roles[0], max_batched_tokens=player.batched_tokens, max_sequences=player.sequences)
    return replace(
        spec,
        roles=(role,),
        keep_warm_s=player.keep_warm_s,
        lead_time_prior_s=scenario.starts.mean_s,
        period_s=player.period_s,
        stale_after_s=max(spec.stale_after_s, 3.0 * player.period_s),
    )


def _outcome(player: Player, knobs: str, run: Run, bins: tuple[float, int]) -> Outcome:
    paid = paid_replicas(run.lives, run.scenario.from_s, *bins)
    return Outcome(player, knobs, score(run), run.steps, tuple(paid.tolist()))


def _bounded(player: Player, scenario: Scenario, bins: tuple[float, int]) -> Outcome:
    asked = scenario.objective.attainment
    block_s = SHORT_BLOCK_S if scenario.end_s - scenario.from_s < SHORT_WINDOW_S else BLOCK_S
    found = bound(scenario, asked, block_s, hindsight(scenario, asked, block_s))
    return _outcome(
        player, "" if found.hit else "not within 0.2 points of the share asked", found.schedule.replay(), bins
    )


class Constants:
    """Fleets of constant size under a scenario; each is played once."""

    def __init__(self, scenario: Scenario, seed: int, bins: tuple[float, int]) -> None:
        self._scenario = scenario
        self._seed = seed
        self._bins = bins
        self.played: dict[int, Outcome] = {}

    def outcome(self, count: int) -> Outcome:
        """A fleet of so many replicas."""
        if count not in self.played:
            first = replace(
                self._scenario, initial_replicas=count, max_replicas=max(count, self._scenario.max_replicas)
            )
            player = Player(Kind.CONSTANT, f"{count} constant replica{'s' if count != 1 else ''}")
            self.played[count] = _outcome(player, str(count), World(first, self._seed).replay(()), self._bins)
        return self.played[count]

    def fewest(self, share: float, most: int) -> Outcome | None:
        """The fewest replicas that reach a share, None if `most` do not; more replicas are taken never to reach less.

        From a guess in steps that double, then by halves: an overloaded fleet takes ten times as long to play.
        """
        guess = min(most, max(1, math.ceil(float(np.quantile(loads(self._scenario), 0.95)))))
        low, high, step = 0, most + 1, 1
        while low + 1 < high:
            if self.outcome(guess).score.attainment >= share:
                high, guess = guess, guess - step
            else:
                low, guess = guess, guess + step
            if low > 0 and high <= most:
                guess = (low + high) // 2
            else:
                guess, step = min(high - 1, max(low + 1, guess)), 2 * step
        return self.outcome(high) if high <= most else None
