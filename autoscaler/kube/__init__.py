"""The cluster: a thin client on raw JSON, informers, the Lease elector, Events, writes under our own field manager.

The law of this layer: the only importer of kubernetes_asyncio, and that only in `library`, for how to get in (its
models cost 17 times the JSON). What is missing or forbidden turns its own feature off, is said once, is tried again
slowly, and never raises into anything else.
"""
