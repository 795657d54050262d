"""Generates the protocols' Python code, with the oldest toolchain supported (grpcio-tools 1.68.1, mypy-protobuf 3.6.0).

Generated files refuse runtimes older than their generator, so the oldest generator serves the most users.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

PROTOS = ("scaler_proto/externalscaler.proto", "scaler_proto/replicas.proto")


def generate(root: Path, out: Path) -> int:
    """Write the generated modules below `out`, from the repository `root`; gives protoc's exit status."""
    from grpc_tools import protoc  # noqa: PLC0415

    # protoc looks for the mypy plug-ins on PATH; they lie beside this interpreter.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    outputs = [f"--{kind}_out={out}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    return int(protoc.main(["protoc", f"--proto_path={root}", *outputs, *PROTOS]))


if __name__ == "__main__":
    repository = Path(__file__).parent.parent
    sys.exit(generate(repository, repository))
