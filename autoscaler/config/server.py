"""Settings of the process itself, from the command line and its environment variables."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from autoscaler.core.errors import ConfigError, Problem


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port to listen on."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """Everything `autoscaler serve` was told."""

    targets: Path
    grpc: Address
    http: Address
    state_dir: Path
    flight_record_bytes: int  # 0: no flight record
    tls_cert: Path | None
    tls_key: Path | None
    tls_client_ca: Path | None
    wake_token_file: Path | None
    log_format: str
    log_level: str
    grace_s: float


def read_address(option: str, text: str) -> Address | Problem:
    """HOST:PORT, with brackets around an IPv6 host."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not port.isdecimal() or int(port) > 65_535 or not host:
        return Problem(option, repr(text), "HOST:PORT, such as 0.0.0.0:6000 or [::]:6000")
    return Address(host, int(port))


def serve_settings(
    *,
    targets: Path,
    grpc: str,
    http: str,
    state_dir: Path | None,
    flight_record: bool,
    flight_record_bytes: int,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_client_ca: Path | None,
    wake_token_file: Path | None,
    log_format: str,
    log_level: str,
    grace_s: float,
) -> ServeSettings:
    """Check the options together. Raises ConfigError with every problem at once."""
    found: list[Problem] = []
    grpc_address, http_address = read_address("--grpc", grpc), read_address("--http", http)
    found += [address for address in (grpc_address, http_address) if isinstance(address, Problem)]
    if (tls_cert is None) != (tls_key is None):
        found.append(Problem("--tls-cert, --tls-key", "one of them", "both or neither"))
    if tls_client_ca is not None and tls_cert is None:
        found.append(Problem("--tls-client-ca", str(tls_client_ca), "--tls-cert and --tls-key with it"))
    if log_format not in ("json", "console", "auto"):
        found.append(Problem("--log-format", repr(log_format), "json, console or auto"))
    if log_level not in ("debug", "info", "warning", "error"):
        found.append(Problem("--log-level", repr(log_level), "debug, info, warning or error"))
    if found or isinstance(grpc_address, Problem) or isinstance(http_address, Problem):
        raise ConfigError("command line", tuple(found))
    return ServeSettings(
        targets,
        grpc_address,
        http_address,
        state_dir or _default_state_dir(),
        flight_record_bytes if flight_record else 0,
        tls_cert,
        tls_key,
        tls_client_ca,
        wake_token_file,
        log_format,
        log_level,
        grace_s,
    )


def _default_state_dir() -> Path:
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "llm-autoscaler"
