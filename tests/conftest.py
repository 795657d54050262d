"""How the suite is spread over two cores, and what a run tells of the end-to-end tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.reports import BaseReport
from _pytest.terminal import TerminalReporter
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests.e2e.binaries import find

HERE = Path(__file__).parent
COMPILED = "compiled"
COMPILING_S = 180.0  # the first of them compiles the simulator: 24 s alone, and over 60 beside a build on both cores
# What one worker does, by folder; all other tests go where there is room. Half of the time is that of tests by clocks
# that run 10 to 50 times as fast as the real one: a loop that is held up for 0.1 s there has lost seconds, so no two
# of them run side by side, whatever processes and threads they start.
TOGETHER = {
    "control": "real time",
    "kube": "real time",
    "service": "real time",
    "backtest": COMPILED,  # else both workers compile the simulator in a clean clone, 30 s each
    "loadtests": COMPILED,
    "simulation": COMPILED,
    "e2e": "e2e",  # one control plane
}


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two for the whole suite; none where files or tests are named: that starts faster, and prints as it goes."""
    whole = not set(config.args) - {str(HERE), *config.getini("testpaths")}
    return 2 if whole and len(os.sched_getaffinity(0)) > 1 else 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Time for the compiler, where a test that hangs would else be named after the usual limit."""
    for item in items:
        folder, *_ = item.path.relative_to(HERE).parts if HERE in item.path.parents else ("",)
        if TOGETHER.get(folder) == COMPILED and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(COMPILING_S))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer | None) -> LoadScopeScheduling:
    """By folder, not by `xdist_group`: pytest-xdist 3.8 takes no notice of that mark beside pytest 9.2."""
    return ByFolder(config, log)


class ByFolder(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    """What is to be together goes to one worker, the largest of it first, then test by test."""

    def _split_scope(self, nodeid: str) -> str:
        _, *folders = Path(nodeid.split("::", 1)[0]).parts  # from the repository's root
        return TOGETHER.get(folders[0], nodeid) if folders else nodeid


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Say why nothing ran end to end, or what was measured. Not in e2e/conftest.py: workers alone load that."""
    reports = list(_end_to_end(terminalreporter))
    found = find(os.environ)
    if reports and isinstance(found, str):
        terminalreporter.write_line(f"tests/e2e skipped: {found}")
    for report in reports:
        for name, value in report.user_properties if not report.skipped else ():
            terminalreporter.write_line(f"{report.head_line}: {name} = {value}")


def _end_to_end(terminalreporter: TerminalReporter) -> Iterator[BaseReport]:
    for outcome in ("passed", "failed", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            if "e2e" in Path(report.fspath).parts:
                yield report
