"""Advice on the model server's own settings: tried by playing the history, recommended only where that saves.

Law: nothing is recommended that attained less than asked, or that did not cost less, in the simulation.
"""

from __future__ import annotations

from dataclasses import replace

from autoscaler.backtest.results import Advice
from autoscaler.backtest.running import Task
from autoscaler.backtest.worlds import Setup
from autoscaler.core.advice import SEQUENCES, TOKENS
from autoscaler.simulation.comparison import Outcome
from autoscaler.simulation.server_settings import Candidate, candidates

SPAN_S = 43_200.0  # the busiest twelve hours are played
PERIOD_S = 15.0  # between decisions, at least: all runs here alike
LEAST_SAVED = 0.01  # below it the order of two settings changes with the seed
NOW = "advice now"


def tasks_of(setup: Setup, span_s: tuple[float, float]) -> list[tuple[Task, Candidate | None]]:
    """The runs: as it is now, and every candidate."""
    tried = candidates(setup.scenario.params, setup.scenario.objective, setup.scenario.trace)
    if not tried:
        return []
    period_s = max(PERIOD_S, setup.ours.period_s)
    player = replace(setup.ours, period_s=period_s, name="as the server is set")
    found: list[tuple[Task, Candidate | None]] = [(Task(NOW, player, span_s=span_s), None)]
    for one in tried:
        tokens = one.value if one.setting == TOKENS else player.batched_tokens
        sequences = one.value if one.setting == SEQUENCES else player.sequences
        name = f"{one.setting} {one.value}"
        changed = replace(player, name=name, batched_tokens=tokens, sequences=sequences)
        found.append((Task(f"advice {name}", changed, one.params, span_s), one))
    return found


def advice_of(setup: Setup, tried: list[tuple[Candidate | None, Outcome]]) -> tuple[Advice, ...]:
    """What each candidate came to; the cheapest that attains what is asked is recommended, per setting."""
    now = next((outcome.score for one, outcome in tried if one is None), None)
    if now is None:
        return ()
    asked, params = setup.scenario.objective.attainment, setup.scenario.params
    best: dict[str, Candidate] = {}
    costs: dict[Candidate, float] = {}
    for one, outcome in tried:
        if one is None or outcome.score.attainment < asked:
            continue
        costs[one] = outcome.score.gpu_hours
        if one.setting not in best or costs[one] < costs[best[one.setting]]:
            best[one.setting] = one
    found = []
    for one, outcome in tried:
        if one is None:
            continue
        score = outcome.score
        saved = 1.0 - score.gpu_hours / max(1e-9, now.gpu_hours)
        recommended = best.get(one.setting) is one and saved >= LEAST_SAVED
        found.append(
            Advice(
                one.setting,
                int(params.batched_tokens) if one.setting == TOKENS else params.sequences,
                one.value,
                score.attainment,
                score.gpu_hours,
                now.gpu_hours,
                recommended,
                _why(score.attainment, asked, saved, now.attainment, recommended=recommended),
                words(one, params.sequences) if recommended else (),
            )
        )
    return tuple(found)


def _why(attained: float, asked: float, saved: float, attained_now: float, *, recommended: bool) -> str:
    against = f"{abs(saved):.1%} {'fewer' if saved >= 0.0 else 'MORE'} GPU-hours than now at {attained:.2%}"
    against += f" ({attained_now:.2%} now)"
    if recommended:
        return f"{against}: recommended."
    if attained < asked:
        return f"{against}, below the {asked:.1%} asked."
    return f"{against}{'; another value saves more' if saved >= LEAST_SAVED else ', no saving'}."


def words(one: Candidate, sequences: int) -> tuple[tuple[str, str], ...]:
    """What to paste, by model server."""
    n = one.value
    if one.setting == SEQUENCES:
        return (
            ("vLLM", f"--max-num-seqs {n}"),
            ("SGLang", f"--max-running-requests {n}"),
            ("TensorRT-LLM", f"max_batch_size: {n}"),
            ("TGI", f"--max-batch-size {n}"),
        )
    also = f" --max-num-seqs {n}" if n < sequences else ""  # it refuses fewer tokens per step than sequences
    return (
        ("vLLM", f"--max-num-batched-tokens {n}{also}"),
        ("SGLang", f"--chunked-prefill-size {n}"),
        ("TensorRT-LLM", f"enable_chunked_prefill: true, max_num_tokens: {n}"),
        ("TGI", f"--max-batch-prefill-tokens {n}"),
    )
