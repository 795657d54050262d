"""Objects the tests apply: a Deployment of model servers, and the ScaledObject that the README tells users to write."""

from __future__ import annotations

import copy
import re
import textwrap
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.api import Object

README = Path(__file__).parents[2] / "README.md"
# Far below what users should set (15 and 300): tests of outages then meet what KEDA does without the protection of the
# cooldown, and those of zero do not wait five minutes for it.
POLL_S = 5
COOLDOWN_S = 5


def deployment(namespace: str, name: str, replicas: int) -> Object:
    """Model servers; `fleet.py` runs one for every pod."""
    labels = {"app": name}
    container = {"name": "server", "image": "emulated", "ports": [{"name": "http", "containerPort": 8000}]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


def scaled_object(namespace: str, name: str, address: str, most: int = 30, **changes: Any) -> Object:
    """The README's ScaledObject for a Deployment of the same name; `changes` replace keys of its spec, None: drop."""
    one = copy.deepcopy(readme_scaled_object())
    one["metadata"] = {"name": name, "namespace": namespace}
    spec = one["spec"]
    spec |= {
        "scaleTargetRef": {"name": name},
        "pollingInterval": POLL_S,
        "cooldownPeriod": COOLDOWN_S,
        "maxReplicaCount": most,
    }
    spec["triggers"][0]["metadata"]["scalerAddress"] = address
    spec |= changes
    one["spec"] = {key: value for key, value in spec.items() if value is not None}
    return one


def readme_scaled_object() -> Object:
    """The first ScaledObject in the README."""
    for block in re.findall(r"^ *```yaml\n(.*?)^ *```", README.read_text(), re.M | re.S):
        for document in yaml.safe_load_all(textwrap.dedent(block)):
            if isinstance(document, dict) and document.get("kind") == "ScaledObject":
                return document
    raise AssertionError(f"{README} shows no ScaledObject")


def service(namespace: str, name: str, url: str, most: int = 30, **settings: Any) -> Object:
    """A service of the targets file whose replicas are listed at `url`."""
    return {
        "namespace": namespace,
        "name": name,
        "maxReplicas": most,
        "prior": "llama-3.1-70b/a100x4",
        "wakeSource": "none",
        "keepWarmSeconds": 5,
        "replicas": {"http": url, "refreshSeconds": 0.5},
        **settings,
    }
