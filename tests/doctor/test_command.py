"""`autoscaler doctor` on files: what it reads, what it prints, and how it ends."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from autoscaler.cli import app
from autoscaler.config.metadata import read_trigger
from autoscaler.core.errors import ConfigError
from autoscaler.doctor.checks import CHECKS
from autoscaler.doctor.command import run_doctor
from autoscaler.doctor.files import objects_of
from autoscaler.doctor.look import Facts, look_at
from autoscaler.doctor.report import examine
from autoscaler.kube.meaning.findings import Severity
from autoscaler.kube.meaning.objects import SCALED_OBJECT, Objects, ObjectSet, Reading
from autoscaler.kube.meaning.scaledobject import triggers
from autoscaler.kube.meaning.spec import service_spec
from tests.kube_meaning.recorded import DATA, Recording

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples" / "kserve"
PATHS = {
    "inferenceservice-external.yaml": {"default/qwen": "InferenceService, class external"},
    "inferenceservice-keda.yaml": {"default/qwen": "InferenceService, class keda"},
    "llminferenceservice.yaml": {
        "default/llama/decode": "LLMInferenceService, own ScaledObject",
        "default/llama/prefill": "LLMInferenceService, own ScaledObject",
    },
    "llminferenceservice-scaling.yaml": {
        "default/llama/decode": "LLMInferenceService, scaling.keda",
        "default/llama/prefill": "LLMInferenceService, scaling.keda",
    },
}


def test_every_example_is_one_that_is_known_here() -> None:
    assert {path.name for path in EXAMPLES.glob("*.yaml")} == set(PATHS)


@pytest.mark.parametrize("name", PATHS)
def test_an_example_passes_the_doctor_clean_on_the_path_that_its_name_promises(name: str) -> None:
    look = look_at(objects_of([EXAMPLES / name]))
    report = examine(look)
    assert {str(target.target): target.path.value for _, target in look.targets()} == PATHS[name]
    # What KServe's own ScaledObjects cannot carry is noted on them, whatever the user does.
    assert {one.check for one in report.findings} <= {"kserve-no-behavior"}
    assert all(one.severity is Severity.NOTE for one in report.findings)


@pytest.mark.parametrize("name", PATHS)
def test_the_triggers_of_an_example_are_read_by_the_service_without_a_warning(name: str) -> None:
    found = [one for raw in objects_of([EXAMPLES / name]).find(SCALED_OBJECT) for one in triggers(raw)]
    assert len(found) == len(PATHS[name])
    for one in found:
        assert read_trigger(one.metadata).warnings == ()


def test_the_examples_of_one_service_make_one_spec_with_both_roles() -> None:
    look = look_at(objects_of([EXAMPLES / "llminferenceservice.yaml"]))
    spec = service_spec([target for _, target in look.targets()])
    assert [(one.role, one.max_replicas, one.gpus_per_replica) for one in spec.roles] == [
        ("decode", 16, 4),
        ("prefill", 8, 4),
    ]
    assert spec.has_wake_source


def test_base_refs_are_laid_under_the_service_before_anything_is_said_of_it() -> None:
    objects = objects_of([EXAMPLES / "llminferenceservice-scaling.yaml"])
    names = {raw["metadata"]["name"] for raw in objects.find(SCALED_OBJECT)}
    assert names == {"llama-kserve-keda", "llama-kserve-prefill-keda"}


def doctor(*arguments: str, stdin: str | None = None) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["doctor", *arguments], input=stdin)
    return result.exit_code, result.output


def test_it_ends_with_0_when_nothing_is_wrong_and_says_what_it_looked_at() -> None:
    code, output = doctor("--files", str(EXAMPLES / "inferenceservice-external.yaml"))
    assert code == 0
    assert "✓ default/qwen" in output
    assert "nothing found on 1 target" in output


def test_it_ends_with_1_on_an_error_and_prints_cause_evidence_and_fix() -> None:
    code, output = doctor("--files", str(DATA / "isvc-class-absent.yaml"))
    assert code == 1
    assert "isvc-class-hpa" in output
    assert "not set, which means hpa" in output
    assert "kubectl -n default annotate inferenceservice a" in output


def test_warnings_alone_end_with_0() -> None:
    code, output = doctor("--files", str(DATA / "isvc-runtime.yaml"))
    assert code == 0
    assert "warning" in output


def test_it_ends_with_2_when_it_could_not_look() -> None:
    code, output = doctor()
    assert code == 2
    assert "--files" in output
    code, output = doctor("--files", "/nowhere/at/all.yaml")
    assert code == 2
    assert "/nowhere/at/all.yaml" in output


def test_json_has_every_finding_whole() -> None:
    code, output = doctor("--json", "--files", str(DATA / "isvc-class-absent.yaml"))
    read = json.loads(output)
    assert (code, read["code"]) == (1, 1)
    found = {one["check"]: one for one in read["findings"]}
    assert set(found["isvc-class-hpa"]) == {"check", "severity", "about", "cause", "evidence", "fix"}
    assert read["targets"][0]["target"] == "default/a"


def test_the_same_fix_on_the_same_object_is_printed_once() -> None:
    _, output = doctor("--files", str(DATA / "isvc-runtime.yaml"))
    assert output.count("scaleDown:\n") == 1
    assert "a fix above mends this too" in output


def test_a_command_to_paste_is_never_folded() -> None:
    _, output = doctor("--files", str(DATA / "isvc-class-absent.yaml"))
    fix = "kubectl -n default annotate inferenceservice a --overwrite serving.kserve.io/autoscalerClass=external"
    assert f"  {fix}\n" in output


def test_every_check_can_be_listed_without_looking_at_anything() -> None:
    code, output = doctor("--list")
    assert code == 0
    assert all(f"{check.name} " in output and check.asks in output for check in CHECKS)
    assert len({check.name for check in CHECKS}) == len(CHECKS)


def test_a_stream_from_kubectl_is_read_from_standard_input() -> None:
    listed = {"apiVersion": "v1", "kind": "List", "items": Recording("isvc-class-absent").raws}
    code, output = doctor("--json", "--files", "-", stdin=json.dumps(listed))
    assert code == 1
    assert "ambiguous-selector" in output


def test_a_folder_is_read_with_all_below_it_and_what_is_no_object_is_passed_by(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.yml").write_text((EXAMPLES / "inferenceservice-external.yaml").read_text())
    (tmp_path / "values.yaml").write_text("replicas: 3\n")
    (tmp_path / "note.txt").write_text(": not yaml {")
    code, output = doctor("--files", str(tmp_path))
    assert code == 0
    assert "default/qwen" in output


def test_every_file_that_cannot_be_read_is_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "chart.yaml").write_text("a: {{ .Values.x }}\n")
    (tmp_path / "more.yaml").write_text("a: [\n")
    with pytest.raises(ConfigError) as caught:
        objects_of([tmp_path])
    assert len(caught.value.problems) == 2


def test_files_without_a_single_object_are_no_clean_bill(tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text("replicas: 3\n")
    with pytest.raises(ConfigError, match="no Kubernetes object"):
        objects_of([tmp_path])


def test_what_is_not_among_the_files_is_not_called_gone() -> None:
    report = examine(look_at(objects_of([EXAMPLES / "inferenceservice-external.yaml"])))
    assert "target-gone" not in {one.check for one in report.findings}


def test_only_the_namespace_asked_for_is_looked_at() -> None:
    code, output = doctor("--namespace", "elsewhere", "--files", str(DATA / "isvc-class-absent.yaml"))
    assert code == 0
    assert "No ScaledObject here" in output


def connected(objects: Objects, facts: Facts = Facts()) -> tuple[int, str]:  # noqa: B008
    console = Console(file=io.StringIO(), width=100)
    code = run_doctor((), None, (), console, connect=lambda _: (objects, facts))
    assert isinstance(console.file, io.StringIO)
    return code, console.file.getvalue()


def test_a_live_look_needs_only_a_factory_of_objects() -> None:
    code, output = connected(Recording("isvc-class-absent").cluster())
    assert code == 1
    assert "default/a" in output


def test_kinds_that_could_not_be_read_are_said_and_scaled_objects_decide_the_exit_code() -> None:
    code, output = connected(Recording("isvc-external").cluster({SCALED_OBJECT: Reading.FORBIDDEN}))
    assert code == 2
    assert "ScaledObject.keda.sh (forbidden)" in output
    code, output = connected(
        ObjectSet(Recording("isvc-external").raws, {SCALED_OBJECT: Reading.READ}, Reading.FORBIDDEN)
    )
    assert code == 0
    assert "Node (forbidden)" in output


def test_a_crd_that_is_absent_is_no_blind_spot() -> None:
    objects = ObjectSet(Recording("isvc-external").raws, {SCALED_OBJECT: Reading.READ}, Reading.ABSENT)
    assert examine(look_at(objects)).unseen == ()
