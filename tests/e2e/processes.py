"""Child processes with a log file each: started, killed, asked how they are."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

STOP_WITHIN_S = 20.0


class Child:
    """One program; `start` again after `stop` runs the same command line."""

    def __init__(self, name: str, command: Sequence[object], logs: Path, environ: Mapping[str, str] | None = None):
        self.name = name
        self._command = [str(part) for part in command]
        self._log = logs / f"{name}.log"
        self._environ = {**os.environ, **(environ or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Run it; what it prints is appended to its log."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environ
            )

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None, f"{self.name} was never started"
        self._process.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it by a signal and wait; by SIGKILL when that takes too long. Gives its exit status."""
        if self._process is None:
            return 0
        if self.running:
            self._process.send_signal(number)
        try:
            return self._process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait(STOP_WITHIN_S)

    def must_run(self) -> None:
        """Raises AssertionError with the end of its log if it is not running."""
        if not self.running:
            code = None if self._process is None else self._process.returncode
            raise AssertionError(f"{self.name} ended with {code}:\n{self.log()[-3000:]}")

    def log(self) -> str:
        """All it printed."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
