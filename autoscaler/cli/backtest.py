"""`autoscaler backtest`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from autoscaler.cli.ending import fail
from autoscaler.core.errors import AutoscalerError


def backtest(
    source: Annotated[
        str, typer.Argument(help="CSV or JSONL file of requests (.gz too), a flight record, or a Prometheus URL.")
    ],
    html: Annotated[Path | None, typer.Option(help="Write the report there, one self-contained page.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the figures there.")] = None,
    replica: Annotated[
        str, typer.Option("--replica", "--model-prior", help="Model and GPUs of one replica: a key of the step table.")
    ] = "generic",
    tokens_per_step: Annotated[
        int | None, typer.Option(help="The server's max_num_batched_tokens; default: the replica's.")
    ] = None,
    sequences: Annotated[int | None, typer.Option(help="The server's max_num_seqs; default: the replica's.")] = None,
    lead_time_s: Annotated[float, typer.Option(help="From asked for to serving.")] = 120.0,
    gpus_per_replica: Annotated[int, typer.Option(help="GPUs one replica holds.")] = 1,
    gpu_price_per_hour: Annotated[
        float | None, typer.Option(help="Price of one GPU-hour; without it no money.")
    ] = None,
    ttft_s: Annotated[float, typer.Option(help="Limit on the time to first token.")] = 3.0,
    tpot_s: Annotated[float, typer.Option(help="Limit on a request's mean time per output token.")] = 0.06,
    attainment: Annotated[float, typer.Option(help="Share of requests that must meet both.")] = 0.95,
    min_replicas: Annotated[int, typer.Option(help="Fewest replicas.")] = 1,
    max_replicas: Annotated[
        int | None, typer.Option(help="Most replicas; default: four times what the busiest ten minutes need, or more.")
    ] = None,
    keep_warm_s: Annotated[float | None, typer.Option(help="Idle time before zero, where --min-replicas is 0.")] = None,
    policies: Annotated[
        str | None, typer.Option(help="Peers to play, comma-separated, or `all`; default: three that are common.")
    ] = None,
    bound: Annotated[bool, typer.Option("--bound", help="Play the hindsight bound too: tens of runs.")] = False,
    advice: Annotated[
        bool, typer.Option(help="Try other settings of the model server on the busiest twelve hours.")
    ] = True,
    seed: Annotated[int, typer.Option(help="Seed of start-up times, timers and drawn requests.")] = 1,
    warm_up_s: Annotated[
        float | None, typer.Option(help="Not scored at the beginning; default: a tenth, at most an hour.")
    ] = None,
    period_s: Annotated[
        float | None, typer.Option(help="Between decisions; default: 5, over long histories 15 for speed.")
    ] = None,
    gaps: Annotated[
        str,
        typer.Option(metavar="exclude|idle", help="Times without data: leave them out, or take them as no traffic."),
    ] = "exclude",
    most_gap_share: Annotated[float, typer.Option(help="Refuse a history with more of it missing.")] = 0.2,
    time_unit: Annotated[
        str | None, typer.Option(metavar="s|ms|us|ns", help="Unit of a file's numeric times, where it cannot be told.")
    ] = None,
    replicas_ran: Annotated[Path | None, typer.Option(help="CSV of (time, replicas): what really ran.")] = None,
    replicas_ran_are: Annotated[
        str, typer.Option(metavar="asked|ready", help="What that file counts: replicas asked for, or serving.")
    ] = "asked",
    service: Annotated[
        str | None, typer.Option(help="Flight record: which service, as namespace/name, where it holds several.")
    ] = None,
    query_labels: Annotated[
        str, typer.Option(help="""Prometheus: label matchers, such as 'namespace="x",model_name="y"'.""")
    ] = "",
    server: Annotated[str, typer.Option(help="Prometheus: model server, where several kinds are found.")] = "auto",
    start: Annotated[
        str | None, typer.Option(help="Prometheus: Unix seconds, ISO 8601, or a time ago; default: 7d.")
    ] = None,
    end: Annotated[str | None, typer.Option(help="Prometheus: the same; default: now.")] = None,
    step: Annotated[float, typer.Option(help="Prometheus: seconds between steps.")] = 60.0,
    replicas_query: Annotated[
        str | None,
        typer.Option(help="Prometheus: what ran, such as 'kube_deployment_spec_replicas{deployment=\"chat\"}'."),
    ] = None,
    token_file: Annotated[Path | None, typer.Option(help="Prometheus: file of a bearer token.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Runs at a time; default: one per core.")] = None,
) -> None:
    """Play a service's own history under this autoscaler, what ran, and others' rules, and report what each costs."""
    from autoscaler.backtest.command import run_backtest
    from autoscaler.backtest.settings import DEFAULT_PEERS, Settings
    from autoscaler.core.records import Objective

    names = DEFAULT_PEERS if policies is None else tuple(name.strip() for name in policies.split(",") if name.strip())
    try:
        settings = Settings(
            source=source,
            html=html,
            json=json,
            replica=replica,
            tokens_per_step=tokens_per_step,
            sequences=sequences,
            lead_time_s=lead_time_s,
            gpus_per_replica=gpus_per_replica,
            gpu_price_per_hour=gpu_price_per_hour,
            objective=Objective(ttft_s, tpot_s, attainment),
            min_replicas=min_replicas,
            max_replicas=max_replicas,
            keep_warm_s=keep_warm_s,
            policies=names,
            bound=bound,
            advice=advice,
            seed=seed,
            warm_up_s=warm_up_s,
            period_s=period_s,
            gaps=gaps,
            most_gap_share=most_gap_share,
            time_unit=time_unit,
            replicas_ran=replicas_ran,
            replicas_ran_are=replicas_ran_are,
            service=service,
            query_labels=query_labels,
            server=server,
            start=start,
            end=end,
            step_s=step,
            replicas_query=replicas_query,
            token_file=token_file,
            jobs=jobs,
        )
        run_backtest(settings, Console(), Console(stderr=True))
    except AutoscalerError as error:
        fail(error)
