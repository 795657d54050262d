"""Simulation: one replica, step by step, and fleets of them.

The law of this layer: pure functions on arrays, time as an argument; it imports core, modelservers and exposition only,
and the live service never imports it.
"""
