"""Learned state across restarts.

The law of this layer: one writer, off the event loop; storage that cannot be used is set aside and reported, and never
stops scaling.
"""
