"""The laboratory: emulated model servers, a KEDA-faithful caller, and the demo: the whole loop without a cluster.

The law of this layer: it may import every other one, and none imports it; sockets, gRPC and HTTP are real, only GPUs
and Kubernetes are emulated; every part takes its time from one clock object.
"""
