"""Writes docs/settings.md and docs/metrics.md from the code: `python docs/generate.py`; a test compares."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel

from autoscaler.cli import app
from autoscaler.config.targets import (
    ENVIRONMENT,
    AccessModel,
    FileModel,
    ReplicasModel,
    RoleModel,
    ServiceModel,
    WakeSourceModel,
    WarmStartModel,
)
from autoscaler.config.vocabulary import Aims, Metadata
from autoscaler.core.priors import PRIORS
from autoscaler.core.records import Objective, RoleSpec, ServiceSpec
from autoscaler.modelservers import profile_names
from autoscaler.modelservers.gateways import gateway_kinds
from autoscaler.telemetry.metrics import Metrics

FOLDER = Path(__file__).parent
NOTE = "<!-- Written by docs/generate.py; do not edit. -->\n"
# What an unset key comes to, read from the records that hold the default.
_AIMS, _ROLE, _SERVICE = Objective(), RoleSpec(), ServiceSpec.__dataclass_fields__
DEFAULTS: dict[str, object] = {
    "ttftSeconds": _AIMS.ttft_s,
    "tpotSeconds": _AIMS.tpot_s,
    "attainment": _AIMS.attainment,
    "minReplicas": _ROLE.min_replicas,
    "maxReplicas": _ROLE.max_replicas,
    "gpusPerReplica": _ROLE.gpus_per_replica,
    "prior": _ROLE.prior,
    "gpuPricePerHour": _SERVICE["gpu_price_per_hour"].default,
    "leadTimeSeconds": _SERVICE["lead_time_prior_s"].default,
}
MODELS: tuple[tuple[str, type[BaseModel], str], ...] = (
    ("The file", FileModel, "The top level."),
    ("services[]", ServiceModel, "One entry a service. With `roles`, replicas and sizes stand in the roles."),
    ("services[].roles[]", RoleModel, "Prefill and decode, each with replicas of its own."),
    ("replicas", ReplicasModel, "Exactly one of `urls`, `file` and `http`."),
    ("wakeSources[]", WakeSourceModel, f"Kinds: {', '.join(f'`{kind}`' for kind in gateway_kinds())}."),
    ("warmStart", WarmStartModel, "For services that start without learned state (docs/operations.md)."),
    ("access[]", AccessModel, "How to get into pages; others name it."),
)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    names = list(head)
    lines = [names, ["---"] * len(names), *map(list, rows)]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines) + "\n"


def _kind(schema: dict[str, Any]) -> str:
    """A JSON schema in words: type, bounds, choices."""
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"] if one.get("type") != "null")
    if "const" in schema or "enum" in schema:
        return " or ".join(f"`{value}`" if value != "" else '""' for value in schema.get("enum", [schema.get("const")]))
    if "$ref" in schema:
        return "object"
    words = {"number": "number", "integer": "whole number", "string": "text", "boolean": "true or false"}
    kind = words.get(schema.get("type", ""), {"array": "list", "object": "mapping"}.get(schema.get("type", ""), ""))
    signs = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}
    bounds = [f"{sign} {schema[key]:g}" for key, sign in signs.items() if key in schema]
    return f"{kind} {', '.join(bounds)}".strip()


def _default(key: str, schema: dict[str, Any], required: bool) -> str:
    if required:
        return "required"
    value = schema.get("default")
    if value is None:
        value = DEFAULTS.get(key)
    return "" if value is None or isinstance(value, (dict, list)) else f"`{value}`" if value != "" else '""'


def settings_of(model: type[BaseModel]) -> str:
    """The table of one model of the file."""
    schema = model.model_json_schema(by_alias=True)
    required = schema.get("required", [])
    rows = (
        (f"`{key}`", _kind(one), _default(key, one, key in required), one.get("description", ""))
        for key, one in schema["properties"].items()
    )
    return table(("key", "value", "default", "meaning"), rows)


def options() -> str:
    """The options of `autoscaler serve`."""
    command = typer.main.get_command(app).commands["serve"]  # type: ignore[attr-defined]
    rows = []
    for option in command.params:
        if option.name == "help":
            continue
        default = "required" if option.required else "" if option.default is None else f"`{option.default}`"
        rows.append((f"`{option.opts[0]}`", f"`{option.envvar}`", default, option.help or ""))
    return table(("option", "environment", "default", "meaning"), rows)


def settings() -> str:
    """docs/settings.md."""
    parts = [
        NOTE,
        "# Settings\n",
        "Precedence, strongest first: a trigger's metadata, the service's own keys in the file, `defaults` in "
        f"the file, the environment (`{ENVIRONMENT}` and the key in capitals), what Kubernetes tells "
        "(bounds, GPUs, the server's command line), our own defaults. "
        "A key that is not listed here is an error in the file and a warning in metadata.\n",
        "## The process: `autoscaler serve`\n",
        options(),
        "## The targets file (YAML)\n",
    ]
    for name, model, text in MODELS:
        parts += [f"### {name}\n", f"{text}\n", settings_of(model)]
    parts += [
        "## Trigger metadata\n",
        "Keys of KEDA's own (`scalerAddress` and the TLS ones) stand beside these. Values are text: KEDA's rule. "
        "The same keys may stand on the ScaledObject as annotations `llm-autoscaler.io/KEY`; metadata wins over them, "
        "and only there may `mode` be `shadow`.\n",
        settings_of(Metadata),
        "## Environment defaults\n",
        table(
            ("variable", "key"),
            (
                (f"`{ENVIRONMENT}{_snake(key)}`", f"`{key}`")
                for key in Aims.model_json_schema(by_alias=True)["properties"]
            ),
        ),
        "## Values of `prior`\n",
        "Step-time coefficients a replica is believed to have until it is measured: "
        f"{', '.join(f'`{key}`' for key in PRIORS)}.\n",
        "## Values of `server`\n",
        f"`auto`, {', '.join(f'`{name}`' for name in profile_names() if name != 'auto')}.\n",
    ]
    return "\n".join(parts)


def _snake(key: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key).upper()


def metrics() -> str:
    """docs/metrics.md."""
    rows = []
    ours = Metrics()
    for family in sorted(ours.registry.collect(), key=lambda one: one.name):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = ", ".join(f"`{label}`" for label in ours.labels[family.name])
        rows.append((f"`{name}`", family.type, labels, family.documentation))
    return "\n".join((NOTE, "# Metrics of our own page\n", table(("name", "type", "labels", "meaning"), rows)))


PAGES = {"settings.md": settings, "metrics.md": metrics}


def main() -> None:
    """Write both."""
    for name, build in PAGES.items():
        (FOLDER / name).write_text(build())


if __name__ == "__main__":
    main()
