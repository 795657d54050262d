"""`python -m loadtests COMMAND`: the benchmark of decisions."""

from __future__ import annotations

from loadtests.benchmark.command import app

if __name__ == "__main__":
    app()
