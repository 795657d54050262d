"""The replica's rules written a second time, one step at a time, with objects and no arrays, heaps or closed forms."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from autoscaler.simulation.engines import Params


@dataclass
class Request:
    """One request and what became of it."""

    arrival_s: float
    prompt: int
    output: int
    generated: int = 0
    computed: int = 0  # KV tokens it holds now
    left: int = 0  # prompt tokens still to be computed, while it is partly computed
    first_s: float = -1.0
    finish_s: float = -1.0


@dataclass
class Replica:
    """What waits in order, what decodes, and the one request that is partly computed."""

    params: Params
    now_s: float = 0.0
    waiting: list[Request] = field(default_factory=list)
    decoding: list[Request] = field(default_factory=list)
    partial: Request | None = None
    preemptions: int = 0
    most_kv: int = 0  # ever, while more than one was inside the cache

    @property
    def kv(self) -> int:
        return sum(r.computed for r in self.inside())

    def inside(self) -> list[Request]:
        return self.decoding + ([self.partial] if self.partial else [])

    def run(self, until_s: float) -> None:
        while self.now_s < until_s:
            if not self.decoding and self.partial is None and not self.waiting:
                self.now_s = until_s
                return
            self.step()

    def step(self) -> None:
        params, decodes = self.params, list(self.decoding)
        budget = max(1, int(params.batched_tokens) - len(decodes))
        read = self.kv
        completed: list[Request] = []
        taken = 0
        if self.partial:
            taken = min(self.partial.left, budget)
            self.partial.left -= taken
            self.partial.computed += taken
            if self.partial.left == 0:
                completed.append(self.partial)
                self.partial = None
        promised = sum(r.computed for r in decodes) + sum(r.prompt + r.generated for r in completed)
        promised += self.partial.prompt + self.partial.generated if self.partial else 0
        while self.waiting and taken < budget and len(decodes) + len(completed) < params.sequences:
            one = self.waiting[0]
            tokens = one.prompt + one.generated
            if (decodes or completed) and promised + tokens > params.kv_tokens:
                break
            self.waiting.pop(0)
            promised += tokens
            work = max(1, math.ceil(tokens * (1.0 - params.cached_share)))
            chunk = min(work, budget - taken)
            taken += chunk
            one.computed = tokens - work + chunk
            one.left = work - chunk
            if one.left:
                self.partial = one
                break
            completed.append(one)
        self.now_s += (
            params.base_s + params.sequence_s * len(decodes) + params.prompt_token_s * taken + params.kv_token_s * read
        )
        for one in decodes:
            one.generated += 1
            one.computed += 1
        for one in completed:
            one.generated += 1
            one.computed += 1
            if one.first_s < 0.0:
                one.first_s = self.now_s + params.overhead_s
            self.decoding.append(one)
        for one in [r for r in self.decoding if r.generated >= r.output]:
            one.finish_s = self.now_s + params.overhead_s
            self.decoding.remove(one)
        self.make_room()

    def make_room(self) -> None:
        """The next step adds a token to each decode: the youngest go until there is room, the last one never."""
        while self.kv + len(self.decoding) > self.params.kv_tokens and len(self.inside()) > 1:
            one = self.partial or max(self.decoding, key=lambda r: r.arrival_s)
            if one is self.partial:
                self.partial = None
            else:
                self.decoding.remove(one)
            one.computed = one.left = 0
            self.waiting.insert(0, one)
            self.preemptions += 1
        if len(self.inside()) > 1:
            self.most_kv = max(self.most_kv, self.kv + len(self.decoding))
