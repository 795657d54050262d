"""Ctrl-C while a back-test's processes start or run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from autoscaler.backtest.running import FEW_REQUESTS


def children_of(pid: int) -> int:
    """Processes started by one, by /proc; the tracker of its resources is the first."""
    count = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            count += int(stat.read_text().rpartition(")")[2].split()[1]) == pid
        except OSError:
            continue
    return count


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.timeout(60)
def test_an_interrupt_while_processes_start_ends_all_without_a_traceback(tmp_path: Path) -> None:
    # It printed a traceback of every process that was still importing, over the terminal.
    path = tmp_path / "requests.csv"
    arrival_s = np.linspace(0.0, 7200.0, FEW_REQUESTS // 4)
    path.write_text("arrival_s,prompt_tokens,output_tokens\n" + "".join(f"{at_s:.3f},900,120\n" for at_s in arrival_s))
    command = [str(Path(sys.executable).with_name("autoscaler")), "backtest", str(path), "--jobs", "2", "--no-advice"]
    started = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while children_of(started.pid) < 2 and started.poll() is None:
        time.sleep(0.01)  # another process, on the clock of the wall
    os.killpg(started.pid, signal.SIGINT)
    out, told = started.communicate(timeout=30)
    assert started.returncode == 130, out + told
    assert "Traceback" not in told
