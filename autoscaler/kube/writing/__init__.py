"""What we write into the cluster beside our Lease: the fast path, the price of deleting a pod, Events, node buffers.

The law of this package: every writer is off by default and takes decisions by `offer`, which never waits; its `run`
does the writing. The owner only, asked right before each write; NORMAL decisions only; never two writes in flight for
one target; what is forbidden or missing turns that writer off there, is said once, and is tried again slowly.
"""
