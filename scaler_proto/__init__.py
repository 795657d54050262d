"""KEDA's external scaler protocol and that of our own replicas; the generated code is committed.

`python -m scaler_proto.generate` makes it anew.
"""
