"""Doctor: what is wrong with a cluster's or a file's scaling, with the evidence and the fix to paste.

The law of this layer: a check is a function from what was looked at to findings, with a stable name; it reads objects
through `autoscaler.kube.meaning` only and acts on nothing. What could not be read is said, and is no finding.
"""
