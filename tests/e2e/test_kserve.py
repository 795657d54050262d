"""KServe's objects, replayed on the real API server with its own CustomResourceDefinitions, under the real KEDA."""

from __future__ import annotations

from tests.e2e import kserve_objects as objects
from tests.e2e.api import Object
from tests.e2e.waiting import throughout, until
from tests.e2e.world import World


async def test_an_external_inference_service_follows_us_and_a_change_of_its_template_leaves_the_count(
    kserve: World,
) -> None:
    one, ns = kserve, kserve.namespace
    owner = objects.inference_service(ns, "m", objects.EXTERNAL, {"minReplicas": 0, "maxReplicas": 9})
    (owner,) = await one.api.apply(owner)
    (made,) = await one.api.apply(objects.predictor_deployment(owner))
    predictor = await one.follow("m-predictor")
    await predictor.until_ready(1, 30)
    serve = await one.serve(one.settings("m", listed="m-predictor", maxReplicas=9))
    trigger = {"scalerAddress": serve.address}
    await one.attach_object(objects.our_scaled_object(ns, "m", "m-predictor", trigger, maxReplicaCount=9))
    await serve.wake(ns, "m", 7, ttl_s=3600)
    await predictor.until(7, 60 + 3 * one.hpa_sync_s)
    since_s = one.clock.now()
    # As KServe's patch does: the template, without a word on replicas.
    environment = {"env": [{"name": "REVISION", "value": "2"}]}
    container = {**made["spec"]["template"]["spec"]["containers"][0], **environment}
    patch = {"spec": {"template": {"spec": {"containers": [container]}}}}
    await one.api.merge(await one.api.path(made), patch)
    await throughout("the count moved", lambda: predictor.count == 7, 2 * one.hpa_sync_s)
    assert not predictor.below(7, since_s)
    await predictor.until_ready(7, 60)


async def test_a_stopped_inference_service_comes_back_at_one_and_then_to_what_we_ask(kserve: World) -> None:
    """`serving.kserve.io/stop` deletes the Deployment; the ScaledObject and its push stream stay."""
    one, ns = kserve, kserve.namespace
    (owner,) = await one.api.apply(objects.inference_service(ns, "m", objects.EXTERNAL, {}))
    (made,) = await one.api.apply(objects.predictor_deployment(owner))
    predictor = await one.follow("m-predictor")
    serve = await one.serve(one.settings("m", listed="m-predictor"))
    await one.attach_object(objects.our_scaled_object(ns, "m", "m-predictor", {"scalerAddress": serve.address}))
    await serve.wake(ns, "m", 4, ttl_s=3600)
    await predictor.until(4, 60 + 3 * one.hpa_sync_s)
    await one.api.delete(await one.api.path(made), propagationPolicy="Foreground")
    await until("the Deployment is gone", lambda: not predictor.exists, 60)
    await throughout("our service died of it", lambda: serve.running, 10)
    since_s = one.clock.now()
    await one.api.apply(objects.predictor_deployment(owner))
    await predictor.until(1, 30)
    await predictor.until(4, 120)
    one.note("resumed: 1, then 4, s", round(predictor.steps[-1].at_s - since_s, 1))


async def test_prefill_and_decode_of_an_llm_inference_service_are_sized_apart_and_go_to_zero_together(
    kserve: World,
) -> None:
    """An LLMInferenceService with neither `replicas` nor `scaling`, and a ScaledObject of ours for each role."""
    one, ns = kserve, kserve.namespace
    (owner,) = await one.api.apply(objects.llm_inference_service(ns, "lm", None))
    await one.api.apply(*objects.llm_deployments(owner))
    decode, prefill = await one.follow("lm-kserve"), await one.follow("lm-kserve-prefill")
    await decode.until_ready(1, 30)
    await prefill.until_ready(1, 30)
    serve = await one.serve(_two_roles(one))
    for role, target in (("decode", "lm-kserve"), ("prefill", "lm-kserve-prefill")):
        trigger = {"scalerAddress": serve.address, "target": "lm", "role": role}
        await one.attach_object(objects.our_scaled_object(ns, target, target, trigger, initialCooldownPeriod=0))
    await decode.until(0, 90)
    await prefill.until(0, 30)
    one.note("both at zero, s apart", round(abs(decode.steps[-1].at_s - prefill.steps[-1].at_s), 1))
    await until("KEDA listens for both", lambda: serve.is_listened_to(2), 30)
    await serve.wake(ns, "lm", 3, ttl_s=15 + 2 * one.hpa_sync_s)
    await decode.until(3, 30 + 3 * one.hpa_sync_s)
    await prefill.until(3, 30 + 3 * one.hpa_sync_s)
    await decode.until(0, 150)
    await prefill.until(0, 60)
    one.note("counts", {"decode": decode.counts(), "prefill": prefill.counts()})


async def test_the_scaled_objects_that_kserve_makes_of_scaling_keda_wake_both_roles_by_push(kserve: World) -> None:
    """Triggers copied word for word, idle at 0 with a minimum of 1, no behavior: the HPA's own ramp and dead band."""
    one, ns = kserve, kserve.namespace
    serve = await one.serve(_two_roles(one))

    def scaling(role: str) -> Object:
        metadata = {"scalerAddress": serve.address, "target": "lm", "role": role}
        return objects.keda_scaling([{"type": "external-push", "name": role, "metadata": metadata}], most=9)

    (owner,) = await one.api.apply(objects.llm_inference_service(ns, "lm", scaling("decode")))
    await one.api.apply(*objects.llm_deployments(owner))
    decode, prefill = await one.follow("lm-kserve"), await one.follow("lm-kserve-prefill")
    for role, target in (("decode", "lm-kserve"), ("prefill", "lm-kserve-prefill")):
        await one.attach_object(objects.kserves_scaled_object(owner, target, scaling(role)))
    await decode.until(0, 90)
    await prefill.until(0, 30)
    await until("KEDA listens for both", lambda: serve.is_listened_to(2), 30)
    since_s = one.clock.now()
    await serve.wake(ns, "lm", 6, ttl_s=3600)
    await decode.until(6, 60 + 4 * one.hpa_sync_s)
    await prefill.until(6, 60 + 4 * one.hpa_sync_s)
    woken = [step for step in decode.steps + prefill.steps if step.at_s >= since_s and step.before == 0]
    assert [step.after for step in woken] == [1, 1]
    one.note("0 -> 6 without behavior", decode.counts())


async def test_class_keda_through_a_pod_metric_follows_us_by_polls_alone(kserve: World) -> None:
    """Type `external` with KServe's metricQuery and targetValue: nothing of ours in the trigger but the address."""
    one, ns = kserve, kserve.namespace
    serve = await one.serve(one.settings("k3-predictor"))
    metric = {
        "backend": "opentelemetry",
        "serverAddress": serve.address,
        "metricNames": [],
        "query": "vllm:num_requests_running",
    }
    metrics = [{"type": "PodMetric", "podmetric": {"metric": metric, "target": {"type": "Value", "value": "1"}}}]
    predictor = {"minReplicas": 1, "maxReplicas": 5, "autoScaling": {"metrics": metrics}}
    (owner,) = await one.api.apply(objects.inference_service(ns, "k3", objects.KEDA_CLASS, predictor))
    await one.api.apply(objects.predictor_deployment(owner))
    deployment = await one.follow("k3-predictor")
    await deployment.until_ready(1, 30)
    await one.attach_object(objects.pod_metric_scaled_object(owner, serve.address, 5))
    await serve.wake(ns, "k3-predictor", 4, ttl_s=3600)
    await deployment.until(4, 60 + 3 * one.hpa_sync_s)
    assert await serve.streams() == 0
    one.note("counts", deployment.counts())


def _two_roles(one: World) -> Object:
    """Prefill and decode of one service, each with its list."""
    settings = one.settings("lm", maxReplicas=9)
    del settings["replicas"]
    lists = {"decode": "lm-kserve", "prefill": "lm-kserve-prefill"}
    settings["roles"] = [
        {"role": role, "replicas": {"http": f"{one.fleet.url}/{listed}", "refreshSeconds": 0.5}}
        for role, listed in lists.items()
    ]
    return settings
