"""A peer: a rule that others run, with the settings it is swept over.

Law: every peer is one short file with its source named, our own code from the rule's description, and at most six
settings, its published default among them. They are frozen before our own planner is scored against them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from autoscaler.core.records import Objective
from autoscaler.simulation.engines import Params
from autoscaler.simulation.policy import HpaPolicy, ScalePolicy
from autoscaler.simulation.scenario import Scenario, Starts

MOST_SETTINGS = 6


@dataclass(frozen=True, slots=True)
class Deployment:
    """What an operator who installs a peer knows and would write into its configuration.

    `profile` stands for the offline profiling run that some peers ask for: they get the true step times.
    """

    objective: Objective
    profile: Params
    starts: Starts
    min_replicas: int
    max_replicas: int
    gpus_per_replica: int = 4

    @classmethod
    def of(cls, scenario: Scenario) -> Deployment:
        """The deployment of a scenario."""
        return cls(
            scenario.objective,
            scenario.params,
            scenario.starts,
            scenario.min_replicas,
            scenario.max_replicas,
            scenario.gpus_per_replica,
        )


@dataclass(frozen=True, slots=True)
class Setting:
    """One choice of a peer's knobs."""

    knobs: str  # as `name=value`, separated by spaces
    build: Callable[[Deployment], ScalePolicy | HpaPolicy]
    default: bool = False  # the published default


@dataclass(frozen=True, slots=True)
class Peer:
    """One rule."""

    name: str
    source: str
    settings: tuple[Setting, ...]
