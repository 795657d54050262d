"""Our service against an API server over HTTP and KEDA's calls over gRPC: what is off harms nothing that is on."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from autoscaler.config.records import (
    ListKind,
    ReplicaList,
    ServiceSettings,
    TargetSettings,
    TargetsFile,
    WakeSourceSettings,
)
from autoscaler.core.records import Decision, Mode, RoleSpec, ServiceId, ServiceSpec
from autoscaler.kube.resources import (
    DEPLOYMENTS,
    HORIZONTAL_POD_AUTOSCALERS,
    INFERENCE_SERVICES,
    LLM_INFERENCE_SERVICES,
    PODS,
    SCALED_OBJECTS,
)
from autoscaler.lab.fleet import EmulatedFleet
from autoscaler.lab.gateway import FrontQueue
from autoscaler.simulation.engines import LLAMA_70B_A100X4
from scaler_proto import externalscaler_pb2 as pb
from scaler_proto import externalscaler_pb2_grpc as rpc
from tests.kube_meaning.recorded import Recording
from tests.service.crew import FACTOR
from tests.service.world import CHAT, NAMESPACE, TRIGGER, Replica, World, deployment, scaled_object, world


def decided(one: Replica, service: ServiceId = CHAT) -> Decision:
    decision = one.service.board.decision(service)
    assert decision is not None
    return decision


async def test_keda_is_answered_with_the_exact_number_without_any_kserve() -> None:
    async with world() as one:
        one.fill(4)
        ours = await one.start()
        await one.number(ours)
        await one.poll(ours, 40.0)
        answer, decision = await one.ask(ours), decided(ours)
        assert decision.mode is Mode.NORMAL
        # 12 requests/s of 1200 and 200 tokens; what the same load asks of replicas listed in a file.
        assert answer == decision.roles[0].replicas >= 4
        assert decision.estimates[0].arrivals_rps == pytest.approx(12.0, rel=0.3)
        page = ours.service.metrics.render().decode()
        assert 'kube_watched{kube_namespace="",resource="pods"} 1.0' in page
        assert 'kube_watched{kube_namespace="",resource="inferenceservices.serving.kserve.io"} 0.0' in page
        assert one.api.writes == []


async def test_a_deployment_that_serves_is_held_when_first_seen() -> None:
    async with world(rate_rps=0.0) as one:
        one.fill(3)
        ours = await one.start()
        assert await one.number(ours) == 3
        assert set(await one.poll(ours, 20.0)) == {3.0}


async def test_before_the_cluster_was_read_nothing_is_answered_and_a_push_stream_waits() -> None:
    async with world() as one:
        one.fill(2)
        one.api.stalled = True
        ours = await one.start()
        assert await one.ask(ours) is grpc.StatusCode.UNAVAILABLE
        assert "the first look at the cluster" in ours.service.unready()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{ours.grpc}") as channel:
            ref = pb.ScaledObjectRef(name="chat", namespace=NAMESPACE, scalerMetadata=TRIGGER)
            stub: Any = rpc.ExternalScalerStub(channel)
            call = stub.StreamIsActive(ref)
            pushed = asyncio.ensure_future(call.read())
            await one.clock.sleep(5.0)
            assert not pushed.done()
            one.api.stalled = False
            assert (await asyncio.wait_for(pushed, 8)).result is True
        await one.until(lambda: not ours.service.unready(), "ready")


async def test_the_phases_of_a_pod_give_the_lead_time() -> None:
    async with world() as one:
        one.fill(3)
        ours = await one.start()
        await one.number(ours)
        before_s = decided(ours).estimates[0].lead_time_s
        begun_s = one.clock.now()
        one.pod(3, ready=False, created_s=begun_s)
        await one.clock.sleep(20.0)
        one.pod(3, created_s=begun_s)
        await one.until(lambda: decided(ours).estimates[0].lead_time_s != before_s, "a start was measured")
        after_s = decided(ours).estimates[0].lead_time_s
        assert before_s is not None
        assert after_s is not None
        assert after_s < before_s  # 20 s measured, 120 s assumed


async def test_a_missing_rule_for_one_kind_turns_off_that_and_nothing_else() -> None:
    async with world(INFERENCE_SERVICES) as one:
        one.fill(4)
        one.api.forbid("list watch", HORIZONTAL_POD_AUTOSCALERS)
        one.api.forbid("list watch", INFERENCE_SERVICES)
        ours = await one.start()
        assert await one.number(ours) >= 4
        assert decided(ours).mode is Mode.NORMAL
        page = ours.service.metrics.render().decode()
        assert 'kube_watched{kube_namespace="",resource="horizontalpodautoscalers.autoscaling"} 0.0' in page
        assert 'kube_watched{kube_namespace="",resource="pods"} 1.0' in page


async def test_without_the_rule_for_pods_a_service_never_seen_is_unknown_and_not_zero() -> None:
    async with world() as one:
        one.fill(4)
        one.api.forbid("list watch", PODS)
        ours = await one.start()
        await one.until(lambda: ours.service.board.decision(CHAT), "decided")
        assert await one.ask(ours) in (4.0, grpc.StatusCode.UNAVAILABLE)
        assert not {0.0, 1.0} & set(await one.poll(ours, 20.0))


async def test_with_roles_in_one_namespace_only_that_one_is_read() -> None:
    async with world() as one:
        one.fill(4)
        one.api.only_namespaces([NAMESPACE])
        ours = await one.start(namespaces=(NAMESPACE,))
        assert await one.number(ours) >= 4
        assert {asked.namespace for asked in one.api.requests} == {NAMESPACE}


async def test_while_the_api_server_is_away_the_last_answer_is_held() -> None:
    async with world() as one:
        one.fill(4)
        ours = await one.start()
        await one.number(ours)
        await one.poll(ours, 30.0)
        least = min(value for _, value in one.answers if isinstance(value, float))
        await one.api.stop()
        seen = await one.poll(ours, 40.0)
        assert all(isinstance(value, float) and value >= least for value in seen)
        await one.api.start()
        await one.until(lambda: decided(ours).mode is Mode.NORMAL, "read again")


async def test_a_scaled_object_that_comes_is_planned_and_one_that_goes_is_planned_no_more() -> None:
    async with world() as one:
        ours = await one.start()
        await one.until(lambda: not ours.service.unready(), "ready with nothing to do")
        assert await one.ask(ours) is grpc.StatusCode.UNAVAILABLE
        one.fill(2)
        assert await one.number(ours) >= 2
        one.api.delete(SCALED_OBJECTS, NAMESPACE, "chat")
        await one.until(lambda: CHAT not in ours.service.directory.services(), "forgotten")
        await one.clock.sleep(6.0)
        assert await one.ask(ours) in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INVALID_ARGUMENT)
        at_s = decided(ours).at_s
        await one.clock.sleep(12.0)
        assert decided(ours).at_s == at_s
        assert 'service="chat"' not in ours.service.metrics.render().decode().split("decisions_total")[0]


async def test_when_the_trigger_is_edited_the_new_words_count_without_a_restart() -> None:
    async with world() as one:
        one.fill(4)
        ours = await one.start()
        await one.number(ours)
        one.api.put(SCALED_OBJECTS, scaled_object(maxReplicas="3"))
        await one.until(lambda: decided(ours).roles[0].replicas == 3, "at most 3")
        assert ours.service.directory.spec(CHAT).roles[0].max_replicas == 3


async def test_a_configuration_that_fights_is_refused_and_said_once_with_the_fix() -> None:
    async with world(INFERENCE_SERVICES) as one:
        recording = Recording("isvc-external")
        key = "serving.kserve.io/autoscalerClass"
        for document in recording.raws:
            document["metadata"]["namespace"] = NAMESPACE
            notes = document["metadata"].get("annotations", {})
            notes |= {key: "none"} if key in notes else {}
            if document["kind"] != "Pod":
                one.put(document)
        with capture_logs() as logs:
            ours = await one.start()
            await one.until(lambda: not ours.service.unready(), "decided")
            answers = {await one.ask(ours, "m") for _ in range(5)}
        assert answers == {grpc.StatusCode.FAILED_PRECONDITION}
        said = [log for log in logs if log.get("check") == "isvc-class-none"]
        assert len(said) == 1
        assert "autoscalerClass=external" in said[0]["fix"]


async def test_an_annotation_asks_for_shadow_without_any_trigger() -> None:
    async with world() as one:
        one.fill(4)
        document = scaled_object()
        document["metadata"]["annotations"] = {"llm-autoscaler.io/mode": "shadow"}
        document["spec"]["triggers"] = [{"type": "cpu", "metadata": {"value": "50"}, "metricType": "Utilization"}]
        one.api.put(SCALED_OBJECTS, document)
        ours = await one.start()
        await one.until(lambda: not ours.service.unready(), "decided")
        assert decided(ours).mode is Mode.SHADOW
        assert decided(ours).roles[0].replicas >= 4
        assert await one.ask(ours) is grpc.StatusCode.FAILED_PRECONDITION


async def test_a_service_of_the_file_is_the_files_also_when_its_scaled_object_is_found() -> None:
    async with world() as one:
        one.fill(4)
        role = RoleSpec("", 1, 7, 4, "llama-3.1-70b/a100x4", 2048)
        target = TargetSettings("", ReplicaList(ListKind.STATIC, (f"{one.url}/r0",)), "vllm")
        file = TargetsFile((ServiceSettings(ServiceSpec(CHAT, (role,)), (target,)),), scrape_timeout_s=2.0 * FACTOR)
        one.api.put(SCALED_OBJECTS, scaled_object() | {"metadata": {"name": "other", "namespace": NAMESPACE}})
        ours = await one.start(file=file)
        await one.number(ours)
        await one.until(lambda: ours.service._found is not None and ours.service._found.services(), "found too")
        assert ours.service.directory.services() == (CHAT,)
        # The ScaledObject `other` scales the same Deployment: two scalers fight, whoever is asked.
        assert await one.ask(ours, "other") is grpc.StatusCode.FAILED_PRECONDITION
        assert ours.service.directory.spec(CHAT).roles[0].max_replicas == 7


async def test_the_owner_is_killed_and_the_number_does_not_move() -> None:
    async with world() as one:
        one.fill(4)
        first, second = await one.start("a", lease=True), await one.start("b", lease=True)
        await one.until(lambda: owners(one), "one owns")
        for each in (first, second):
            await one.number(each)
        for _ in range(30):
            await asyncio.gather(one.ask(first), one.ask(second))
            await one.clock.sleep(1.0)
        (owner,) = owners(one)
        other = second if owner is first else first
        assert other.election is not None
        assert other.election.owner() == f"127.0.0.1:{owner.grpc}"
        least = min(value for _, value in one.answers[-20:] if isinstance(value, float))
        await owner.kill(one.api)
        seen = await one.poll(other, 40.0)
        assert owners(one) == [other]
        assert all(isinstance(value, float) and value >= least for value in seen)
        assert {value for value in seen if isinstance(value, float)} <= {least, least + 1}


def owners(one: World) -> list[Replica]:
    return [each for each in one.ours if each.alive and each.election is not None and each.election.is_owner()]


async def test_a_workload_that_is_stopped_keeps_its_name_and_is_no_zero() -> None:
    async with world() as one:
        one.fill(2)
        ours = await one.start()
        await one.number(ours)
        one.api.delete(DEPLOYMENTS, NAMESPACE, "chat")
        for number in range(2):
            one.api.delete(PODS, NAMESPACE, f"chat-{number}")
        await one.until(lambda: "stopped" in [reason.code for reason in decided(ours).reasons], "seen as stopped")
        assert ours.service.directory.services() == (CHAT,)


async def test_prefill_and_decode_are_two_roles_of_one_service_each_with_its_own_number() -> None:
    async with world(LLM_INFERENCE_SERVICES) as one:
        for document in Recording("llm-own").raws:
            document["metadata"]["namespace"] = NAMESPACE
            if document["kind"] in ("Deployment", "ScaledObject", "LLMInferenceService"):
                one.put(document)
        for number, (role, component) in enumerate((("decode", "workload"), ("prefill", "workload-prefill"))):
            one.pod(number, f"lm-{role}")
            pod = one.api.get(PODS, NAMESPACE, f"lm-{role}-{number}")
            labels = {"app.kubernetes.io/name": "lm", "llm-d.ai/role": role, "app.kubernetes.io/component": component}
            pod["metadata"] |= {"labels": labels}
            one.api.put(PODS, pod)
        ours = await one.start()
        service = ServiceId(NAMESPACE, "lm")
        assert await one.number(ours, "lm-decode") >= 1
        assert await one.number(ours, "lm-prefill") >= 1
        assert ours.service.directory.services() == (service,)
        assert {role.role: role.replicas >= 1 for role in decided(ours, service).roles} == {
            "decode": True,
            "prefill": True,
        }
        spec = ours.service.directory.spec(service)
        assert {role.role: (role.max_replicas, role.gpus_per_replica) for role in spec.roles} == {
            "decode": (7, 1),
            "prefill": (5, 2),
        }
        one.api.delete(SCALED_OBJECTS, NAMESPACE, "lm-prefill")
        await one.until(lambda: [role.role for role in decided(ours, service).roles] == ["decode"], "one role is left")


async def test_a_wake_source_that_the_operator_does_not_name_is_refused() -> None:
    async with world() as one:
        one.fill(2)
        one.api.put(SCALED_OBJECTS, scaled_object(wakeSource="gateway"))
        ours = await one.start()
        await one.until(lambda: not ours.service.unready(), "ready")
        assert await one.ask(ours, wakeSource="gateway") is grpc.StatusCode.INVALID_ARGUMENT


async def test_an_emulated_fleet_is_woken_from_zero_and_grows_as_its_pods_and_its_gateway_tell() -> None:
    async with world() as one, AsyncExitStack() as stack:
        fleet = EmulatedFleet(one.clock, LLAMA_70B_A100X4, 4, 6.0, 0.0, random.Random(1))
        queue = FrontQueue(one.clock, fleet, NAMESPACE, "chat", one.clock.now())
        for part in (fleet, queue):
            await part.start()
            stack.push_async_callback(part.stop)
        one.api.put(SCALED_OBJECTS, scaled_object(wakeSource="gateway", minReplicas="0"))
        one.api.put(DEPLOYMENTS, deployment(replicas=0))
        source = WakeSourceSettings("gateway", queue.url)
        ours = await one.start(file=TargetsFile((), (source,), scrape_timeout_s=2.0 * FACTOR))
        await one.until(lambda: not ours.service.unready(), "ready")
        assert await one.ask(ours, wakeSource="gateway", minReplicas="0") == 0.0
        requests: set[asyncio.Task[Any]] = set()
        for second in range(28):
            requests |= {asyncio.ensure_future(queue.submit(4000, 150)) for _ in range(5)}
            answer = await one.ask(ours, wakeSource="gateway", minReplicas="0")
            assert isinstance(answer, float), f"{answer} after {second} s"
            fleet.scale_to(int(answer))
            one.show(fleet)
            await one.clock.sleep(1.0)
        decision = decided(ours)
        assert decision.mode is Mode.NORMAL
        assert fleet.spec_replicas == answer == decision.roles[0].replicas >= 2
        assert len(fleet.ready()) >= 2
        assert decision.estimates[0].arrivals_rps is not None
        lead_s = decision.estimates[0].lead_time_s
        assert lead_s is not None
        assert lead_s < 120.0  # starts of 6 s were measured
        for request in requests:
            request.cancel()


async def test_an_odd_scaled_object_does_not_hide_the_others() -> None:
    async with world() as one:
        one.fill(2)
        odd = scaled_object()
        odd["metadata"]["name"] = "aaa"
        odd["spec"] = {"scaleTargetRef": ["what"], "triggers": {"type": 7}, "minReplicaCount": "x"}
        odd["metadata"]["annotations"] = {"llm-autoscaler.io/mode": "sideways"}
        one.api.put(SCALED_OBJECTS, odd)
        ours = await one.start()
        assert await one.number(ours) >= 2
        assert await one.ask(ours, "aaa") is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_stopped_service_whose_owner_cannot_be_read_keeps_the_name_that_it_had() -> None:
    async with world(INFERENCE_SERVICES) as one:
        for document in Recording("isvc-external").raws:
            document["metadata"]["namespace"] = NAMESPACE
            one.put(document)
        one.api.forbid("list watch", INFERENCE_SERVICES)
        ours = await one.start()
        service = ServiceId(NAMESPACE, "m")
        await one.until(lambda: not ours.service.unready(), "decided")
        assert ours.service.directory.services() == (service,)
        one.api.delete(DEPLOYMENTS, NAMESPACE, "m-predictor")
        await one.until(lambda: "stopped" in [reason.code for reason in decided(ours, service).reasons], "stopped")
        await one.clock.sleep(5.0)
        assert ours.service.directory.services() == (service,)


async def test_two_replicas_rolled_one_after_the_other_answer_nothing_below() -> None:
    async with world() as one:
        one.fill(4)
        first = await one.start("a", lease=True)
        await one.number(first)
        second = await one.start("b", lease=True)
        await one.number(second)
        await one.poll(first, 15.0)
        since = len(one.answers)
        least = min(value for _, value in one.answers[-8:] if isinstance(value, float))
        await first.stop()
        third = await one.start("c", lease=True)
        await one.until(lambda: not third.service.unready(), "the new one is ready")
        await one.poll(third, 5.0)
        await second.stop()
        await one.poll(third, 15.0)
        assert owners(one) == [third]
        numbers = [value for _, value in one.answers[since:] if isinstance(value, float)]
        assert numbers
        assert min(numbers) >= least
