"""What is used of kubernetes_asyncio: how to get into a cluster; the rest of it is let go.

Importing any of it imports its 700 generated models, 37 MiB and 0.4 s. Nothing here uses them, so they are taken out of
the interpreter once the loaders are there, and their memory serves what is read of the cluster. Whoever imports the
library again gets it anew.
"""

from __future__ import annotations

import functools
import gc
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

PACKAGE = "kubernetes_asyncio"
KEPT = f"{PACKAGE}.config"


@dataclass(frozen=True, slots=True)
class Library:
    """The loaders, and what they fill."""

    configuration: Callable[[], Any]
    in_cluster: Callable[..., Any]  # InClusterConfigLoader
    kubeconfig: Callable[..., Any]  # load_kube_config


@functools.cache
def library() -> Library:
    """Import it, once; takes 0.4 s."""
    from kubernetes_asyncio.client import Configuration  # noqa: PLC0415 -- heavy, only with a cluster
    from kubernetes_asyncio.config.incluster_config import InClusterConfigLoader  # noqa: PLC0415 -- the same
    from kubernetes_asyncio.config.kube_config import load_kube_config  # noqa: PLC0415 -- the same

    found = Library(Configuration, InClusterConfigLoader, load_kube_config)
    _let_go()
    return found


def _let_go() -> None:
    package = sys.modules[PACKAGE]
    for name in [one for one in sys.modules if one.startswith(f"{PACKAGE}.") and not one.startswith(KEPT)]:
        del sys.modules[name]
        child = name.removeprefix(f"{PACKAGE}.")
        if child in vars(package):
            delattr(package, child)
    gc.collect()
