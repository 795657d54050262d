"""Kubernetes: what its objects mean (`meaning`, pure), and the informers, lease, events and writes around that.

The law of this layer: the API server is read by list and watch only, raw JSON, and nothing here decides a count. A
missing CRD or a refused verb turns one feature off; it never stops scaling.
"""
