"""What a policy is: something that sees views and asks for replicas, by itself or through KEDA and the HPA.

Law: a policy sees a `View` and nothing else; it is one object per run and keeps its own memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from autoscaler.simulation.hpa import KedaParams, desired_replicas
from autoscaler.simulation.view import View


@runtime_checkable
class ScalePolicy(Protocol):
    """Writes `/scale` itself, every `period_s`, from pages that are `scrape_s` apart."""

    period_s: float
    scrape_s: float

    def decide(self, view: View, now_s: float) -> int:
        """The replicas wanted now."""
        ...


@dataclass(frozen=True, slots=True)
class AverageValue:
    """An external metric with an AverageValue target: replicas = value / target."""

    value: float
    target: float


@dataclass(frozen=True, slots=True)
class Value:
    """An external metric with a Value target: the replicas that serve, times value / target."""

    value: float
    target: float


@dataclass(frozen=True, slots=True)
class Pods:
    """A metric of every pod, averaged: those without one count as 0 on the way up, as the target on the way down."""

    values: tuple[float, ...]
    target: float


Metric = AverageValue | Value | Pods


@runtime_checkable
class HpaPolicy(Protocol):
    """Feeds metrics to KEDA and the HPA, which scale as its ScaledObject says."""

    scrape_s: float
    keda: KedaParams

    def metrics(self, view: View, now_s: float) -> Sequence[Metric | None]:
        """What the HPA reads at one sync; None: an error."""
        ...

    def active(self, view: View, now_s: float) -> bool:
        """What KEDA's poll reads."""
        ...


@runtime_checkable
class TickingPolicy(HpaPolicy, Protocol):
    """An HpaPolicy that decides on its own timer, from pages read at that time, and pushes when it turns active."""

    def tick(self, view: View, now_s: float) -> float:
        """Decide; gives the seconds until the next tick."""
        ...


def desired(metric: Metric, view: View, keda: KedaParams) -> int:
    """The replicas one metric asks for (kubernetes pkg/controller/podautoscaler/replica_calculator.go)."""
    up, down = keda.up.tolerance, keda.down.tolerance
    if isinstance(metric, AverageValue):
        return desired_replicas(metric.value, metric.target, view.spec, up, down)
    if isinstance(metric, Value):
        ratio = metric.value / metric.target
        if 1.0 - down <= ratio <= 1.0 + up:
            return view.spec
        return math.ceil(ratio * (view.ready or 1) - 1e-9)
    return _desired_by_pods(metric, view, up, down)


def _desired_by_pods(metric: Pods, view: View, up: float, down: float) -> int:
    told, missing = len(metric.values), max(0, view.spec - len(metric.values))
    if not told:
        return view.spec
    ratio = sum(metric.values) / told / metric.target
    if not missing:
        return view.spec if 1.0 - down <= ratio <= 1.0 + up else math.ceil(ratio * told - 1e-9)
    filled = sum(metric.values) + (missing * metric.target if ratio < 1.0 else 0.0)
    tempered = filled / view.spec / metric.target
    turned = (ratio < 1.0) != (tempered < 1.0)
    if turned or 1.0 - down <= tempered <= 1.0 + up:
        return view.spec
    return math.ceil(tempered * view.spec - 1e-9)


def desired_of_all(metrics: Sequence[Metric | None], view: View, keda: KedaParams) -> int | None:
    """The most that any metric asks for; with an error among them nothing shrinks, with nothing else it is None."""
    asked = [desired(metric, view, keda) for metric in metrics if metric is not None]
    if not asked:
        return None
    most = max(asked)
    return most if None not in metrics else max(most, view.spec)
