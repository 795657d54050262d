"""Command line: serve, explain, demo, replay, backtest, doctor.

Law: a command names its options, hands them to one function of another layer, and tells errors; it imports what it
needs when it runs, so that `--help` is quick and `serve` never loads the simulator.
"""

from __future__ import annotations

import sys

import typer
from rich.console import Console

from autoscaler import __version__
from autoscaler.cli.backtest import backtest
from autoscaler.cli.looking import demo, doctor, explain, replay
from autoscaler.cli.serve import serve

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # boxes cut the names of environment variables on a terminal of 80 columns
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Sizes LLM inference fleets to a latency objective, as a KEDA external scaler.",
)


@app.callback()
def _root() -> None:
    pass


@app.command()
def version() -> None:
    """Print the version."""
    Console().print(__version__, highlight=False)


for command in (serve, explain, demo, replay, backtest, doctor):
    app.command()(command)


def main() -> None:
    """Run the command line."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
