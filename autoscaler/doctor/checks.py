"""Every check there is, in the order in which they are run."""

from __future__ import annotations

from autoscaler.doctor import capacity, pods, scaling, zero
from autoscaler.doctor.look import Check

CHECKS: tuple[Check, ...] = (*scaling.CHECKS, *zero.CHECKS, *pods.CHECKS, *capacity.CHECKS)
