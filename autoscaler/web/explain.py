"""`autoscaler explain`: what a running replica decided last, and why, as text; any replica knows."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import aiohttp
from rich.console import Console

from autoscaler.core.codec import CodecError, from_json
from autoscaler.core.errors import ClusterError, ConfigError, Problem
from autoscaler.core.records import Decision, Mode

TIMEOUT_S = 5.0


def explain(root: str, service: str | None, console: Console) -> None:
    """Print the newest decision of one service (`namespace/name`), or of all.

    Raises ClusterError (nobody answers at `root`, or not as we do) and ConfigError (no such service).
    """
    decisions = asyncio.run(_read(root.rstrip("/")))
    if service is not None and service not in decisions:
        known = ", ".join(sorted(decisions)) or "none"
        raise ConfigError("explain", (Problem("service", repr(service), f"one of: {known}"),))
    for name in [service] if service is not None else sorted(decisions):
        try:
            decision = from_json(Decision, decisions[name]) if decisions[name] is not None else None
        except CodecError as error:
            raise ClusterError(f"{root} speaks another version than this command: {error}") from None
        for line in sentences(name, decision, time.time()):
            console.print(line, markup=False, highlight=False, soft_wrap=True)


async def _read(root: str) -> dict[str, Any]:
    try:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(f"{root}/v1/services") as answer:
            answer.raise_for_status()
            return dict(await answer.json())
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise ClusterError(f"{root}/v1/services cannot be read: {error or 'no answer'}") from None


def sentences(name: str, decision: Decision | None, now: float) -> list[str]:
    """One decision as lines."""
    if decision is None:
        return [f"{name}: nothing was decided yet"]
    shadow = ", shadow: not acted on" if decision.mode is Mode.SHADOW else ""
    state = "active" if decision.active else "inactive"
    lines = [f"{name}: {state}, mode {decision.mode.value}{shadow}, {max(0.0, now - decision.at_s):.0f} s ago"]
    lines += [f"  {reason.text} [{reason.code}]" for reason in decision.reasons]
    for role in decision.roles:
        lines.append(f"  {role.role or 'replicas'}: {role.replicas}")
        lines += [f"    {reason.text} [{reason.code}]" for reason in role.reasons]
    return lines
