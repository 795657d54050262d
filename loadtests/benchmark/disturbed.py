"""What faults and a cold start cost, as rows tell it."""

from __future__ import annotations

from collections import defaultdict
from statistics import mean

from loadtests.benchmark import text
from loadtests.benchmark.faults import COLD, FAULTS
from loadtests.benchmark.rows import OURS, Row

POINTS = 0.02  # of attainment that a fault or a cold start may cost
COLD_HOURS = 0.10  # of GPU-hours that a cold start may cost
TRAFFIC = ("flash-crowd", "mix-shift")  # the undisturbed run has other traffic: it is no yardstick


def lost(row: Row) -> float:
    """Attainment lost against the undisturbed run."""
    return (row.undisturbed_attainment or 0.0) - row.attainment


def dearer(row: Row) -> float:
    """GPU-hours over the undisturbed run's."""
    return row.gpu_hours / max(1e-9, row.undisturbed_gpu_hours or 0.0)


def answers(rows: list[Row]) -> list[str]:
    """One line a question; nothing where no fault was run."""
    lines = []
    for fault in FAULTS:
        mine = [row for row in rows if row.fault == fault and row.policy == OURS]
        if not mine:
            continue
        if fault in TRAFFIC:
            lines.append(f"{fault}: {_against_peers(fault, rows)}.")
            continue
        held = sum(lost(row) <= POINTS for row in mine)
        shrunk = sum((row.replicas_lost or 0) > 0 for row in mine)
        lines.append(
            f"{fault}: within 2 points of the undisturbed run in {held} of {len(mine)} cells (most lost: "
            f"{max(map(lost, mine)) * 100:.1f}); replicas taken away by it in {shrunk}."
        )
    cold = [row for row in rows if row.fault == COLD]
    if cold:
        good = sum(lost(row) <= POINTS and dearer(row) <= 1.0 + COLD_HOURS for row in cold)
        lines.append(f"{COLD}: at most 2 points and 10 % GPU-hours worse in {good} of {len(cold)} cells.")
    return lines


def _against_peers(fault: str, rows: list[Row]) -> str:
    pairs = _pairs(fault, rows)
    wins = sum(ours.attainment >= max(row.attainment for row in others) - 0.002 for ours, others in pairs)
    attained = mean(ours.attainment for ours, _ in pairs) if pairs else 0.0
    return f"{attained:.1%} attained in the mean; as much as each of the best peers in {wins} of {len(pairs)} cells"


def _pairs(fault: str, rows: list[Row]) -> list[tuple[Row, list[Row]]]:
    cells: dict[tuple[str, str, float, int], list[Row]] = defaultdict(list)
    for row in rows:
        if row.fault == fault:
            cells[row.cell].append(row)
    pairs = []
    for some in cells.values():
        ours = [row for row in some if row.policy == OURS]
        others = [row for row in some if row.policy != OURS]
        if ours and others:
            pairs.append((ours[0], others))
    return pairs


def section(rows: list[Row]) -> str:
    """Every fault in every cell, and cold starts."""
    mine = [row for row in rows if row.fault in FAULTS and row.policy == OURS]
    cold = [row for row in rows if row.fault == COLD]
    parts = []
    if mine:
        lines = []
        for row in sorted(mine, key=lambda row: (FAULTS.index(row.fault or ""), row.cell)):
            others = [one for one in rows if one.fault == row.fault and one.cell == row.cell and one.policy != OURS]
            bad = row.fault not in TRAFFIC and (lost(row) > POINTS or (row.replicas_lost or 0) > 0)
            lines.append(
                (
                    row.fault,
                    text.cell(row.cell),
                    f"{row.attainment:.2%}" + (" (!)" if bad else ""),
                    f"{row.undisturbed_attainment or 0.0:.2%}",
                    f"{dearer(row):.2f}",
                    row.replicas_lost,
                    ", ".join(
                        f"{one.policy} {one.attainment:.1%} at {one.gpu_hours / row.gpu_hours:.2f}" for one in others
                    ),
                )
            )
        heads = (
            "fault",
            "cell",
            "attained",
            "undisturbed",
            "GPU-h / undisturbed",
            "replicas lost",
            "best peers, GPU-h / ours",
        )
        parts.append(
            "## Faults\n\nAt the busiest ten minutes, scored from the fault's start to 15 minutes after its end. (!): "
            "more than 2 points lost, or replicas taken away. A flash crowd (3 times the requests for 5 minutes) and a "
            "mix shift (twice the output for 15) change the traffic: there peers are the yardstick.\n\n"
            + text.table(heads, lines)
        )
    if cold:
        lines2 = [
            (
                text.cell(row.cell),
                f"{row.attainment:.2%}",
                f"{row.undisturbed_attainment or 0.0:.2%}",
                f"{dearer(row):.3f}" + (" (!)" if dearer(row) > 1.0 + COLD_HOURS or lost(row) > POINTS else ""),
            )
            for row in sorted(cold, key=lambda row: row.cell)
        ]
        parts.append(
            "## Cold starts\n\nThe first hour of a planner that knows nothing, in a fleet that was running, against "
            "one that took up the state of the hours before.\n\n"
            + text.table(("cell", "attained", "with learned state", "GPU-h / with it"), lines2)
        )
    return "\n\n".join(parts)
