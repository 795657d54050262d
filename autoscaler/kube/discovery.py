"""Which services there are, from ScaledObjects; what a call of KEDA means; both redone as objects change.

A ScaledObject concerns us if KEDA called with it, if a trigger of it looks like ours, or if annotations of ours ask
for it. It is resolved once, and again 0.2 s after an object changed that its meaning hangs on; pods are looked at by
each decision. What cannot be resolved any more keeps the meaning that it had, and is refused to KEDA.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import structlog

from autoscaler.config.annotations import PREFIX
from autoscaler.config.metadata import normalise
from autoscaler.config.records import Overrides, ServiceSettings
from autoscaler.core.errors import AutoscalerError, ClusterError, ConfigError, Problem
from autoscaler.core.records import ServiceId, ServiceMode, TargetId
from autoscaler.kube.cache import Handlers
from autoscaler.kube.cluster import WATCHED, Cluster
from autoscaler.kube.decoding import Json
from autoscaler.kube.meaning import objects as kinds
from autoscaler.kube.meaning import raw as read
from autoscaler.kube.meaning import scaledobject as keda
from autoscaler.kube.meaning.findings import Severity
from autoscaler.kube.meaning.objects import SCALED_OBJECT, Kind
from autoscaler.kube.meaning.raw import Raw
from autoscaler.kube.meaning.resolve import Target, resolve
from autoscaler.kube.meaning.spec import service_spec
from autoscaler.kube.meaning.workload import scale_target
from autoscaler.kube.role import KubeRole
from autoscaler.ports import Clock, FightError, RoleSource, ShadowError, UnknownTarget

# A rollout writes many objects at once: they are taken together.
GATHER_S = 0.2
# A kind that is neither listed nor known to be off by then does not hold up the others: what it would tell is unknown.
FIRST_LOOK_S = 10.0
# KEDA may call before our watch tells of a new ScaledObject: only after this long there is none.
UNHEARD_S = 5.0

Key = tuple[str, str]  # namespace and name of a ScaledObject

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Entry:
    """One ScaledObject that concerns us."""

    called: dict[str, str] | None = None  # metadata that KEDA called with last; None: never
    target: Target | None = None
    error: AutoscalerError | None = None  # why it cannot be resolved now
    read_with: tuple[tuple[str, str], ...] = ()  # the trigger's metadata that it was resolved with


class KubeDiscovery:
    """Services by ScaledObjects (a `Discovery`); `run` keeps them current."""

    def __init__(
        self,
        cluster: Cluster,
        clock: Clock,
        wake_sources: Iterable[str] = (),
        addresses: frozenset[str] = frozenset(),
        defaults: Overrides | None = None,
    ) -> None:
        self._cluster = cluster
        self._defaults = defaults or Overrides()  # the operator's, below what objects and triggers say
        self._objects = cluster.objects
        self._clock = clock
        self._wake_sources = frozenset(wake_sources)
        self._addresses = addresses  # by which triggers call us; empty: they are told by their look
        self._entries: dict[Key, _Entry] = {}
        self._keys_of: dict[ServiceId, set[Key]] = {}
        self._services: dict[ServiceId, ServiceSettings] = {}
        self._faulty: dict[ServiceId, ConfigError] = {}  # what is set for all roles together is no good
        self._dirty: set[str | None] = {None}  # namespaces to look at again; None: all
        self._dirtied = asyncio.Event()
        self._dirtied.set()
        self._changed = asyncio.Event()
        self._looked = False
        self._unheard: dict[Key, float] = {}
        self._said: set[tuple[str, ...]] = set()
        cluster.subscribe(self._handlers)

    # --- a Discovery --------------------------------------------------------------------------------------------------

    def services(self) -> tuple[ServiceId, ...]:
        """Every service found."""
        return tuple(self._services)

    def settings(self, service: ServiceId) -> ServiceSettings:
        """What is set for a service now; raises KeyError for one that is not known."""
        return self._services[service]

    def roles(self, service: ServiceId) -> Mapping[str, RoleSource]:
        """New sources of a service's roles; raises KeyError for one that is not known."""
        return {role.role: self._role(TargetId(service, role.role)) for role in self._services[service].spec.roles}

    def workloads(self, service: ServiceId) -> Mapping[str, str]:
        """The name of what each role scales; raises KeyError for a service that is not known."""
        return {
            role.role: self._of(TargetId(service, role.role)).workload.name
            for role in self._services[service].spec.roles
        }

    def waiting_for(self) -> str | None:
        """What keeps it from knowing which services there are; None: they are known."""
        return None if self._looked else "the first look at the cluster"

    def target(self, target: TargetId) -> Target | None:
        """A target as it is resolved now, None for one that is not known."""
        return next((one for one in self._targets(target.service) if one.target == target), None)

    async def changed(self) -> None:
        """Wait until services or their roles are others than at the last call."""
        await self._changed.wait()
        self._changed.clear()

    def resolve(self, namespace: str, name: str, metadata: Mapping[str, str]) -> TargetId:
        """The target of a ScaledObject's trigger.

        Raises ConfigError (no such ScaledObject, or a malformed value), ShadowError, FightError (a finding that makes
        the answer do harm), and UnknownTarget (not read yet, or not readable).
        """
        where = f"ScaledObject {namespace}/{name}"
        if not self._looked:
            raise UnknownTarget(f"{where}: the cluster is not read yet; KEDA should keep what is there")
        key = namespace, name
        self._call(key, dict(metadata))
        entry = self._entries.get(key)
        if entry is None:
            raise self._unknown(key)
        if entry.error is not None:
            raise _told(entry.error)
        if entry.target is None:
            raise UnknownTarget(f"{where} is not resolved yet")
        service = entry.target.target.service
        if service in self._faulty:
            raise self._faulty[service]
        if entry.target.mode is ServiceMode.SHADOW:
            raise ShadowError(
                f"trigger of {where}: {service} is in shadow mode, decided and published but never acted on; remove "
                f"the trigger, or the annotation {PREFIX}mode"
            )
        fights = [one for one in entry.target.findings if one.severity is Severity.ERROR]
        if fights:
            raise FightError("; ".join(f"{one.about}: {one.cause} ({one.check}) Fix: {one.fix}" for one in fights))
        return entry.target.target

    async def run(self) -> None:
        """Resolve again whatever changed; ends by cancellation only."""
        if not self._looked and not await self._cluster.settled(FIRST_LOOK_S):
            await self._scaled_objects()
            off = [one.what for one in self._cluster.conditions() if one.reason not in ("Watching", "Forbidden")]
            _log.warning("looked at the cluster without all of it", not_read=off)
        while True:
            await self._dirtied.wait()
            self._dirtied.clear()
            dirty, self._dirty = self._dirty, set()
            for key in self._concerned(dirty):
                self._guarded(key)
                await asyncio.sleep(0)  # a thousand of them must not hold up answers
            if not self._looked:
                self._looked = True
                _log.info("looked at the cluster", services=len(self._services), scaled_objects=len(self._entries))
            await self._clock.sleep(GATHER_S)

    async def _scaled_objects(self) -> None:
        """Without ScaledObjects nothing is known: they are waited for as long as it takes."""
        while self._objects.reading(SCALED_OBJECT).value == "stale":
            await self._clock.sleep(GATHER_S)

    # --- what is known ------------------------------------------------------------------------------------------------

    def _role(self, target: TargetId) -> KubeRole:
        found = [self._of(target)]

        def current() -> Target:
            found[0] = self._of(target, found[0])
            return found[0]

        return KubeRole(self._objects, current)

    def _of(self, target: TargetId, former: Target | None = None) -> Target:
        """The target as resolved now, or as it was: its service's loop ends soon."""
        found = self.target(target) or former
        if found is None:
            raise KeyError(target)
        return found

    def _targets(self, service: ServiceId) -> list[Target]:
        """Of one service, in the order of their ScaledObjects' names."""
        mine = sorted(key for key in self._keys_of.get(service, ()))
        return [one for key in mine if (one := self._entries[key].target) is not None]

    def _unknown(self, key: Key) -> AutoscalerError:
        where = f"ScaledObject {key[0]}/{key[1]}"
        reading = self._objects.reading(SCALED_OBJECT, key[0])
        if not reading.complete:
            return UnknownTarget(f"{where} is not known: ScaledObjects are {reading.value} there")
        now = self._clock.now()
        if len(self._unheard) > 10_000:
            self._unheard.clear()
        if now - self._unheard.setdefault(key, now) < UNHEARD_S:
            return UnknownTarget(f"{where} is not known yet")
        return ConfigError("KEDA's call", (Problem("scaledObjectRef", where, "a ScaledObject that exists"),))

    def _call(self, key: Key, metadata: dict[str, str]) -> None:
        """Note what KEDA called with; what it says anew counts at once."""
        entry = self._entries.get(key)
        if entry is not None and entry.called is not None and normalise(entry.called) == normalise(metadata):
            return
        if self._objects.get(SCALED_OBJECT, *key) is None:
            return
        self._unheard.pop(key, None)
        if entry is None:
            entry = self._entries[key] = _Entry()
        elif entry.called is None and entry.read_with == normalise(metadata):
            entry.called = metadata  # as its own trigger says, which was resolved already
            return
        entry.called = metadata
        self._refresh(key)

    # --- keeping it current -------------------------------------------------------------------------------------------

    def _handlers(self, kind: Kind) -> Handlers:
        def touched(item: Json) -> None:
            # Any service of the cluster may be based on a config, and those of other namespaces are KServe's own.
            self._dirty.add(None if kind == kinds.LLM_CONFIG else read.namespace(item))
            self._dirtied.set()

        def changed(before: Json, after: Json) -> None:
            if _meaning(kind, before) != _meaning(kind, after):
                touched(after)
            if kind == SCALED_OBJECT and keda.triggers(before) != keda.triggers(after):
                entry = self._entries.get((read.namespace(after), read.name(after)))
                if entry is not None:
                    entry.called = None  # what it says now counts, until KEDA calls with it

        return Handlers(touched, changed, touched)

    def _concerned(self, namespaces: set[str | None]) -> list[Key]:
        where = [None] if None in namespaces else list(namespaces)
        found = [raw for one in where for raw in self._objects.find(SCALED_OBJECT, one)]
        keys = {(read.namespace(raw), read.name(raw)) for raw in found}
        return sorted(keys | {key for key in self._entries if None in namespaces or key[0] in namespaces})

    def _refresh(self, key: Key) -> None:
        """Resolve one ScaledObject again, and what is set for the services that it changes."""
        raw = self._objects.get(SCALED_OBJECT, *key)
        entry = self._entries.get(key)
        if raw is None:
            if entry is not None and self._objects.reading(SCALED_OBJECT, key[0]).complete:
                self._put(key, None)
            return
        called = entry.called if entry is not None else None
        if called is None and not self._concerns(raw):
            self._put(key, None)
            return
        kind, name = scale_target(raw)
        self._cluster.scales.want(key, None if kind in WATCHED else (kind, key[0], name))
        mine = keda.our_triggers(raw, self._addresses)
        read_with = normalise(called if called is not None else mine[0].metadata if mine else {})
        former = entry.target if entry is not None else None
        try:
            target = self._checked(key, resolve(self._objects, *key, called, self._addresses))
        except (ConfigError, ClusterError) as error:
            self._say("cannot be resolved", key, str(error))
            self._put(key, _Entry(called, former, error, read_with))
            return
        if former is not None and not target.known:
            target = replace(target, target=former.target)  # its owner cannot be read: it is whose it was
        self._tell(key, target)
        self._put(key, _Entry(called, target, None, read_with))

    def _guarded(self, key: Key) -> None:
        try:
            self._refresh(key)
        except Exception as error:  # noqa: BLE001 -- one object that nobody thought of must not hide the others
            if (*key, repr(error)) not in self._said:
                self._said.add((*key, repr(error)))
                _log.exception("a ScaledObject cannot be resolved, by a fault of ours", namespace=key[0], name=key[1])

    def _concerns(self, raw: Raw) -> bool:
        asked = any(key.startswith(PREFIX) for key in read.annotations_of(raw))
        return asked or bool(keda.our_triggers(raw, self._addresses))

    def _checked(self, key: Key, target: Target) -> Target:
        source = target.overrides.wake_source
        if source is not None and source not in self._wake_sources:
            known = ", ".join(sorted(self._wake_sources)) or "it names none"
            problem = Problem("wakeSource", repr(source), f"a wake source of the operator's file ({known})")
            raise ConfigError(f"ScaledObject {key[0]}/{key[1]}", (problem,))
        return target

    def _put(self, key: Key, entry: _Entry | None) -> None:
        former = self._entries.pop(key, None)
        if entry is not None:
            self._entries[key] = entry
        else:
            self._cluster.scales.want(key, None)
        touched = {one.target.target.service for one in (former, entry) if one is not None and one.target is not None}
        for service in touched:
            keys = self._keys_of.setdefault(service, set())
            keys.discard(key)
            if entry is not None and entry.target is not None and entry.target.target.service == service:
                keys.add(key)
            self._settle(service)

    def _settle(self, service: ServiceId) -> None:
        """Work out anew what is set for one service."""
        former, targets = self._services.get(service), self._targets(service)
        if not targets:
            del self._keys_of[service]
            self._faulty.pop(service, None)
            if self._services.pop(service, None) is not None:
                self._changed.set()
            return
        try:
            spec = service_spec(targets, defaults=self._defaults)
        except ConfigError as error:
            self._say("cannot be planned as it is set", (service.namespace, service.name), str(error))
            self._faulty[service] = error
            return
        self._faulty.pop(service, None)
        said = [one.overrides for one in targets]
        source = next((one.wake_source for one in said if one.wake_source), None)
        if source is None and not any(one.wake_source_none for one in said):
            source = self._defaults.wake_source
        self._services[service] = ServiceSettings(spec, (), source)
        if former is None or [one.role for one in former.spec.roles] != [one.role for one in spec.roles]:
            self._changed.set()

    # --- what is said, once each --------------------------------------------------------------------------------------

    def _tell(self, key: Key, target: Target) -> None:
        for text in target.warnings:
            self._say("set but not used", key, text)
        for one in target.findings:
            said = (*key, one.check, *one.evidence)
            if said not in self._said:
                self._said.add(said)
                log = _log.error if one.severity is Severity.ERROR else _log.warning
                log(one.cause, about=one.about, check=one.check, evidence=list(one.evidence), fix=one.fix)

    def _say(self, event: str, key: Key, text: str) -> None:
        if (*key, text) not in self._said:
            self._said.add((*key, text))
            _log.warning(event, namespace=key[0], name=key[1], reason=text)


def _told(error: AutoscalerError) -> AutoscalerError:
    """A cluster that cannot be read is no fault of the trigger."""
    return UnknownTarget(str(error)) if isinstance(error, ClusterError) else error


# Of these only the status changes with every step and every poll, and nothing that a target means hangs on it.
_STATUS_ASIDE = frozenset({kinds.SCALED_OBJECT, kinds.DEPLOYMENT, kinds.STATEFUL_SET, kinds.LEADER_WORKER_SET})
_REPLICAS_ASIDE = frozenset({kinds.DEPLOYMENT, kinds.STATEFUL_SET, kinds.LEADER_WORKER_SET, kinds.ROLE_SCALER})


def _meaning(kind: Kind, raw: Json) -> list[object]:
    """What of an object may change what a target means."""
    metadata, spec = read.mapping(raw, "metadata"), read.mapping(raw, "spec")
    found: list[object] = [metadata.get(key) for key in ("labels", "annotations", "ownerReferences")]
    found.append({key: spec[key] for key in spec if key != "replicas" or kind not in _REPLICAS_ASIDE})
    if kind == kinds.HPA:
        found.append(read.text(read.condition(raw, "ScalingActive"), "reason"))
    elif kind == kinds.SCALED_OBJECT:
        found.append(read.text(raw, "status", "hpaName"))
    elif kind not in _STATUS_ASIDE:
        found.append(raw.get("status"))
    return found
