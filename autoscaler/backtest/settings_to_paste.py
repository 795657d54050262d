"""The settings that were back-tested, as text for a targets file and for a ScaledObject's metadata."""

from __future__ import annotations

from autoscaler.backtest.results import Findings


def values(findings: Findings) -> dict[str, str]:
    """Keys of the settings' vocabulary, and values as users write them."""
    settings, scenario = findings.settings, findings.setup.scenario
    # As played: advice is for the server, and what is told here must be what is set.
    tokens, sequences = settings.tokens_per_step, settings.sequences
    found: dict[str, str | None] = {
        "ttftSeconds": f"{settings.objective.ttft_s:g}",
        "tpotSeconds": f"{settings.objective.tpot_s:g}",
        "attainment": f"{settings.objective.attainment:g}",
        "minReplicas": str(scenario.min_replicas),
        "maxReplicas": str(scenario.max_replicas),
        "keepWarmSeconds": None if settings.keep_warm_s is None else f"{settings.keep_warm_s:g}",
        "gpusPerReplica": str(settings.gpus_per_replica),
        "gpuPricePerHour": None if settings.gpu_price_per_hour is None else f"{settings.gpu_price_per_hour:g}",
        "prior": settings.replica,
        "maxBatchedTokens": None if tokens is None else str(tokens),
        "maxSequences": None if sequences is None else str(sequences),
    }
    return {key: value for key, value in found.items() if value is not None}


def targets_file(findings: Findings) -> str:
    """An entry of `services:`."""
    namespace, _, name = (findings.history.service or "default/chat").partition("/")
    lines = ["services:", f"  - namespace: {namespace}", f"    name: {name}"]
    lines += [f"    {key}: {value}" for key, value in values(findings).items()]
    if not findings.setup.scenario.min_replicas:
        lines.append("    wakeSource: gateway   # an entry of wakeSources: who speaks for the service at zero")
    lines.append(f"    leadTimeSeconds: {findings.settings.lead_time_s:g}")
    lines.append(f"    replicas: {{file: /etc/llm-autoscaler/{name}-replicas.json}}")
    return "\n".join(lines) + "\n"


def metadata(findings: Findings) -> str:
    """A trigger of a ScaledObject."""
    lines = ["triggers:", "  - type: external-push", "    metricType: AverageValue", "    metadata:"]
    lines.append('      scalerAddress: "llm-autoscaler.keda:6000"')
    lines += [f'      {key}: "{value}"' for key, value in values(findings).items()]
    return "\n".join(lines) + "\n"
