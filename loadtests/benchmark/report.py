"""The page: what was run, every comparison, every losing case; as Markdown."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean

from autoscaler.simulation.policies.registry import peers
from loadtests.benchmark import disturbed, text
from loadtests.benchmark.grid import LEADS_S, LONG_LEAD_S, PEAK_NEED, STEP_TOKENS, Extent
from loadtests.benchmark.rows import CEILING, Row
from loadtests.benchmark.verdict import CLOSE, Comparison, Runs, below_bound, compare, families, mean_ratio

MPC = "mpc-v3"
WORST_HOUR = 0.05  # an hour may lie this far below what is asked
QUICK_CANNOT = (
    "starts of 30, 300 and 600 s; peers' settings tuned in hindsight (published defaults only); faults and cold "
    "starts; 99 % (unless --asked names it); five seeds; a whole day's shape (windows are shortened)"
)


def summary(rows: list[Row]) -> str:
    """One line a question, at every asked attainment."""
    found = compare(rows)
    lines: list[str] = []
    for asked in sorted({one.asked for one in found}):
        some = [one for one in found if one.asked == asked]
        lines += [f"Asked {asked:.0%}, {len(some)} cells:", *(f"- {line}" for line in _answers(some))]
    beaten = below_bound(rows)
    lines.append(f"Rows of policies more than 1 % below the hindsight bound at equal attainment: {len(beaten)}.")
    lines += disturbed.answers(rows)
    return "\n".join(lines)


def _answers(some: list[Comparison]) -> list[str]:
    limited = sum(one.ceiling < one.asked for one in some)
    attained = f"attained in {sum(one.attains for one in some)}"
    if limited:
        attained += f" (in {limited} not even a static fleet of the most replicas does: there it is the yardstick)"
    bounds = [one.ours.gpu_hours / one.bound for one in some if one.bound and one.attains]
    verdicts = [one.verdict for one in some]
    counts = ", ".join(f"{verdicts.count(word)} {word}" for word in ("less", "even", "more", "alone"))
    tuned, plain = (mean_ratio(some, lambda one: one.best), mean_ratio(some, lambda one: one.best_default))
    hours = sum(one.ours.worst_hour < one.asked - WORST_HOUR for one in some)
    lines = [
        attained,
        f"GPU-hours over the hindsight bound: {text.mean_of(bounds)} in the mean of {len(bounds)} cells with both",
        f"over the best peer tuned in hindsight at equal attainment: {text.interval(tuned)}; {counts}",
        f"over the best peer at its published default: {text.interval(plain)}; in "
        f"{sum(one.best_default is None for one in some)} cells none attains as much",
        f"an hour more than 5 points below what is asked: {hours} cells",
    ]
    events = [(one.ours.scale_events_per_hour, one.best.scale_events_per_hour) for one in some if one.best]
    if events:
        lines.append(
            f"scale events per hour: {mean(a for a, _ in events):.2f}, the best peer's "
            f"{mean(b for _, b in events):.2f}; more than it in {sum(a > b for a, b in events)} of {len(events)} cells"
        )
    goods = [
        one.ours.goodput_per_gpu_s / max(1e-12, them.goodput_per_gpu_s) for one in some if (them := _best_mpc(one))
    ]
    if goods:
        lines.append(
            f"goodput per GPU-second over MPC v3's best setting: {mean(goods):.3f} in the mean; below it in "
            f"{sum(one < 1.0 for one in goods)} of {len(goods)} cells"
        )
    return lines


def _best_mpc(one: Comparison, *, defaults: bool = False) -> Runs | None:
    """The setting of the MPC with the most good requests per GPU-second."""
    some = [peer for peer in one.peers if peer.first.policy == MPC and (peer.first.policy_default or not defaults)]
    return max(some, key=lambda peer: peer.goodput_per_gpu_s, default=None)


def report(
    rows: list[Row], extent: Extent, asked: Sequence[float], plots: Sequence[Path], missing: Sequence[str] = ()
) -> str:
    """The whole page."""
    found = compare(rows)
    parts = [
        "# Benchmark of decisions",
        _method(rows, extent, asked),
        "## Summary\n\n" + summary(rows),
    ]
    if extent.is_quick:
        parts.append(f"A quick run cannot show: {QUICK_CANNOT}.")
    if missing:
        parts.append(f"The run was stopped; not whole are {len(missing)} cells: {', '.join(missing)}.")
    for share in sorted({one.asked for one in found}):
        some = [one for one in found if one.asked == share]
        parts.append(f"## Cell by cell, asked {share:.0%}\n\n" + _cells(some))
    parts += [
        "## Losing cases\n\n" + _losses(found),
        "## Families\n\n" + _families(found),
        "## Goodput against MPC v3\n\n" + _goodput(found),
        "## Worst hours\n\n" + _worst_hours(found),
        disturbed.section(rows),
        "## The bound\n\n" + _bound(found, rows),
        "## Peers\n\n" + _peers(found),
    ]
    if plots:
        parts.append("## Plots\n\n" + "\n".join(f"![{path.stem}](plots/{path.name})" for path in plots))
    return "\n\n".join(part for part in parts if part) + "\n"


def _method(rows: list[Row], extent: Extent, asked: Sequence[float]) -> str:
    traces = sorted({(row.trace, row.family) for row in rows})
    leads = "120 s" if extent.is_quick else f"{', '.join(f'{s:.0f}' for s in sorted(LEADS_S))} s"
    leads += "" if extent.is_quick else f" ({LONG_LEAD_S:.0f} s too on daily ones)"
    named = ", ".join(f"{name} ({family})" for name, family in traces)
    needs = " and ".join(f"{need:g} ({name})" for name, need in PEAK_NEED.items())
    shares = ", ".join(f"{share:.0%}" for share in asked)
    return (
        "Every policy is simulated request by request in the same worlds; the truth only scores. "
        f"{len(traces)} traces: {named}. One window of up to {extent.window_s / 3600:.1f} h per trace, the one with "
        f"the largest one-hour ramp, and up to {extent.warm_up_s / 60:.0f} minutes before it that are simulated and "
        f"not scored. Starts: {leads}, with a jitter of 10 %. Fleets: the peak needs about {needs} replicas of "
        "Llama-3.1-70B on 4 H100, by repeating or thinning requests; at most four times as many are allowed. Tokens "
        f"per step: {STEP_TOKENS[0]}, at 120 s also {STEP_TOKENS[1]}. Objective: TTFT 3 s, TPOT 60 ms; asked: "
        f"{shares} of all offered requests.\n\n"
        f"Peers: {len(peers())} rules at up to six settings each, the published default among them; every setting runs "
        "once. A setting other than the default is left before its end when it cannot be among the three best any "
        "more: too many requests missed, or what it paid and nine tenths of what the bound pays for the rest are more "
        "than ours and the three best need. At other starts than 120 s a default is left too when three others are "
        "better, one seed is run, and only the first attainment is asked (`--whole` runs all). "
        "Ours has one set of defaults and knows the objective, the bounds and the GPUs of a replica, nothing of "
        "the traffic or the server. Ours and the three best peers of a cell have more seeds (start-up times, routing "
        "among equals, removal order, timers); figures are means over them. *At equal attainment*: a peer attains what "
        f"is asked, or what ours attains where that is less, within {CLOSE * 100:.1f} points. GPU-hours count loading "
        "and draining. Intervals are 90 %, by paired hourly block bootstrap (eighths of the window where it is under "
        "three hours): the same hours are drawn for both that are compared. They say how much a figure hangs on single "
        "hours of these windows, not what other traffic would give. *less*, *more*: the whole interval is on one side "
        "of 1.\n\n"
        "Limits: one model and GPU, one router (least loaded), no prefix cache, no retries, a cluster that always has "
        "room."
    )


def _cells(some: list[Comparison]) -> str:
    lines = []
    for one in some:
        row, best = one.ours.first, one.best
        over = one.over_best
        lines.append(
            (
                row.family,
                row.trace,
                row.fleet,
                f"{row.lead_time_s:.0f} s",
                row.step_tokens,
                f"{one.ours.attainment:.2%}" + ("" if one.attains else " (!)"),
                f"{one.ours.worst_hour:.1%}",
                f"{one.ours.gpu_hours:.1f}",
                text.ratio(one.ours.gpu_hours / one.bound if one.bound else None),
                best.name if best else "none",
                f"{best.gpu_hours:.1f}" if best else "-",
                f"{over[0]:.3f} ({over[1]:.3f}-{over[2]:.3f})" if over else "-",
                text.ratio(one.ours.gpu_hours / one.best_default.gpu_hours if one.best_default else None),
            )
        )
    heads = (
        "family", "trace", "fleet", "start", "step", "attained", "worst hour", "GPU-h", "/ bound", "best peer",
        "its GPU-h", "ours / it", "ours / best default",
    )  # fmt: skip
    return text.table(heads, lines) + "\n\n(!): less than what counts as attained."


def _losses(found: list[Comparison]) -> str:
    lines = []
    for one in found:
        why = []
        if not one.attains:
            why.append(f"attains {one.ours.attainment:.2%}, {one.wanted:.2%} counts")
        if one.over_best is not None and one.over_best[0] > 1.0 and one.best is not None:
            sure = "the interval leaves no doubt" if one.verdict == "more" else "within the interval"
            why.append(f"{one.over_best[0]:.3f} of the GPU-hours of {one.best.name}, {sure}")
        if why:
            lines.append((f"{one.asked:.0%}", one.name, "; ".join(why)))
    return text.table(("asked", "cell", "what is lost"), lines) if lines else "None."


def _families(found: list[Comparison]) -> str:
    lines = []
    for family in families(found):
        some = list(family.cells)
        bounds = [one.ours.gpu_hours / one.bound for one in some if one.bound]
        lines.append(
            (
                f"{family.asked:.0%}",
                family.name,
                len(some),
                sum(one.attains for one in some),
                text.mean_of(bounds),
                text.interval(mean_ratio(some, lambda one: one.best)),
                text.interval(mean_ratio(some, lambda one: one.best_default)),
                _listed(family.dominating),
                _listed(family.dominating_tuned),
            )
        )
    heads = (
        "asked", "family", "cells", "attained", "/ bound", "/ best tuned", "/ best default",
        "one setting that is cheaper in all", "a peer that is, tuned per cell",
    )  # fmt: skip
    return text.table(heads, lines) + (
        "\n\nThe last columns: peers that attain as much as ours in every cell of the family with fewer GPU-hours in "
        "the mean, with their GPU-hours over ours."
    )


def _listed(some: Iterable[tuple[str, float]]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in some) or "none"


def _goodput(found: list[Comparison]) -> str:
    groups: dict[tuple[float, str, float], list[Comparison]] = defaultdict(list)
    for one in found:
        groups[one.asked, one.ours.first.family, one.ours.first.lead_time_s].append(one)
    lines = []
    for (asked, family, lead_s), some in sorted(groups.items()):
        pairs = [(one.ours, best) for one in some if (best := _best_mpc(one))]
        plain = [(one.ours, them) for one in some if (them := _best_mpc(one, defaults=True))]
        if pairs:
            lines.append(
                (
                    f"{asked:.0%}",
                    family,
                    f"{lead_s:.0f} s",
                    len(pairs),
                    text.mean_of([a.goodput_per_gpu_s / max(1e-12, b.goodput_per_gpu_s) for a, b in pairs]),
                    text.mean_of([a.goodput_per_gpu_s / max(1e-12, b.goodput_per_gpu_s) for a, b in plain]),
                    f"{mean(a.attainment for a, _ in pairs):.2%}",
                    f"{mean(b.attainment for _, b in pairs):.2%}",
                )
            )
    if not lines:
        return "The MPC was not run."
    heads = (
        "asked",
        "family",
        "start",
        "cells",
        "ours / its best setting",
        "ours / its default",
        "ours attains",
        "it attains",
    )
    return text.table(heads, lines) + (
        "\n\nGood requests per GPU-second; its best setting is chosen in hindsight in every cell, whatever it attains: "
        "a fleet that is too small can have the most goodput per GPU."
    )


def _worst_hours(found: list[Comparison]) -> str:
    lines = [
        (
            f"{one.asked:.0%}",
            one.name,
            f"{one.ours.worst_hour:.1%}",
            f"{one.best.worst_hour:.1%}" if one.best else "-",
            f"{one.hindsight.worst_hour_attainment:.1%}" if one.hindsight else "-",
            f"{_ceiling_hour(one):.1%}",
        )
        for one in found
        if one.ours.worst_hour < one.asked - WORST_HOUR
    ]
    if not lines:
        return "No hour lies more than 5 points below what is asked."
    heads = ("asked", "cell", "ours", "best peer", "hindsight bound", "static fleet of the most replicas")
    return "Cells with an hour (of at least 100 requests) more than 5 points below what is asked.\n\n" + text.table(
        heads, lines
    )


def _ceiling_hour(one: Comparison) -> float:
    return next((row.worst_hour_attainment for row in one.references if row.policy == CEILING), 1.0)


def _bound(found: list[Comparison], rows: list[Row]) -> str:
    hit = [one for one in found if one.bound]
    fluid = [one.bound / one.fluid for one in found if one.bound and one.fluid]
    parts = [
        f"The hindsight bound hits what is asked within 0.2 points in {len(hit)} of {len(found)} cells; it is "
        f"{text.mean_of(fluid)} of the fluid bound (all work at full batches, no objective, no starts) in the mean."
    ]
    missed = [one for one in found if not one.bound]
    if missed:
        lines = [
            (
                f"{one.asked:.0%}",
                one.name,
                f"{one.hindsight.attainment:.2%}" if one.hindsight else "-",
                f"{one.ceiling:.2%}",
            )
            for one in missed
        ]
        parts.append(
            "No ratio to it in these cells:\n\n"
            + text.table(
                ("asked", "cell", "nearest schedule attains", "static fleet of the most replicas attains"), lines
            )
        )
    beaten = below_bound(rows)
    if beaten:
        best = {(row.cell, row.attainment_asked): one for one in found for row in one.ours.rows}
        lower = [
            (
                f"{row.attainment_asked:.0%}",
                text.cell(row.cell),
                f"{row.policy} {row.knobs or ''}",
                f"{row.attainment:.2%}",
                f"{row.gpu_hours:.2f}",
                f"{one.hindsight.gpu_hours:.2f}"
                if (one := best.get((row.cell, row.attainment_asked))) and one.hindsight
                else "-",
            )
            for row in sorted(beaten, key=lambda row: (row.attainment_asked, row.cell, row.gpu_hours))
        ]
        heads = ("asked", "cell", "policy", "attained", "GPU-h", "hindsight")
        parts.append("Policies that lie more than 1 % below it at equal attainment:\n\n" + text.table(heads, lower))
    else:
        parts.append("No policy lies more than 1 % below it at equal attainment.")
    return "\n\n".join(parts)


def _peers(found: list[Comparison]) -> str:
    sources = peers()
    ran = {peer.first.policy for one in found for peer in one.peers}
    lines = []
    for name in sorted(ran):
        mine = [peer for one in found for peer in one.peers if peer.first.policy == name]
        plain = [peer for peer in mine if peer.first.policy_default]
        reaches = [
            sum(any(p.first.policy == name for p in one.equal(defaults=d)) for one in found) for d in (False, True)
        ]
        lines.append(
            (
                name,
                sources[name].source if name in sources else "",
                len({peer.first.knobs for peer in mine}),
                next((peer.first.knobs or "" for peer in plain), ""),
                f"{mean(peer.attainment for peer in plain):.1%}" if plain else "-",
                f"{reaches[1]} / {len(found)}",
                f"{reaches[0]} / {len(found)}",
                sum(one.best is not None and one.best.first.policy == name for one in found),
            )
        )
    heads = (
        "peer",
        "source",
        "settings",
        "default",
        "default attains, mean",
        "default attains as ours",
        "any setting does",
        "cells it is best in",
    )
    return text.table(heads, lines)
