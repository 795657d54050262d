"""The real programs the tests run, found by environment variables; nothing here builds or downloads any."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Binaries:
    """Programs and manifests of a control plane with KEDA."""

    etcd: Path
    kube_apiserver: Path
    kube_controller_manager: Path
    keda_operator: Path
    keda_adapter: Path
    keda_crds: Path
    kserve_crds: Path | None  # None: tests that replay KServe's objects are skipped


def find(environ: Mapping[str, str]) -> Binaries | str:
    """What the environment names, or one sentence on what is missing."""
    missing: list[str] = []

    def programs(variable: str, *names: str) -> list[Path]:
        value = environ.get(variable)
        if not value:
            missing.append(f"{variable} is not set ({', '.join(names)})")
            return [Path()] * len(names)
        paths = [Path(value) / name for name in names]
        missing.extend(f"{path} is not a program ({variable})" for path in paths if not os.access(path, os.X_OK))
        return paths

    etcd, server, controllers = programs("KUBEBUILDER_ASSETS", "etcd", "kube-apiserver", "kube-controller-manager")
    operator, adapter = programs("KEDA_BIN", "keda-operator", "keda-adapter")
    crds = _manifests("KEDA_CRDS", environ, missing)
    kserve = _manifests("KSERVE_CRDS", environ, missing) if environ.get("KSERVE_CRDS") else None
    if missing:
        return "; ".join(missing)
    return Binaries(etcd, server, controllers, operator, adapter, crds, kserve)


def _manifests(variable: str, environ: Mapping[str, str], missing: list[str]) -> Path:
    value = environ.get(variable)
    if not value:
        missing.append(f"{variable} is not set (folder of CustomResourceDefinitions)")
        return Path()
    path = Path(value)
    if not any(path.rglob("*.yaml")):
        missing.append(f"{path} holds no *.yaml ({variable})")
    return path
