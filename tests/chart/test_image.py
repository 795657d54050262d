"""What the image would hold: the wheel alone, run as nobody on a tree that cannot be written."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import grpc
import pytest
import yaml

from scaler_proto import externalscaler_pb2 as pb
from scaler_proto import externalscaler_pb2_grpc as rpc
from tests.chart.rendering import CHART, DEPLOY, IMAGE, ROOT, SERVICE, needs_helm, template
from tests.chart.running import Places, arguments, mount, served

DOCKERFILE = (DEPLOY / "docker" / "Dockerfile").read_text()
IGNORED = (DEPLOY / "docker" / "Dockerfile.dockerignore").read_text().split("\n")
FINAL = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]
# The virtual environment that the built wheel, and nothing else, was installed into.
WHEEL_ENV = os.environ.get("LLM_AUTOSCALER_WHEEL_ENV")
NOBODY = 65532


def test_the_last_stage_installs_the_wheel_from_wheels_only_and_runs_as_a_number_that_is_not_root() -> None:
    commands = re.sub(r"\\\n\s*", " ", re.sub(r"(?m)^#.*\n", "", FINAL)).strip().splitlines()
    words = [line.split()[0] for line in commands]
    assert words == ["FROM", "LABEL", "RUN", "ENV", "RUN", "USER", "WORKDIR", "EXPOSE", "ENTRYPOINT", "CMD"]
    install = next(line for line in commands if "pip install" in line)
    assert "--only-binary=:all:" in install
    assert "/dist/*.whl" in install
    assert not re.search(r"apt|apk|gcc|build-essential|curl|COPY|ADD", FINAL)
    assert "-slim" in commands[0]
    user = next(line for line in commands if line.startswith("USER")).split()[1]
    assert user == f"{NOBODY}:{NOBODY}"
    chart = yaml.safe_load((CHART / "values.yaml").read_text())
    assert chart["podSecurityContext"]["runAsUser"] == NOBODY


def test_only_the_stage_that_is_thrown_away_is_bound_to_the_builder_s_platform() -> None:
    stages = re.findall(r"(?m)^FROM (.*)$", DOCKERFILE)
    assert len(stages) == 2
    assert "--platform=$BUILDPLATFORM" in stages[0]
    assert "--platform" not in stages[1]
    assert not re.search(r"amd64|arm64|x86_64|aarch64", re.sub(r"(?m)^#.*\n", "", DOCKERFILE))


def test_the_build_sees_what_the_wheel_is_made_of_and_nothing_else() -> None:
    copied = {word for line in re.findall(r"(?m)^COPY (.*)$", DOCKERFILE) for word in line.split()[:-1]}
    allowed = {line[1:] for line in IGNORED if line.startswith("!")}
    assert "*" in IGNORED
    assert copied == allowed
    assert all((ROOT / one).exists() for one in copied)
    project = (ROOT / "pyproject.toml").read_text()
    packages = re.search(r'packages = \["([^]]*)"\]', project.split("[tool.hatch.build.targets.wheel]")[1])
    assert packages is not None
    assert set(packages.group(1).split('", "')) <= copied
    for key in ("readme", "license-files"):
        named = re.search(rf'(?m)^{key} = \[?"([^"]+)"', project)
        assert named is not None
        assert any(fnmatch(named.group(1), one) for one in copied)


# --- the wheel itself ------------------------------------------------------------------------------------------------


def _cannot() -> str | None:
    """Why a read-only tree and another user cannot be had here; None: they can."""
    if WHEEL_ENV is None:
        return "LLM_AUTOSCALER_WHEEL_ENV names no environment with the built wheel alone (.ci/run makes one)"
    if os.geteuid() != 0:
        return "only root can run a child as somebody else on a read-only tree"
    if not shutil.which("unshare") or not shutil.which("setpriv"):
        return "unshare and setpriv (util-linux) are not here"
    tried = subprocess.run(
        ["unshare", "--mount", "mount", "-o", "remount,bind,ro", "/"], capture_output=True, text=True, check=False
    )
    return f"mount namespaces are not allowed here: {tried.stderr.strip()}" if tried.returncode else None


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may enter; pytest's own is for its user alone."""
    folder = Path(tempfile.mkdtemp(prefix="llm-autoscaler-image-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def interpreter() -> Path:
    """Where the Python of the wheel's environment really lies."""
    settings = (Path(str(WHEEL_ENV)) / "pyvenv.cfg").read_text()
    found = re.search(r"(?m)^home = (.*)$", settings)
    assert found is not None
    return Path(found.group(1)).resolve().parent


def reachable(place: Path, spare: Path) -> list[str]:
    """Mounts that let nobody reach a place below a folder closed to him, such as a Python in root's home."""
    closed = next((one for one in reversed(place.parents) if not one.stat().st_mode & 0o001), None)
    if closed is None:
        return []
    spare.mkdir()
    return [
        f"mount -o bind,ro {place} {spare}",
        f"mount -t tmpfs -o mode=755 none {closed}",
        f"mkdir -p {place}",
        f"mount -o bind,ro {spare} {place}",
        f"mount -o remount,ro {closed}",
    ]


def as_the_pod(state: Path, mounts: list[str], command: list[str]) -> list[str]:
    """The command as user 65532 without rights, every file system read-only but the state folder."""
    steps = [
        *mounts,
        f"mount --bind {state} {state}",
        "mount -o remount,bind,ro /",
        "for at in /tmp /dev/shm; do if mountpoint -q $at; then mount -o remount,bind,ro $at; fi; done",
        "cd /",
        'exec "$@"',
    ]
    user = [
        *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs"),
        *("--bounding-set=-all", "--inh-caps=-all"),
        *("env", "-i", "PATH=/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE=1", "PYTHONUNBUFFERED=1"),
    ]
    return ["unshare", "--mount", "sh", "-ec", "\n".join(steps), "sh", *user, *command]


@needs_helm
@pytest.mark.timeout(200)  # it starts a process twice, on machines that have other work
@pytest.mark.skipif(_cannot() is not None, reason=str(_cannot()))
def test_the_wheel_alone_serves_as_nobody_on_a_read_only_tree_with_the_chart_s_own_arguments(
    open_folder: Path,
) -> None:
    where = Places()
    rendered = template({**IMAGE, **where.values(), "targets": {"services": [SERVICE]}})
    mount(rendered, open_folder)
    state = open_folder / "var/lib/llm-autoscaler"
    os.chown(state, NOBODY, NOBODY)
    mounts = reachable(interpreter(), open_folder / "python")
    touching = f"id -u; touch {open_folder}/x /tmp/x /dev/shm/x; touch {state}/x && echo kept"
    probe = subprocess.run(
        as_the_pod(state, mounts, ["sh", "-c", touching]), capture_output=True, text=True, check=False
    )
    assert probe.stdout.split() == [str(NOBODY), "kept"]
    assert probe.stderr.count("Read-only file system") == 3
    autoscaler = Path(str(WHEEL_ENV)) / "bin" / "autoscaler"
    command = as_the_pod(state, mounts, [str(autoscaler), *arguments(rendered, open_folder)])
    with served(command, f"{where.url}/readyz"):
        ref = pb.ScaledObjectRef(name="chat", namespace="default", scalerMetadata={"scalerAddress": where.address})
        with grpc.insecure_channel(where.address) as channel:
            spec = rpc.ExternalScalerStub(channel).GetMetricSpec(ref, timeout=10)
        assert [(one.metricName, one.targetSizeFloat) for one in spec.metricSpecs] == [("replicas", 1.0)]
    # Learned state and the flight record were written, by nobody.
    kept = [path for path in state.rglob("*") if path.is_file() and path.name != "x"]
    assert {path.relative_to(state).parts[0] for path in kept} >= {"state.sqlite", "flight"}
    assert all(path.stat().st_uid == NOBODY for path in kept)


@pytest.mark.skipif(_cannot() is not None, reason=str(_cannot()))
def test_the_wheel_holds_no_tests_no_chart_and_no_benchmarks() -> None:
    (record,) = Path(str(WHEEL_ENV)).glob("lib/python*/site-packages/llm_autoscaler-*.dist-info/RECORD")
    tops = {line.split("/")[0] for line in record.read_text().splitlines() if "/" in line}
    assert {top for top in tops if not top.endswith(".dist-info") and top != ".."} == {"autoscaler", "scaler_proto"}
