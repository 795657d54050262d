"""The back-test's findings as JSON; docs/backtest.md documents the schema, a test compares."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from autoscaler import __version__
from autoscaler.backtest.results import Advice, Findings
from autoscaler.backtest.sentences import headline
from autoscaler.backtest.settings_to_paste import values
from autoscaler.simulation.comparison import Outcome

FORMAT, VERSION = "llm-autoscaler/backtest", 1


def write_json(path: Path, findings: Findings) -> None:
    """Write the document."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document(findings), indent=1, allow_nan=False) + "\n")


def document(findings: Findings) -> dict[str, Any]:
    """The whole document as JSON values."""
    history, scenario, settings = findings.history, findings.setup.scenario, findings.settings
    length_s, count = findings.setup.bins
    timeline = history.timeline
    params, asked = scenario.params, settings.objective
    return {
        "format": FORMAT,
        "version": VERSION,
        "software": __version__,
        "source": {
            "name": history.source,
            "kind": history.kind,
            "begin_s": timeline.begin_s,
            "end_s": timeline.source(history.end_s),
            "requests": len(history.trace.arrival_s),
            "known_s": history.end_s,
            "gaps": [[gap.from_s, gap.until_s] for gap in timeline.gaps],
            "counter_resets": history.resets,
            "reconstructed": history.reconstructed,
            "facts": list(history.facts),
        },
        "settings": {
            "ttft_s": asked.ttft_s,
            "tpot_s": asked.tpot_s,
            "attainment": asked.attainment,
            "min_replicas": scenario.min_replicas,
            "max_replicas": scenario.max_replicas,
            "initial_replicas": scenario.initial_replicas,
            "keep_warm_s": settings.keep_warm_s,
            "lead_time_s": settings.lead_time_s,
            "gpus_per_replica": settings.gpus_per_replica,
            "gpu_price_per_hour": settings.gpu_price_per_hour,
            "warm_up_s": scenario.start_s,
            "period_s": findings.setup.ours.period_s,
            "seed": settings.seed,
            "replica": {"name": settings.replica, **params._asdict()},
        },
        "headline": headline(findings),
        "policies": [_policy(one, findings) for one in findings.outcomes],
        "series": {
            "bin_s": length_s,
            "at_s": [timeline.source(scenario.from_s + length_s * k) for k in range(count)],
            "requests_per_s": _rounded(findings.load.requests_per_s),
            "prompt_tokens_per_s": _rounded(findings.load.prompt_tokens_per_s),
            "output_tokens_per_s": _rounded(findings.load.output_tokens_per_s),
        },
        "advice": [_advice(one, findings) for one in findings.advice],
        "recommended": values(findings),
        "warnings": list(findings.warnings),
    }


def _policy(one: Outcome, findings: Findings) -> dict[str, Any]:
    score = one.score
    return {
        "kind": one.player.kind.value,
        "name": one.player.name,
        "setting": one.knobs,
        "requests": score.requests,
        "attainment": score.attainment,
        "ttft_share": score.ttft_share,
        "tpot_share": score.tpot_share,
        "worst_hour_attainment": score.worst_hour,
        "gpu_hours": score.gpu_hours,
        "replica_hours": score.replica_hours,
        "money": findings.money(score.gpu_hours),
        "scale_events_per_hour": score.scale_events_per_hour,
        "replicas": _rounded(one.paid),
    }


def _advice(one: Advice, findings: Findings) -> dict[str, Any]:
    return {
        "setting": one.setting,
        "now": one.now,
        "value": one.value,
        "recommended": one.recommended,
        "attainment": one.attainment,
        "gpu_hours": one.gpu_hours,
        "gpu_hours_now": one.gpu_hours_now,
        "money_saved": findings.money(one.gpu_hours_now - one.gpu_hours),
        "why": one.why,
        "words": dict(one.words),
    }


def _rounded(values: tuple[float, ...]) -> list[float]:
    return [round(value, 3) for value in values]
