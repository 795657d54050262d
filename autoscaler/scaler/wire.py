"""Records as messages between our replicas, and back.

A reader takes what it knows: a field that is absent has its default, and a mode of a newer version reads as hold,
which never takes a replica away.
"""

from __future__ import annotations

from dataclasses import fields

from autoscaler.control.board import Standing
from autoscaler.control.relay import Observed
from autoscaler.control.triggers import Heard
from autoscaler.core.records import Decision, Estimates, Mode, Reason, RoleDecision, ServiceId, Wake
from autoscaler.ports import Saved
from scaler_proto import replicas_pb2 as pb

_ESTIMATES = tuple(field.name for field in fields(Estimates) if field.name != "role")


def service_to(service: ServiceId) -> pb.ServiceRef:
    """A service's name."""
    return pb.ServiceRef(namespace=service.namespace, name=service.name)


def service_from(ref: pb.ServiceRef) -> ServiceId:
    """The service a message names."""
    return ServiceId(ref.namespace, ref.name)


def standing_to(standing: Standing) -> pb.Standing:
    """What stands for a service; times on the sender's clock."""
    decision = standing.decision
    estimates = {one.role: one for one in decision.estimates}
    return pb.Standing(
        service=service_to(decision.service),
        at_s=decision.at_s,
        mode=decision.mode.value,
        active=decision.active,
        roles=[
            pb.Role(
                role=one.role,
                replicas=one.replicas,
                present=standing.present.get(one.role, 0),
                reasons=[_reason_to(reason) for reason in one.reasons],
                estimates=_estimates_to(estimates[one.role]) if one.role in estimates else None,
            )
            for one in decision.roles
        ],
        reasons=[_reason_to(reason) for reason in decision.reasons],
        next_in_s=decision.next_in_s,
        period_s=standing.period_s,
        hold_limit_s=standing.hold_limit_s,
    )


def standing_from(message: pb.Standing, ahead_s: float) -> Standing:
    """The same on the reader's clock, which the sender's is ahead of by `ahead_s`."""
    try:
        mode = Mode(message.mode)
    except ValueError:
        mode = Mode.HOLD
    decision = Decision(
        service_from(message.service),
        message.at_s - ahead_s,
        mode,
        message.active,
        tuple(RoleDecision(one.role, one.replicas, tuple(map(_reason_from, one.reasons))) for one in message.roles),
        tuple(map(_reason_from, message.reasons)),
        tuple(_estimates_from(one) for one in message.roles if one.HasField("estimates")),
        message.next_in_s,
    )
    present = {one.role: one.present for one in message.roles}
    return Standing(decision, present, message.period_s, message.hold_limit_s)


def _reason_to(reason: Reason) -> pb.Reason:
    numbers = [pb.Number(name=name, value=value) for name, value in reason.numbers]
    return pb.Reason(code=reason.code, text=reason.text, numbers=numbers)


def _reason_from(message: pb.Reason) -> Reason:
    return Reason(message.code, message.text, tuple((one.name, one.value) for one in message.numbers))


def _estimates_to(estimates: Estimates) -> pb.Estimates:
    message = pb.Estimates()
    known = {field.name for field in message.DESCRIPTOR.fields}
    for name in _ESTIMATES:
        value = getattr(estimates, name)
        if value is not None and name in known:
            setattr(message, name, value)
    return message


def _estimates_from(role: pb.Role) -> Estimates:
    said = {field.name: value for field, value in role.estimates.ListFields()}
    return Estimates(role.role, **{name: said[name] for name in _ESTIMATES if name in said})


def snapshot_to(service: ServiceId, saved: Saved) -> pb.Snapshot:
    """A planner's snapshot."""
    return pb.Snapshot(service=service_to(service), at_s=saved.at_s, state=saved.snapshot)


def observed_to(service: ServiceId, observed: Observed) -> pb.Observed:
    """One observation of the log."""
    return pb.Observed(service=service_to(service), at_s=observed.at_s, observation=observed.observation)


def trigger_to(heard: Heard, now: float) -> pb.Trigger:
    """A trigger, and how long ago KEDA showed it."""
    age_s = max(0.0, now - heard.at_s)
    return pb.Trigger(namespace=heard.namespace, name=heard.name, metadata=dict(heard.metadata), age_s=age_s)


def trigger_from(message: pb.Trigger, now: float) -> Heard:
    """The same on the reader's clock."""
    metadata = tuple(sorted(message.metadata.items()))
    return Heard(message.namespace, message.name, metadata, now - max(0.0, message.age_s))


def wish_to(wake: Wake, now: float) -> pb.Wish:
    """A wish, and how long it still counts."""
    return pb.Wish(replicas=wake.replicas, ttl_s=wake.expires_at_s - now)


def wish_from(message: pb.Wish, now: float) -> Wake:
    """The same on the reader's clock."""
    return Wake(message.replicas, now + message.ttl_s)
