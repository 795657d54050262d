"""Lists and streams read piece by piece are what a reader of the whole would see."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.kube.decoding import (
    LINE_LIMIT_BYTES,
    SHARED_MOST,
    Breather,
    keep,
    read_lines,
    read_list,
    without_bookkeeping,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=4), below, max_size=3),
    max_leaves=5,
)
OBJECTS = st.dictionaries(st.text(max_size=4), JSON, max_size=4)


def listed(body: bytes) -> tuple[dict[str, Any], list[Any]]:
    items: list[Any] = []
    return asyncio.run(read_list(body, items.append, Breather())), items


@settings(max_examples=50)
@given(items=st.lists(OBJECTS, max_size=4), rest=OBJECTS, last=OBJECTS, indent=st.sampled_from([None, 1]))
def test_a_list_read_item_by_item_is_the_list_read_whole(
    items: list[Any], rest: dict[str, Any], last: dict[str, Any], indent: int | None
) -> None:
    rest.pop("items", None)
    document = {**rest, "items": items, "last": last}
    fields, seen = listed(json.dumps(document, indent=indent).encode())
    assert seen == items
    assert fields == {**rest, "last": last}


def test_a_list_without_items_is_empty() -> None:
    assert listed(b'{"kind":"PodList","items":null}') == ({"kind": "PodList", "items": None}, [])
    assert listed(b"{}") == ({}, [])


@pytest.mark.parametrize("body", [b"", b"[]", b'{"items":[{"a":1},', b'{"items":[{"a":1}', b'{"a"', b'{"a":1'])
def test_a_list_that_breaks_off_or_is_none_is_an_error(body: bytes) -> None:
    with pytest.raises(ValueError):
        listed(body)


async def test_others_run_between_any_two_objects_of_a_list_when_the_slice_is_used_up() -> None:
    steps: list[str] = []

    async def other() -> None:
        while True:
            steps.append("other")
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    body = json.dumps({"items": [{"k": k} for k in range(50)]}).encode()
    await read_list(body, lambda _: steps.append("object"), Breather(slice_s=0.0))
    task.cancel()
    assert steps[:6] == ["object", "other", "object", "other", "object", "other"]
    assert steps.count("object") == 50


@given(events=st.lists(OBJECTS, max_size=6), cuts=st.lists(st.integers(0, 400), max_size=8))
def test_a_stream_means_the_same_however_it_is_cut(events: list[dict[str, Any]], cuts: list[int]) -> None:
    body = b"".join(json.dumps(event).encode() + b"\n" for event in events)
    ends = sorted({0, len(body), *(min(cut, len(body)) for cut in cuts)})

    async def parts() -> AsyncIterator[bytes]:
        for start, end in itertools.pairwise(ends):
            yield body[start:end]

    async def read() -> list[dict[str, Any]]:
        return [event async for event in read_lines(parts(), Breather())]

    assert asyncio.run(read()) == events


async def test_a_line_without_end_is_given_up() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 2**20

    with pytest.raises(ValueError, match="larger than 8 MiB"):
        async for _ in read_lines(endless(), Breather()):
            pass
    assert LINE_LIMIT_BYTES == 8 * 2**20


def test_a_trim_keeps_what_it_names_through_lists_and_the_identity() -> None:
    item = {
        "metadata": {"name": "p", "namespace": "n", "uid": "u", "resourceVersion": "1", "labels": {"a": "b"}, "x": 1},
        "spec": {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 8000}]}], "nodeName": "n1"},
        "status": {"conditions": [{"type": "Ready", "status": "True"}], "podIP": "10.0.0.1"},
    }
    kept = keep("metadata.labels", "spec.containers.ports", "spec.containers.name", "status.conditions", "spec.absent")
    assert kept(item) == {
        "metadata": {"name": "p", "namespace": "n", "uid": "u", "resourceVersion": "1", "labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "ports": [{"containerPort": 8000}]}]},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }


def test_a_trim_that_names_a_field_and_one_below_it_keeps_the_whole_field() -> None:
    item = {"metadata": {"name": "p"}, "status": {"phase": "Running", "podIP": "1"}}
    assert keep("status", "status.phase")(item) == keep("status.phase", "status")(item) == item


def test_pods_of_one_template_share_what_is_the_same_in_all_of_them() -> None:
    def pod(number: int, image: str = "i") -> dict[str, Any]:
        spec = {"nodeName": f"n{number}", "containers": [{"name": "c", "image": image, "ports": [{"name": "http"}]}]}
        return {"metadata": {"name": f"p{number}", "labels": {"app": "chat"}}, "spec": spec}

    trim = keep("metadata.labels", "spec.nodeName", "spec.containers", shared=("metadata.labels", "spec.containers"))
    first, second, other = trim(pod(1)), trim(pod(2)), trim(pod(3, "another"))
    assert (first, second, other) == (pod(1), pod(2), pod(3, "another"))
    assert first["spec"]["containers"] is second["spec"]["containers"]
    assert first["metadata"]["labels"] is other["metadata"]["labels"]
    assert first["spec"]["containers"] is not other["spec"]["containers"]


def test_an_odd_object_is_kept_as_it_is_where_something_is_shared() -> None:
    trim = keep("spec", "metadata.labels", shared=("metadata.labels", "spec.containers"))
    for odd in ({"metadata": {"name": "p"}}, {"metadata": {"name": "p", "labels": None}, "spec": [1]}):
        assert trim(odd) == odd


def test_of_values_that_differ_only_so_many_are_remembered() -> None:
    trim = keep("metadata.labels", shared=("metadata.labels",))
    pods = [{"metadata": {"name": "p", "labels": {"app": str(k)}}} for k in range(SHARED_MOST + 1)]
    first = trim(pods[0])
    for pod in pods[1:]:
        trim(pod)
    again = trim(pods[0])
    assert again == first
    assert again["metadata"]["labels"] is not first["metadata"]["labels"]


def test_what_others_noted_about_their_writes_is_never_kept() -> None:
    def item() -> dict[str, Any]:
        noted = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "a": "b"}
        return {"metadata": {"name": "p", "managedFields": [{}], "annotations": noted}, "spec": {}}

    assert without_bookkeeping(item()) == {"metadata": {"name": "p", "annotations": {"a": "b"}}, "spec": {}}
    assert keep("metadata.annotations")(item()) == {"metadata": {"name": "p", "annotations": {"a": "b"}}}
