"""What a person reads in `kubectl describe scaledobject`: steps, holds, fights, missing rules; each once."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

from autoscaler.core.records import Decision, Mode, Reason, RoleDecision
from autoscaler.kube.client import KubeClient
from autoscaler.kube.errors import Forbidden, MissingKind, Unreachable
from autoscaler.kube.events import EventRecorder, ObjectRef
from autoscaler.kube.meaning.findings import Finding, Severity
from autoscaler.kube.resources import EVENTS
from autoscaler.kube.writing.events_of import AGAIN_S, EventsOf, reference
from tests.fakes.kube_api import FakeKubeApi
from tests.kube.cluster import until
from tests.kube.writing.world import NOW_S, Owner, Settable, decided, scaled_object

REF = reference(scaled_object())
ABOUT = {"": REF}
DEMAND = Reason("demand", "11.4 replicas of work arrive")
BLIND = Reason("hold", "no page of 3 replicas can be read: what is there is kept")
FIGHT = Finding(
    "second-scaler", Severity.ERROR, "ScaledObject n/s", "Two write replicas.", ("HPA n/x",), "kubectl delete hpa x"
)


class Notes:
    """A recorder that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, bool]] = []
        self.about: list[ObjectRef] = []

    def record(
        self, about: ObjectRef, reason: str, note: str, *, action: str = "Scaling", warning: bool = False
    ) -> None:
        assert action in ("Scaling", "Checking", "Writing")
        self.told.append((reason, note, warning))
        self.about.append(about)


def events(owner: Owner | None = None) -> tuple[EventsOf, Notes, Settable]:
    notes, clock = Notes(), Settable()
    return EventsOf(notes, owner or Owner(), clock), notes, clock


def held(at_s: float, mode: Mode = Mode.HOLD) -> Decision:
    return replace(decided(5, mode=mode), at_s=NOW_S + at_s, reasons=(BLIND,))


async def test_a_step_is_told_with_its_first_reason_and_the_first_decision_is_no_step() -> None:
    of, notes, _ = events()
    for replicas in (5, 5, 12, 12, 7):
        of.offer(decided(replicas, reasons=(DEMAND,)), ABOUT)
    assert notes.told == [
        ("ScaledUp", "5 -> 12 replicas asked: 11.4 replicas of work arrive", False),
        ("ScaledDown", "12 -> 7 replicas asked: 11.4 replicas of work arrive", False),
    ]
    assert notes.about == [REF, REF]
    assert ObjectRef("keda.sh/v1alpha1", "ScaledObject", "n", "s", "u-s") == REF


async def test_to_zero_and_back_is_told_as_keda_is_told_it() -> None:
    of, notes, _ = events()
    of.offer(decided(1), ABOUT)
    of.offer(replace(decided(0, active=False), reasons=(Reason("zero", "idle for 900 s"),)), ABOUT)
    of.offer(decided(0), ABOUT)  # active: KEDA is told 1
    assert [note for _, note, _ in notes.told] == ["1 -> 0 replicas asked: idle for 900 s", "0 -> 1 replicas asked"]


async def test_each_role_speaks_on_its_own_scaled_object() -> None:
    of, notes, _ = events()
    decode = replace(REF, name="decode")
    both = replace(decided(2), roles=(RoleDecision("prefill", 2), RoleDecision("decode", 4)))
    of.offer(both, {"prefill": REF, "decode": decode})
    of.offer(replace(both, roles=(RoleDecision("prefill", 2), RoleDecision("decode", 6))), {"decode": decode})
    assert (notes.about, notes.told) == ([decode], [("ScaledUp", "4 -> 6 replicas asked", False)])


async def test_a_hold_is_told_once_after_a_minute_and_its_end_too() -> None:
    of, notes, _ = events()
    of.offer(decided(5), ABOUT)
    for second in range(0, 300, 5):
        of.offer(held(second), ABOUT)
        assert len(notes.told) == (1 if second > 60 else 0), second
    of.offer(held(605, Mode.UNKNOWN), ABOUT)
    of.offer(held(610, Mode.UNKNOWN), ABOUT)
    of.offer(decided(5), ABOUT)
    assert [reason for reason, _, _ in notes.told] == ["Holding", "Unknown", "Resumed"]
    assert notes.told[0][1] == BLIND.text


async def test_a_hold_of_a_few_scrapes_is_not_told() -> None:
    of, notes, _ = events()
    for round_s in range(0, 1000, 50):
        of.offer(held(round_s), ABOUT)
        of.offer(held(round_s + 40), ABOUT)
        of.offer(decided(5), ABOUT)
    assert notes.told == []


async def test_what_its_owner_stopped_and_what_is_only_watched_are_not_told() -> None:
    of, notes, _ = events()
    of.offer(decided(5), ABOUT)
    for second in range(0, 300, 5):
        of.offer(replace(held(second), reasons=(Reason("stopped", "the workload is gone"),)), ABOUT)
    for replicas in (5, 9, 5):
        of.offer(decided(replicas, mode=Mode.SHADOW), ABOUT)
    assert notes.told == []


async def test_a_fight_is_told_with_its_fix_and_each_hour_while_it_stays() -> None:
    of, notes, clock = events()
    for _ in range(10):
        of.found(REF, [FIGHT, replace(FIGHT, severity=Severity.NOTE, check="good-to-know")])
    assert notes.told == [
        ("SecondScaler", "Two write replicas. Fix: kubectl delete hpa x  Found: HPA n/x", True),
    ]
    clock.ahead_s += AGAIN_S
    of.found(REF, [FIGHT])
    assert len(notes.told) == 2


async def test_a_missing_rule_or_crd_is_told_with_what_to_add_an_outage_is_not() -> None:
    of, notes, _ = events()
    for problem in (Forbidden("add the rule x"), MissingKind("install its CRDs"), Unreachable("no answer"), None):
        of.missing(REF, "fastPath", problem)
        of.missing(REF, "fastPath", problem)
    assert notes.told == [
        ("MissingRule", "fastPath is off: add the rule x", True),
        ("MissingKind", "fastPath is off: install its CRDs", True),
    ]


async def test_who_is_not_the_owner_tells_nothing_and_takes_no_step_of_another_for_its_own() -> None:
    owner = Owner()
    of, notes, _ = events(owner)
    of.offer(decided(5), ABOUT)
    owner.owns = False
    of.offer(decided(9), ABOUT)
    of.found(REF, [FIGHT])
    of.missing(REF, "fastPath", Forbidden("x"))
    owner.owns = True
    of.offer(decided(12), ABOUT)
    of.offer(decided(13), ABOUT)
    assert notes.told == [("ScaledUp", "12 -> 13 replicas asked", False)]


async def test_the_api_server_takes_them_as_events_of_the_scaled_object() -> None:
    async with FakeKubeApi() as api, KubeClient(api.connection()) as client:
        clock = Settable()
        recorder = EventRecorder(client, clock, instance="pod-0", rng=random.Random(1))
        task = asyncio.create_task(recorder.run())
        of = EventsOf(recorder, Owner(), clock)
        of.offer(decided(12), ABOUT)
        of.offer(decided(13, reasons=(DEMAND,)), ABOUT)
        of.found(REF, [replace(FIGHT, evidence=("x" * 2000,))])
        await until(lambda: len(api.writes) == 2)
        found = list(api.store.of(EVENTS).values())
        task.cancel()
        await asyncio.wait([task])
    assert {one["reason"]: one["type"] for one in found} == {"ScaledUp": "Normal", "SecondScaler": "Warning"}
    assert all(one["regarding"]["name"] == "s" for one in found)
