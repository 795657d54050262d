"""Messages between replicas: what is written is read, whatever the versions of either side."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from autoscaler.control.board import Standing
from autoscaler.control.triggers import Heard
from autoscaler.core.records import Decision, Estimates, Mode, Reason, RoleDecision, ServiceId, Wake
from autoscaler.scaler import wire
from scaler_proto import replicas_pb2 as pb

number = st.floats(-1e9, 1e9)
maybe = st.none() | number
reason = st.builds(
    Reason, st.text(max_size=9), st.text(max_size=9), st.tuples(st.tuples(st.text(max_size=5), number)) | st.just(())
)
reasons = st.lists(reason, max_size=3).map(tuple)


@st.composite
def standings(draw: st.DrawFn) -> Standing:
    names = draw(st.sampled_from([("",), ("prefill", "decode")]))
    roles = tuple(RoleDecision(name, draw(st.integers(0, 10_000)), draw(reasons)) for name in names)
    estimates = tuple(Estimates(name, *(draw(maybe) for _ in range(9))) for name in names)
    decision = Decision(
        ServiceId("default", "chat"),
        draw(st.floats(0.0, 4e9)),
        draw(st.sampled_from(Mode)),
        draw(st.booleans()),
        roles,
        draw(reasons),
        draw(st.sampled_from([(), estimates])),
        draw(st.floats(0.1, 60.0)),
    )
    return Standing(decision, {name: draw(st.integers(0, 99)) for name in names}, 5.0, 600.0)


@given(standings())
def test_a_standing_is_read_as_it_was_written(standing: Standing) -> None:
    message = pb.Standing.FromString(wire.standing_to(standing).SerializeToString())
    assert wire.standing_from(message, 0.0) == standing


@given(standings(), st.floats(-300.0, 300.0))
def test_times_are_put_on_the_readers_clock(standing: Standing, ahead_s: float) -> None:
    read = wire.standing_from(wire.standing_to(standing), ahead_s)
    assert read.decision.at_s == standing.decision.at_s - ahead_s


def test_a_mode_of_a_newer_version_reads_as_hold_and_its_new_fields_are_skipped() -> None:
    decision = Decision(ServiceId("default", "chat"), 5.0, Mode.NORMAL, True, (RoleDecision("", 7),))
    message = wire.standing_to(Standing(decision, {"": 7}, 5.0, 600.0))
    message.mode = "cautious"
    newer = message.SerializeToString() + b"\xc2\x3e\x03new"  # field 1000, length-delimited
    read = wire.standing_from(pb.Standing.FromString(newer), 0.0)
    assert (read.decision.mode, read.decision.roles[0].replicas) == (Mode.HOLD, 7)


def test_a_trigger_and_a_wish_keep_their_age_between_clocks_that_differ() -> None:
    heard = Heard("default", "chat", (("maxReplicas", "5"),), 970.0)
    assert wire.trigger_from(wire.trigger_to(heard, 1000.0), 5000.0) == Heard(
        "default", "chat", heard.metadata, 5000.0 - 30.0
    )
    assert wire.wish_from(wire.wish_to(Wake(3, 1060.0), 1000.0), 5000.0) == Wake(3, 5060.0)
