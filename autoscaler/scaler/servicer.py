"""The external scaler: four RPCs answered from memory, by the rules of docs/design.md."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, NoReturn, Protocol

import grpc
import structlog

from autoscaler.control.board import Answer, Board
from autoscaler.core.errors import ConfigError, Problem
from autoscaler.core.records import Mode, TargetId
from autoscaler.ports import Clock, RefusedError, TargetDirectory, UnknownTarget
from scaler_proto import externalscaler_pb2 as pb
from scaler_proto import externalscaler_pb2_grpc as rpc

METRIC = "replicas"  # stable, lower case: KEDA makes it a path segment and looks it up case-insensitively
TARGET = 1  # AverageValue with target 1: the HPA's ceil(value / target) is the number itself
# KEDA drops a `true` while it does not know the metric's name yet, and re-queues nothing; each repeat costs it one
# status write, so they are slow, and jittered lest a thousand streams beat together.
REPEAT_S = (15.0, 30.0)
# How often a stream looks whether its target is known by now: ended, KEDA would back off, for good.
RESOLVE_EVERY_S = 0.2
# To a trigger that names a watched service, or that fights with somebody else. An error is the one answer that moves
# nothing: on any error KEDA and the HPA keep what is there and a zero stays a zero, while an empty list still follows
# IsActive, and any number acts. The metric's spec is given all the same: without it KEDA up to 2.19 leaves the HPA
# without metrics, to follow the CPU.
SHADOW_REFUSED = grpc.StatusCode.FAILED_PRECONDITION

_log = structlog.get_logger(__name__)


class CallObserver(Protocol):
    """Takes the fate of every call, for metrics."""

    def called(self, method: str, code: str, took_s: float) -> None:
        """One unary call ended."""
        ...

    def streams(self, change: int) -> None:
        """A push stream opened (+1) or ended (-1)."""
        ...


class Silent:
    """A CallObserver that keeps nothing."""

    def called(self, method: str, code: str, took_s: float) -> None:
        """Keep nothing."""

    def streams(self, change: int) -> None:
        """Keep nothing."""


class Unknown(Exception):  # noqa: N818 -- a state of knowledge, not a fault
    """Nothing is known of the target: UNAVAILABLE, so that KEDA holds and its fallback fires."""


class Servicer(rpc.ExternalScalerServicer):
    """Answers KEDA from the board."""

    def __init__(
        self,
        board: Board,
        directory: TargetDirectory,
        clock: Clock,
        observer: CallObserver,
        rng: random.Random,
    ) -> None:
        self._board = board
        self._directory = directory
        self._clock = clock
        self._observer = observer
        self._rng = rng
        self._closing = False
        self._streams: set[asyncio.Event] = set()  # what open push streams wait for

    def close(self) -> None:
        """Let every push stream end with OK: any other end makes KEDA back off, up to a minute, for good."""
        self._closing = True
        for changed in self._streams:
            changed.set()

    # The generated base class types contexts for the blocking API; ours are grpc.aio's.
    async def GetMetricSpec(self, request: pb.ScaledObjectRef, context: Any) -> pb.GetMetricSpecResponse:  # noqa: ARG002
        """The one metric and its target; succeeds whatever the metadata, because KEDA's fallback hangs off it."""
        self._observer.called("GetMetricSpec", "OK", 0.0)
        spec = pb.MetricSpec(metricName=METRIC, targetSize=TARGET, targetSizeFloat=float(TARGET))
        return pb.GetMetricSpecResponse(metricSpecs=[spec])

    async def IsActive(self, request: pb.ScaledObjectRef, context: Any) -> pb.IsActiveResponse:
        """Whether the target should run."""
        answer = await self._answered("IsActive", request, None, context)
        return pb.IsActiveResponse(result=answer.active)

    async def GetMetrics(self, request: pb.GetMetricsRequest, context: Any) -> pb.GetMetricsResponse:
        """The replica count: at least 1 while active, 0 only with a confident inactive."""
        answer = await self._answered("GetMetrics", request.scaledObjectRef, request.metricName, context)
        count = max(1, answer.replicas) if answer.active else 0
        value = pb.MetricValue(metricName=METRIC, metricValue=count, metricValueFloat=float(count))
        return pb.GetMetricsResponse(metricValues=[value])

    async def StreamIsActive(self, request: pb.ScaledObjectRef, context: Any) -> AsyncIterator[pb.IsActiveResponse]:
        """`true` on open and on every edge to active, slow repeats while active, never `false`, OK at the end."""
        self._observer.streams(+1)
        try:
            async for _ in self._pushes(request, context):
                yield pb.IsActiveResponse(result=True)
        finally:
            self._observer.streams(-1)

    async def StreamMetricSpec(
        self,
        request: pb.ScaledObjectRef,  # noqa: ARG002
        context: Any,
    ) -> AsyncIterator[pb.GetMetricSpecResponse]:
        """Not needed, because the target is a constant: UNIMPLEMENTED, which KEDA accepts silently."""
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "the metric's target never changes: use GetMetricSpec")
        yield pb.GetMetricSpecResponse()

    async def _pushes(self, request: pb.ScaledObjectRef, context: Any) -> AsyncIterator[None]:
        try:
            target = await self._resolved(request)
        except ConfigError as error:
            # KEDA retries a refused stream for ever with a backoff that only a clean end resets; the same mistake is
            # told on every poll, so the stream says it too and leaves the log to the polls.
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except RefusedError as refusal:
            await context.abort(SHADOW_REFUSED, str(refusal))
        if target is None:
            return
        active = False
        repeat_at_s = 0.0
        with self._board.watch(target.service) as changed, self._open(changed):
            while not self._closing:
                changed.clear()
                now = self._clock.now()
                answer = self._board.answer(target, now)
                was, active = active, answer is not None and answer.active and answer.mode is not Mode.UNKNOWN
                if active and (not was or now >= repeat_at_s):
                    repeat_at_s = now + self._rng.uniform(*REPEAT_S)
                    yield
                at_most_s = max(0.0, repeat_at_s - now) if active else REPEAT_S[1]
                # A timeout costs one timer; two thousand streams cannot afford a task each for every decision.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._clock.wall_s(at_most_s) + 1e-3):
                        await changed.wait()

    @contextlib.contextmanager
    def _open(self, changed: asyncio.Event) -> Iterator[None]:
        """Let the shutdown reach the stream that waits for this event."""
        self._streams.add(changed)
        try:
            yield
        finally:
            self._streams.discard(changed)

    async def _resolved(self, ref: pb.ScaledObjectRef) -> TargetId | None:
        """The target as soon as it is known; None: the shutdown came first."""
        while not self._closing:
            try:
                return self._resolve(ref)
            except UnknownTarget:
                await asyncio.sleep(self._clock.wall_s(RESOLVE_EVERY_S))
        return None

    def _resolve(self, ref: pb.ScaledObjectRef) -> TargetId:
        if "scalerAddress" not in ref.scalerMetadata:
            raise ConfigError(
                f"trigger of ScaledObject {ref.namespace}/{ref.name}",
                (Problem("scalerAddress", "nothing", "the address that KEDA forwards with every call"),),
            )
        return self._directory.resolve(ref.namespace, ref.name, ref.scalerMetadata)

    def _answer(self, ref: pb.ScaledObjectRef, metric: str | None) -> Answer:
        target = self._resolve(ref)
        if metric is not None and metric.lower() != METRIC:
            raise ConfigError(
                f"trigger of ScaledObject {ref.namespace}/{ref.name}",
                (Problem("metricName", repr(metric), f"{METRIC!r}, the only metric there is"),),
            )
        answer = self._board.answer(target, self._clock.now())
        if answer is None:
            raise Unknown(f"{target} was not decided yet; KEDA should keep what is there")
        if answer.mode is Mode.UNKNOWN:
            why = "; ".join(reason.text for reason in answer.reasons) or "nothing is known of it"
            raise Unknown(f"{target}: {why}")
        return answer

    async def _answered(self, method: str, ref: pb.ScaledObjectRef, metric: str | None, context: Any) -> Answer:
        before = time.perf_counter()
        try:
            answer = self._answer(ref, metric)
        except ConfigError as error:
            await self._abort(method, before, context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except RefusedError as refusal:
            await self._abort(method, before, context, SHADOW_REFUSED, str(refusal))
        except (Unknown, UnknownTarget) as unknown:
            await self._abort(method, before, context, grpc.StatusCode.UNAVAILABLE, str(unknown))
        except Exception:  # noqa: BLE001 -- one bad call must not take the service down, and must not read as a number
            _log.exception("scaler call failed", method=method, namespace=ref.namespace, name=ref.name)
            await self._abort(
                method, before, context, grpc.StatusCode.INTERNAL, "a fault of llm-autoscaler: see its log"
            )
        self._observer.called(method, "OK", time.perf_counter() - before)
        return answer

    async def _abort(self, method: str, before: float, context: Any, code: grpc.StatusCode, text: str) -> NoReturn:
        self._observer.called(method, code.name, time.perf_counter() - before)
        await context.abort(code, text)
        raise AssertionError("abort raises")
