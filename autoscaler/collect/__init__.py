"""Collecting: pages of model servers, lists of replicas, pages of wake sources.

The law of this layer: everything is read in the background and kept as the newest state; bounded in time, size and
concurrency; a failure is a sentence beside the last good reading, never a made-up value.
"""
