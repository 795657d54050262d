"""Command line: serve, explain, demo, replay, backtest, doctor. Sub-commands import what they need when they run."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from autoscaler import __version__
from autoscaler.core.errors import AutoscalerError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # boxes cut the names of environment variables on a terminal of 80 columns
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Sizes LLM inference fleets to a latency objective, as a KEDA external scaler.",
)


def _env(name: str) -> str:
    return f"LLM_AUTOSCALER_{name}"


@app.callback()
def _root() -> None:
    pass


@app.command()
def version() -> None:
    """Print the version."""
    Console().print(__version__, highlight=False)


@app.command()
def serve(
    targets: Annotated[
        Path | None,
        typer.Option(
            envvar=_env("TARGETS"),
            help="YAML file of services, their replicas and objectives; needed where Kubernetes is off.",
        ),
    ] = None,
    grpc: Annotated[
        str, typer.Option(envvar=_env("GRPC"), metavar="HOST:PORT", help="Where KEDA calls us.")
    ] = "0.0.0.0:6000",
    http: Annotated[
        str, typer.Option(envvar=_env("HTTP"), metavar="HOST:PORT", help="Where /metrics, health and the wake API are.")
    ] = "0.0.0.0:8080",
    state_dir: Annotated[
        Path | None,
        typer.Option(
            envvar=_env("STATE_DIR"),
            help="Folder for learned state and the flight record. Default: ~/.local/state/llm-autoscaler.",
        ),
    ] = None,
    flight_record: Annotated[
        bool, typer.Option(envvar=_env("FLIGHT_RECORD"), help="Keep observations and decisions for replay.")
    ] = True,
    flight_record_bytes: Annotated[
        int, typer.Option(envvar=_env("FLIGHT_RECORD_BYTES"), min=1_000_000, help="Most bytes the record may take.")
    ] = 256 * 1024 * 1024,
    tls_cert: Annotated[
        Path | None,
        typer.Option(envvar=_env("TLS_CERT"), help="PEM certificate of the gRPC server; re-read on change."),
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(envvar=_env("TLS_KEY"), help="PEM key of that certificate.")] = None,
    tls_client_ca: Annotated[
        Path | None,
        typer.Option(envvar=_env("TLS_CLIENT_CA"), help="PEM authorities that callers must be signed by (mTLS)."),
    ] = None,
    wake_token_file: Annotated[
        Path | None,
        typer.Option(envvar=_env("WAKE_TOKEN_FILE"), help="Bearer token of the wake API; without it the API is off."),
    ] = None,
    log_format: Annotated[
        str, typer.Option(envvar=_env("LOG_FORMAT"), metavar="json|console|auto", help="auto: console on a terminal.")
    ] = "auto",
    log_level: Annotated[
        str, typer.Option(envvar=_env("LOG_LEVEL"), metavar="debug|info|warning|error", help="Least severity shown.")
    ] = "info",
    grace_s: Annotated[
        float, typer.Option(envvar=_env("GRACE_S"), min=0, help="Seconds that calls in flight get at shutdown.")
    ] = 20.0,
    kube: Annotated[
        str,
        typer.Option(
            envvar=_env("KUBE"),
            metavar="auto|on|off",
            help="Find targets in Kubernetes by their ScaledObjects. auto: in a pod, or where a kubeconfig is named.",
        ),
    ] = "auto",
    kube_namespaces: Annotated[
        str,
        typer.Option(envvar=_env("KUBE_NAMESPACES"), metavar="A,B", help="Namespaces watched; empty: all of them."),
    ] = "",
    kubeconfig: Annotated[
        Path | None, typer.Option(envvar=_env("KUBECONFIG"), help="How to get in from outside the cluster.")
    ] = None,
    lease: Annotated[
        str | None,
        typer.Option(
            envvar=_env("LEASE"),
            metavar="NAME",
            help="Lease in POD_NAMESPACE that says which replica plans; without it this one does.",
        ),
    ] = None,
    advertise: Annotated[
        str | None,
        typer.Option(
            envvar=_env("ADVERTISE"),
            metavar="HOST:PORT",
            help="Where our other replicas reach our gRPC server. Default: POD_IP and the port of --grpc.",
        ),
    ] = None,
    peer_name: Annotated[
        str | None,
        typer.Option(
            envvar=_env("PEER_NAME"),
            help="Name in the certificates of our other replicas. Default: the host they are reached at.",
        ),
    ] = None,
    fast_path: Annotated[
        bool, typer.Option(envvar=_env("FAST_PATH"), help="Write spec.replicas where KEDA and the HPA are late.")
    ] = False,
    pod_deletion_cost: Annotated[
        bool, typer.Option(envvar=_env("POD_DELETION_COST"), help="Have the emptiest pod removed at a decrease.")
    ] = False,
    capacity_buffer: Annotated[
        bool, typer.Option(envvar=_env("CAPACITY_BUFFER"), help="Ask for nodes ahead of predicted need.")
    ] = False,
    events: Annotated[bool, typer.Option(envvar=_env("EVENTS"), help="Write Events on ScaledObjects.")] = False,
    warm_start_prometheus: Annotated[
        str | None,
        typer.Option(
            envvar=_env("WARM_START_PROMETHEUS"),
            help="URL of a Prometheus-compatible server whose last hours a service without state lives through.",
        ),
    ] = None,
    warm_start_token_file: Annotated[
        Path | None, typer.Option(envvar=_env("WARM_START_TOKEN_FILE"), help="Bearer token for that server.")
    ] = None,
) -> None:
    """Serve KEDA: read model servers, decide, answer.

    Every option can also be set by the environment variable named beside it; the option wins.
    """
    from autoscaler.config.server import serve_settings  # noqa: PLC0415
    from autoscaler.service import serve_until_stopped  # noqa: PLC0415

    try:
        settings = serve_settings(
            targets=targets,
            grpc=grpc,
            http=http,
            state_dir=state_dir,
            flight_record=flight_record,
            flight_record_bytes=flight_record_bytes,
            tls_cert=tls_cert,
            tls_key=tls_key,
            tls_client_ca=tls_client_ca,
            wake_token_file=wake_token_file,
            log_format=log_format,
            log_level=log_level,
            grace_s=grace_s,
            kube=kube,
            kube_namespaces=kube_namespaces,
            kubeconfig=kubeconfig,
            lease=lease,
            advertise=advertise,
            peer_name=peer_name,
            fast_path=fast_path,
            pod_deletion_cost=pod_deletion_cost,
            capacity_buffer=capacity_buffer,
            events=events,
            warm_start_prometheus=warm_start_prometheus,
            warm_start_token_file=warm_start_token_file,
        )
        asyncio.run(serve_until_stopped(settings))
    except AutoscalerError as error:
        _fail(error)


@app.command()
def explain(
    service: Annotated[str | None, typer.Argument(help="As namespace/name; default: every service.")] = None,
    http: Annotated[str, typer.Option(help="The HTTP face of any replica.")] = "http://127.0.0.1:8080",
) -> None:
    """Say what a running service decided last, and why; shadow decisions too."""
    from autoscaler.web.explain import explain as tell  # noqa: PLC0415

    try:
        tell(http, service, Console())
    except AutoscalerError as error:
        _fail(error)


@app.command()
def demo(
    plain: Annotated[bool, typer.Option("--plain", help="Progress lines instead of the live view.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of start-up times.")] = 1,
    summary: Annotated[Path | None, typer.Option(help="Write the figures there as JSON.")] = None,
    chart: Annotated[Path, typer.Option(help="Where the chart goes (one HTML file).")] = Path("autoscaler-demo.html"),
    acceleration: Annotated[
        float | None, typer.Option(min=1, max=60, help="Times faster than life; default: as fast as this machine can.")
    ] = None,
) -> None:
    """Run the whole loop on a real trace, without a cluster: from zero, through the peak, back to zero."""
    from autoscaler.lab.demo import run_demo  # noqa: PLC0415

    try:
        run_demo(plain=plain, seed=seed, summary_file=summary, chart_file=chart, acceleration=acceleration)
    except AutoscalerError as error:
        _fail(error)


@app.command()
def replay(
    file: Annotated[Path, typer.Argument(help="A flight record, or a folder of its rotated files.")],
    every: Annotated[bool, typer.Option("--all", help="Print unchanged decisions too.")] = False,
) -> None:
    """Feed a flight record to today's planner and print every decision that changed."""
    from autoscaler.telemetry.replay import print_replay  # noqa: PLC0415

    try:
        print_replay(file, Console(), every=every)
    except AutoscalerError as error:
        _fail(error)


@app.command()
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
        int | None, typer.Option(help="Most replicas; default: four times what the peak needs.")
    ] = None,
    keep_warm_s: Annotated[float | None, typer.Option(help="Idle time before zero, where --min-replicas is 0.")] = None,
    policies: Annotated[
        str | None, typer.Option(help="Peers to play, comma-separated, or `all`; default: three that are common.")
    ] = None,
    bound: Annotated[bool, typer.Option("--bound", help="Play the hindsight bound too: tens of runs.")] = False,
    advice: Annotated[bool, typer.Option(help="Try other settings of the model server on the busiest day.")] = True,
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
    from autoscaler.backtest.command import run_backtest  # noqa: PLC0415
    from autoscaler.backtest.settings import DEFAULT_PEERS, Settings  # noqa: PLC0415
    from autoscaler.core.records import Objective  # noqa: PLC0415

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
        _fail(error)


@app.command()
def doctor(
    files: Annotated[
        list[Path] | None,
        typer.Option(
            "--files", metavar="PATH", help="Manifests instead of a cluster: file, folder, or - ; repeatable."
        ),
    ] = None,
    namespace: Annotated[str | None, typer.Option("--namespace", "-n", help="Only this one; default: all.")] = None,
    scaler: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST:PORT", help="Only triggers with this scalerAddress are ours; repeatable."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    list_checks: Annotated[bool, typer.Option("--list", help="Print what is checked, and look at nothing.")] = False,
) -> None:
    """Find what is wrong with scaling: second scalers, KServe classes that fight, tolerances, quotas, probes.

    Ends with 0 if no error was found, 1 with errors, 2 if it could not look.
    """
    from autoscaler.doctor.command import run_doctor  # noqa: PLC0415
    from autoscaler.doctor.report import print_checks  # noqa: PLC0415

    if list_checks:
        print_checks(Console())
        return
    try:
        code = run_doctor(files or (), namespace, scaler or (), Console(), json=json)
    except AutoscalerError as error:
        _fail(error)
    raise typer.Exit(code)


def _fail(error: AutoscalerError) -> NoReturn:
    Console(stderr=True).print(
        f"[bold red]error:[/] {escape(str(error))}", highlight=False, markup=True, soft_wrap=True
    )
    raise typer.Exit(2)


def main() -> None:
    """Run the command line."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
