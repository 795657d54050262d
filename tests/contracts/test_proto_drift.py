"""The committed protocol code is what the protos generate."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
TOOLS = {"grpcio-tools": "1.68.1", "mypy-protobuf": "3.6.0"}


def test_the_committed_code_is_what_the_protos_generate(tmp_path: Path) -> None:
    for package, wanted in TOOLS.items():
        try:
            found = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            pytest.skip(f"{package} is not installed; generation is checked where it is {wanted}")
        if found != wanted:
            pytest.skip(f"{package} is {found}; generation is checked where it is {wanted}")
    program = (
        "from pathlib import Path; from scaler_proto.generate import generate; import sys;"
        f"sys.exit(generate(Path({str(ROOT)!r}), Path({str(tmp_path)!r})))"
    )
    # A process of its own: protoc registers global state, and its import warns about pkg_resources.
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, cwd=ROOT)
    rests = (".py", ".pyi", "_grpc.py", "_grpc.pyi")
    names = [f"{proto}_pb2{rest}" for proto in ("externalscaler", "replicas") for rest in rests]
    for name in names:
        fresh = (tmp_path / "scaler_proto" / name).read_text()
        assert fresh == (ROOT / "scaler_proto" / name).read_text(), f"{name}: run python -m scaler_proto.generate"
