"""Warm start: what a Prometheus-compatible store has of a service's past, lived through by a fresh planner.

The law of this layer: it reads series, and what they mean is `modelservers`'; it knows core, never what runs live. The
back-test reads the same store by the same modules.
"""
