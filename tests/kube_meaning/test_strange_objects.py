"""Objects are written by people and other controllers: nothing in them may bring the reader down."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.core.errors import ClusterError, ConfigError
from autoscaler.doctor.look import look_at
from autoscaler.doctor.report import as_json, examine
from autoscaler.kube.meaning.kserve_made import files_set
from autoscaler.kube.meaning.objects import ObjectSet
from autoscaler.kube.meaning.resolve import look, resolve
from autoscaler.kube.meaning.spec import service_spec
from tests.kube_meaning.recorded import NAMES, Recording

WEIRD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 70_000),
    st.floats(allow_nan=False),
    st.text(max_size=6),
    st.just([]),
    st.just({}),
    st.just([None, 3, "x", {}]),
    st.just({"a": None, "b": [1]}),
)
ALL = [raw for name in NAMES for raw in Recording(name).raws]


def places(raw: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every path below an object."""
    if way and way[0] not in ("apiVersion", "kind"):
        yield way
    if isinstance(raw, dict | list):
        for key, value in raw.items() if isinstance(raw, dict) else enumerate(raw):
            yield from places(value, (*way, key))


PLACES = [(index, way) for index, raw in enumerate(ALL) for way in places(raw)]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PLACES), WEIRD), min_size=1, max_size=3))
def test_whatever_stands_at_any_place_only_our_own_errors_come_out(edits: list[tuple[Any, Any]]) -> None:
    raws = json.loads(json.dumps(ALL))
    for (index, way), value in edits:
        at = raws[index]
        try:
            for key in way[:-1]:
                at = at[key]
            at[way[-1]] = value
        except (KeyError, IndexError, TypeError):
            continue  # an earlier edit took the place away
    for objects in (ObjectSet(raws), files_set(raws)):
        for name in ("m", "k3-predictor", "lm-decode", "lm-kserve-keda", "big", "prefill", "a"):
            try:
                target = resolve(objects, "default", name)
                look(objects, target)
                service_spec([target])
            except (ConfigError, ClusterError):
                pass
        report = examine(look_at(objects))
        assert json.loads(as_json(report))["code"] in (0, 1)
