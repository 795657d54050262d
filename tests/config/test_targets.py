"""The targets file: one vocabulary, every error at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoscaler.config.metadata import normalise, read_trigger
from autoscaler.config.records import ListKind, TargetsFile, WarmStartSettings
from autoscaler.config.server import Address, read_address
from autoscaler.config.targets import parse_targets, without_file
from autoscaler.core.errors import ConfigError, Problem

MINIMAL = "services: [{name: chat, replicas: {urls: ['http://a:8000']}}]"


def parse(text: str, environ: dict[str, str] | None = None) -> TargetsFile:
    return parse_targets(text, "targets.yaml", Path("/etc/x"), environ or {})


def errors(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    return [str(problem) for problem in caught.value.problems]


def test_a_minimal_file_has_the_documented_defaults() -> None:
    service = parse(MINIMAL).services[0]
    objective = service.spec.objective
    assert (objective.ttft_s, objective.tpot_s, objective.attainment) == (3.0, 0.06, 0.95)
    assert service.targets[0].replicas.kind is ListKind.STATIC
    assert not service.spec.has_wake_source


def test_a_file_may_name_gateways_alone_for_services_that_are_found() -> None:
    file = parse("wakeSources: [{name: gateway, url: 'http://a:9090/metrics', kind: llm-d}]")
    assert (file.services, [source.name for source in file.wake_sources]) == ((), ["gateway"])


def test_a_warm_start_is_read_with_its_token_beside_the_file_and_labels_by_role() -> None:
    text = (
        "warmStart: {prometheus: 'http://p:9090', tokenFile: token, hours: 2}\n"
        "services: [{name: a, roles: [{role: prefill, replicas: {urls: []}, warmStartLabels: 'job=\"p\"'},"
        " {role: decode, replicas: {urls: []}}]}]"
    )
    file = parse(text)
    assert file.warm_start == WarmStartSettings("http://p:9090", "/etc/x/token", 2.0)
    assert [one.warm_labels for one in file.services[0].targets] == ['job="p"', ""]
    assert "http(s)://host" in errors("warmStart: {prometheus: 'p:9090'}")[0]


def test_the_file_wins_over_its_defaults_and_these_over_the_environment() -> None:
    environ = {"LLM_AUTOSCALER_DEFAULT_TTFT_SECONDS": "9", "LLM_AUTOSCALER_DEFAULT_ATTAINMENT": "0.5"}
    text = "defaults: {ttftSeconds: 5, tpotSeconds: 0.2}\nservices: [{name: a, tpotSeconds: 0.1, replicas: {urls: []}}]"
    objective = parse(text, environ).services[0].spec.objective
    assert (objective.ttft_s, objective.tpot_s, objective.attainment) == (5.0, 0.1, 0.5)


def test_every_error_of_a_file_is_told_at_once_with_its_path() -> None:
    found = errors(
        "services:\n  - {name: chat, ttftSeconds: -1, maxReplica: 3, attainment: 2, replicas: {urls: []}}\n"
        "  - {name: Bad_Name, replicas: {file: x}}\n"
    )
    assert len(found) == 4
    assert any("services[0].maxReplica" in text and "did you mean 'maxReplicas'" in text for text in found)
    assert any("services[1].name" in text for text in found)


def test_names_that_point_nowhere_are_found() -> None:
    found = errors(
        "services:\n  - {name: a, wakeSource: gw, access: door, server: vlm, minReplicas: 5, maxReplicas: 2,"
        " prior: nope, replicas: {urls: [], file: x}}\n  - {name: a}\n"
    )
    for words in (
        "wakeSource",
        "access",
        "server",
        "minReplicas",
        "prior",
        "urls and file",
        "each service once",
        "neither",
    ):
        assert any(words in text for text in found), words


def test_two_roles_inherit_from_their_service() -> None:
    text = (
        "services: [{name: a, maxReplicas: 7, server: vllm, roles: [{role: prefill, replicas: {file: p}},"
        " {role: decode, maxReplicas: 9, replicas: {http: 'http://x/d'}}]}]"
    )
    service = parse(text).services[0]
    assert [(r.role, r.max_replicas) for r in service.spec.roles] == [("prefill", 7), ("decode", 9)]
    assert [t.server for t in service.targets] == ["vllm", "vllm"]
    assert service.targets[0].replicas.path == "/etc/x/p"


def test_broken_yaml_says_where() -> None:
    assert "line 1" in errors("services: [{")[0]


def test_unknown_metadata_is_a_warning_and_foreign_keys_are_silent() -> None:
    trigger = read_trigger({"scalerAddress": "x", "metricQuery": "q", "ttftSecond": "3", "attainment": "0.9"})
    assert trigger.overrides.attainment == 0.9
    assert trigger.warnings == ("metadata key 'ttftSecond' is unknown and ignored; did you mean 'ttftSeconds'?",)


@pytest.mark.parametrize("value", ["", " 3", "3 ", "5s", "nan", "inf", "-1", "1e999", "1_000", "0x10"])
def test_a_malformed_number_in_metadata_is_an_error_with_its_key(value: str) -> None:
    with pytest.raises(ConfigError, match="ttftSeconds"):
        read_trigger({"ttftSeconds": value})


def test_identity_ignores_what_is_not_ours() -> None:
    assert normalise({"scalerAddress": "a", "target": "t"}) == normalise({"target": "t", "enableTLS": "true"})


def test_an_address_is_host_and_port_also_in_ipv6() -> None:
    assert read_address("--grpc", "[::]:6000") == Address("::", 6000)
    assert str(Address("::", 6000)) == "[::]:6000"
    assert isinstance(read_address("--grpc", "6000"), Problem)


def test_shadow_as_a_key_is_told_how_it_is_written() -> None:
    (found,) = errors("services: [{name: chat, shadow: true, replicas: {urls: ['http://a:8000']}}]")
    assert "`mode: shadow`" in found


def test_what_is_set_for_all_reaches_services_found_in_kubernetes_from_the_file_above_the_environment() -> None:
    environ = {"LLM_AUTOSCALER_DEFAULT_TTFT_SECONDS": "2", "LLM_AUTOSCALER_DEFAULT_ATTAINMENT": "0.9"}
    file = parse_targets("defaults: {attainment: 0.99, wakeSource: none}", "targets.yaml", Path(), environ)
    assert (file.defaults.ttft_s, file.defaults.attainment, file.defaults.wake_source_none) == (2.0, 0.99, True)
    assert without_file(environ).defaults.attainment == 0.9
    with pytest.raises(ConfigError, match=r"defaults\.wakeSource"):
        parse_targets("defaults: {wakeSource: gatway}", "targets.yaml", Path(), {})
