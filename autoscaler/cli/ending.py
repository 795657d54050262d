"""What every command ends with where something is wrong: one error on stderr, exit code 2."""

from __future__ import annotations

from typing import NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from autoscaler.core.errors import AutoscalerError


def fail(error: AutoscalerError) -> NoReturn:
    """Print the error and end with 2."""
    Console(stderr=True).print(
        f"[bold red]error:[/] {escape(str(error))}", highlight=False, markup=True, soft_wrap=True
    )
    raise typer.Exit(2)
