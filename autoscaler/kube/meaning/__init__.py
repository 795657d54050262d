"""What Kubernetes objects mean: from plain JSON to targets, replicas, metrics pages and configurations that fight.

The law of this package: plain JSON objects in, frozen slotted records out; no I/O, no clock (times are read off
objects), no client library. Absent is not the same as unreadable: only what was read, or whose CRD is absent, is known
not to be there. Nothing here raises on a strange object: what a controller or a user left out reads as absent.
"""
