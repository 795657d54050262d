"""Objects of informers answer like objects that were given, without going through all pods."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from autoscaler.doctor.look import look_at
from autoscaler.doctor.report import as_json, examine
from autoscaler.kube.meaning import raw as read
from autoscaler.kube.meaning.objects import ALL_KINDS, NODE, POD, ObjectSet, Reading
from autoscaler.kube.meaning.raw import Raw
from autoscaler.kube.meaning.resolve import look, resolve, survey
from autoscaler.kube.meaning.selectors import parse
from autoscaler.kube.meaning.viewed import INDEXES, Viewed
from tests.kube_meaning.recorded import NAMES, Recording


class ListedView:
    """A view over a list, built with the indexes."""

    def __init__(self, raws: Sequence[Raw]) -> None:
        self.raws = list(raws)
        self.full_reads = 0

    def get(self, namespace: str, name: str) -> Raw | None:
        return next((o for o in self.raws if (read.namespace(o), read.name(o)) == (namespace, name)), None)

    def all(self) -> Sequence[Raw]:
        self.full_reads += 1
        return self.raws

    def by_index(self, index: str, value: str) -> Sequence[Raw]:
        return [one for one in self.raws if value in INDEXES[index](one)]


def views(objects: ObjectSet) -> dict[object, ListedView]:
    return {kind: ListedView(objects.find(kind)) for kind in ALL_KINDS}


def viewed(made: dict[object, ListedView]) -> Viewed:
    return Viewed({kind: made[kind] for kind in ALL_KINDS}, lambda _kind, _namespace: Reading.READ)


@pytest.mark.parametrize("name", NAMES)
def test_a_cluster_seen_through_views_means_the_same(name: str) -> None:
    given = Recording(name).cluster()
    seen = viewed(views(given))
    assert as_json(examine(look_at(seen))) == as_json(examine(look_at(given)))
    for one in survey(given):
        if one.target is not None:
            assert look(seen, one.target) == look(given, one.target)


@pytest.mark.parametrize(
    "written", ["app=isvc.m-predictor", "app=isvc.m-predictor,component=predictor", "app", "app!=x", "nothing=here"]
)
def test_every_selector_finds_the_same_pods(written: str) -> None:
    given = Recording("isvc-external").cluster()
    selector = parse(written)
    assert viewed(views(given)).find(POD, "default", selector) == given.find(POD, "default", selector)
    assert viewed(views(given)).find(POD, "other", selector) == []


def test_a_look_at_one_target_never_goes_through_all_pods() -> None:
    made = views(Recording("groups").cluster())
    seen = viewed(made)
    assert look(seen, resolve(seen, "default", "big")).replicas
    assert made[POD].full_reads == 0


def test_a_kind_without_a_view_is_unwatched_and_empty() -> None:
    empty = Viewed({}, lambda _kind, _namespace: Reading.READ)
    assert empty.reading(POD, "default") is Reading.UNWATCHED
    assert empty.get(NODE, "", "n") is None
    assert empty.find(POD) == ()
