"""From rows to a comparison: ours against the best setting of every peer in hindsight, cell by cell."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from statistics import mean

from loadtests.benchmark.rows import Row

OURS = "ours"
CLOSE = 0.002  # attainment within this of what is compared with counts as equal
QUICK_CANNOT = "30, 300 and 600 s starts, swept settings of peers, faults, cold starts, 99 %"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One cell: ours, and the cheapest peer setting that attains as much."""

    ours: Row
    best: Row | None  # None: no peer attains as much

    @property
    def over_bound(self) -> float | None:
        """GPU-hours over the hindsight bound."""
        bound = self.ours.clairvoyant_gpu_hours
        return self.ours.gpu_hours / bound if bound else None

    @property
    def over_best(self) -> float | None:
        """GPU-hours over the best peer's."""
        return self.ours.gpu_hours / self.best.gpu_hours if self.best else None


def _cell(row: Row) -> tuple[str, str, float, int, float]:
    return row.trace, row.fleet, row.lead_time_s, row.step_tokens, row.attainment_asked


def compare(every: list[Row], *, defaults: bool = False) -> list[Comparison]:
    """Every cell in which ours ran, against peers at the asked attainment or at ours, whichever is lower."""
    by_cell: dict[tuple[str, str, float, int, float], list[Row]] = defaultdict(list)
    for row in every:
        if row.fault is None:
            by_cell[_cell(row)].append(row)
    found = []
    for rows in by_cell.values():
        mine = [row for row in rows if row.policy == OURS]
        if not mine:
            continue
        ours = sorted(mine, key=lambda row: row.seed)[0]
        least = min(ours.attainment, ours.attainment_asked) - CLOSE
        others = [
            row
            for row in rows
            if row.policy != OURS
            and not row.policy.startswith("clairvoyant")
            and row.attainment >= least
            and (row.policy_default or not defaults)
        ]
        found.append(Comparison(ours, min(others, key=lambda row: row.gpu_hours, default=None)))
    return found


def summary(every: list[Row], *, quick: bool) -> str:
    """A table of cells and the means, as Markdown."""
    found = sorted(compare(every), key=lambda one: (one.ours.family, *_cell(one.ours)))
    lines = [
        "| trace | fleet | start | step | attained | worst hour | GPU-h | / bound | best peer | setting | ours / it |",
        "|---|---|---:|---:|---:|---:|---:|---:|---|---|---:|",
    ]
    for one in found:
        row, best = one.ours, one.best
        lines.append(
            f"| {row.trace} | {row.fleet} | {row.lead_time_s:.0f} s | {row.step_tokens} | {row.attainment:.2%} "
            f"| {row.worst_hour_attainment:.1%} | {row.gpu_hours:.1f} | {_ratio(one.over_bound)} "
            f"| {best.policy if best else 'none'} | {(best.knobs or '') if best else ''} | {_ratio(one.over_best)} |"
        )
    lines += [
        "",
        *_means("best setting in hindsight", found),
        *_means("published defaults", compare(every, defaults=True)),
    ]
    if quick:
        lines += ["", f"A quick run cannot show: {QUICK_CANNOT}."]
    return "\n".join(lines) + "\n"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _mean(values: list[float]) -> str:
    return _ratio(mean(values) if values else None)


def _means(name: str, found: list[Comparison]) -> list[str]:
    ratios = [one.over_best for one in found if one.over_best is not None]
    alone = sum(one.best is None for one in found)
    attained = sum(one.ours.attainment >= one.ours.attainment_asked - CLOSE for one in found)
    bounds = [one.over_bound for one in found if one.over_bound is not None]
    return [
        f"Against peers' {name}: {_mean(ratios)} of the best one's GPU-hours in the mean over {len(ratios)} cells, "
        f"at most 1 in {sum(r <= 1.0 for r in ratios)} of them; in {alone} no peer attains as much.",
        f"Ours attains what is asked in {attained} of {len(found)} cells; {_mean(bounds)} of the hindsight bound's "
        f"GPU-hours in the mean over the {len(bounds)} cells in which that hits the asked share.",
    ]
