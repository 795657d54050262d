"""Sentences of the report, the same on the terminal and on the page."""

from __future__ import annotations

from autoscaler.backtest.results import Findings
from autoscaler.simulation.comparison import Kind, Outcome

SAME = 0.005  # of the GPU-hours: no difference to speak of
WORDS = (
    "Attained: the share of requests whose first token came within the TTFT limit, counted from arrival, and whose "
    "mean time per token after it was within the TPOT limit. Worst hour: that share in the hour in which it was least. "
    "Changes/h: how often the count that was asked for changed. Hindsight bound: the cheapest schedule found by one "
    "who knows every request beforehand."
)
LIMITS = (
    "Every policy is played on the same requests in the same simulated cluster: pages as old as their scrapes, KEDA's "
    "polls, the HPA's syncs, starts that take their time, replicas that drain. GPU-hours count every replica from the "
    "moment its GPUs are taken to its end.",
    "The replica is a model of engine steps (base, sequences, prompt tokens, KV tokens), not your server: figures are "
    "as right as its coefficients. Compare policies with one another rather than with a bill. Our planner begins with "
    "those coefficients (live: `prior`), and peers that ask for a profile are given them.",
    "Users do not react: nobody retries, gives up or asks less when it is slow. Prefix caches are not modelled.",
    "Peers run with the settings their authors publish; a tuned peer may do better.",
)


def title(one: Outcome) -> str:
    """A row's name, with the setting of a peer."""
    if one.player.kind is Kind.PEER:
        return f"{one.player.name} ({one.knobs})"
    if one.player.kind is Kind.BOUND:
        return f"hindsight bound{f' ({one.knobs})' if one.knobs else ''}"
    if one.player.kind is Kind.CONSTANT:
        return f"fewest constant: {one.player.name}"
    return one.player.name


def headline(findings: Findings) -> str:
    """What it comes to, in a sentence or two."""
    ours, asked = findings.ours.score, findings.settings.objective.attainment
    text = (
        f"llm-autoscaler: {ours.attainment:.2%} of {ours.requests:,} requests inside the objective ({asked:.1%} asked) "
    )
    text += f"for {ours.gpu_hours:,.1f} GPU-hours"
    reference = findings.reference
    if reference is None:
        return f"{text}; no constant fleet of up to {findings.setup.scenario.max_replicas} replicas does as well."
    other = reference.score
    change = 1.0 - ours.gpu_hours / max(1e-9, other.gpu_hours)
    saved = other.gpu_hours - ours.gpu_hours
    money = findings.money(abs(saved))
    amount = f"{abs(saved):,.1f} GPU-hours{f' or {money:,.2f}' if money is not None else ''}"
    than = "what ran" if reference.player.kind is Kind.RAN else f"the fewest constant replicas ({reference.knobs})"
    against = f"{amount} ({abs(change):.0%}) {'less' if saved >= 0.0 else 'MORE'} than {than}"
    if abs(change) < SAME:
        against = f"as many as {than}"
    did = "attained" if reference.player.kind is Kind.RAN else "attain"
    sentence = f"{text}: {against}, which {did} {other.attainment:.2%}."
    if ours.attainment < asked:
        sentence += f" It misses what is asked by {100.0 * (asked - ours.attainment):.2g} points."
    if reference.player.kind is Kind.RAN and other.attainment < min(asked, ours.attainment):
        constant = next((one for one in findings.outcomes if one.player.kind is Kind.CONSTANT), None)
        if constant is not None:
            sentence += (
                f" What ran missed the objective: the fewest constant replicas that meet it ({constant.knobs}) cost "
                f"{constant.score.gpu_hours:,.1f} GPU-hours."
            )
    return sentence
