"""Model servers and gateways: which names on which page mean what.

The law of this layer: pure data and pure functions; one module per server; nothing is summed that a server repeats,
and a family that is absent is unknown unless its profile says that absent means zero.
"""

from autoscaler.modelservers.registry import WANTED, detect, profile, profile_names, read_sample

__all__ = ["WANTED", "detect", "profile", "profile_names", "read_sample"]
