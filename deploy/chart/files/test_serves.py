"""What `helm test` runs in our image: health and metrics over HTTP, then the one metric as KEDA asks for it."""

import os
import urllib.request
from pathlib import Path

import grpc

from scaler_proto import externalscaler_pb2 as pb
from scaler_proto import externalscaler_pb2_grpc as rpc

http, address, tls = os.environ["HTTP"], os.environ["GRPC"], os.environ.get("TLS")
for path, expected in (
    ("/healthz", "ok"),
    ("/readyz", '"ready": true'),
    ("/metrics", "llm_autoscaler_decisions_total"),
):
    with urllib.request.urlopen(http + path, timeout=10) as answer:
        text = answer.read().decode()
    if expected not in text:
        raise SystemExit(f"{http}{path}: found {text[:200]!r}, expected {expected!r}")
if tls:
    ca, certificate, key = (Path(tls, name).read_bytes() for name in ("ca.crt", "tls.crt", "tls.key"))
    channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(ca, key, certificate))
else:
    channel = grpc.insecure_channel(address)
with channel:
    ref = pb.ScaledObjectRef(name="helm-test", namespace="default", scalerMetadata={"scalerAddress": address})
    specs = rpc.ExternalScalerStub(channel).GetMetricSpec(ref, timeout=10).metricSpecs
found = [(spec.metricName, spec.targetSizeFloat) for spec in specs]
if found != [("replicas", 1.0)]:
    raise SystemExit(f"{address}: found {found}, expected the metric replicas with target 1")
print("healthy, ready, and answering KEDA")
