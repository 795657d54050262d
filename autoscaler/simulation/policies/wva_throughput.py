"""WVA's throughput analyzer: decode tokens per second, from a line of ITL over KV use.

Source: llm-d WVA v0.9.0, internal/engines/analyzers/throughput; the loop and the HPA are those of `wva`, V2 is that
of `wva_capacity`. Pairs of KV use (0.15 to 0.85) and mean ITL of each replica, 20 of at most 30 minutes, are fitted by
a line once there are 10 with a spread of 0.30, and forgotten when prompt or output sizes shift by 20 %; until then the
line starts at 6 ms, or where the last fit did, and is drawn through what the replicas show now. A replica supplies what
0.80 of its KV cache makes at the ITL of 0.80; demand is arrivals times the mean output, and half of what is held per
that ITL. With V2: up if either wants more, down if both can spare.

The 6 ms are those of a small model: where the truth is higher, as for 70B (17 ms), replicas that hold little look
slow, so that a fleet that grows supplies less each.

Ours: means and rates are over one minute, sizes over five; its check of the line against tokens generated, which came
later, is left out. The settings are the share of supply above which it grows, 0.85 as published, for both analyzers;
those but the default are as quick as those of `wva`.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from autoscaler.simulation.engines import ITL_COUNT, ITL_S, Floats, Ints
from autoscaler.simulation.policies.peer import Deployment, Peer, Setting
from autoscaler.simulation.policies.prometheus import RATE_WINDOW_S, hit_share, mean_output_tokens, mean_prompt_tokens
from autoscaler.simulation.policies.rates import Recent
from autoscaler.simulation.policies.wva import matched, pace
from autoscaler.simulation.policies.wva_capacity import MORE, WvaV2, combined
from autoscaler.simulation.view import View

SATURATED_KV = 0.80
KV_RANGE = (0.15, 0.85)
MOST_PAIRS, LEAST_PAIRS, PAIR_AGE_S = 20, 10, 1800.0
LEAST_SPREAD = 0.30
SHIFT = 0.20  # of a mean size
BASE_ITL_S = 0.006
DRAIN = 2.0  # ITLs at saturation in which a held request is to be drained
SHARES = (0.45, 0.6, 0.7, MORE, 1.0, 1.2)


class Line:
    """ITL over KV use, as far as it was seen; seconds at KV use k are `slope * k + base_s`."""

    def __init__(self) -> None:
        self.pairs: deque[tuple[float, float, float]] = deque(maxlen=MOST_PAIRS)  # when, KV use, ITL
        self.base_s = BASE_ITL_S
        self.shape: tuple[float, float] | None = None

    def observe(self, at_s: float, kv_use: Floats, itl_s: Floats, shape: tuple[float, float]) -> None:
        """Take the replicas' pairs; a shift of sizes clears what was seen."""
        if self.shape is None or any(abs(new / old - 1.0) > SHIFT for new, old in zip(shape, self.shape, strict=True)):
            self.shape = shape
            self.pairs.clear()
        usable = (kv_use >= KV_RANGE[0]) & (kv_use <= KV_RANGE[1])
        self.pairs.extend((at_s, k, t) for k, t in zip(kv_use[usable].tolist(), itl_s[usable].tolist(), strict=True))
        while self.pairs and self.pairs[0][0] < at_s - PAIR_AGE_S:
            self.pairs.popleft()

    def saturated_s(self, kv_use: Floats, itl_s: Floats) -> float | None:
        """The ITL at saturation; None where nothing can be drawn."""
        if len(self.pairs) >= LEAST_PAIRS:
            table = np.array(self.pairs)[:, 1:]
            if np.ptp(table[:, 0]) >= LEAST_SPREAD:
                slope, base_s = np.polyfit(table[:, 0], table[:, 1], 1)
                if slope > 0.0 and slope * SATURATED_KV + base_s > 0.0:
                    self.base_s = float(base_s)
                    return float(slope * SATURATED_KV + base_s)
        squares = float((kv_use**2).sum())
        slope_s = float(((itl_s - self.base_s) * kv_use).sum()) / squares if squares > 0.0 else 0.0
        saturated_s = slope_s * SATURATED_KV + self.base_s
        return saturated_s if slope_s > 0.0 and saturated_s > 0.0 else None


class WvaThroughput(WvaV2):
    """V2 and the throughput analyzer together."""

    def __init__(self, deployment: Deployment, more: float = MORE, *, is_fast: bool = False) -> None:
        super().__init__(deployment, more, is_fast=is_fast)
        self.line = Line()
        self.rates = Recent(RATE_WINDOW_S)
        self.pages: deque[tuple[float, Ints, Floats, Floats]] = deque()

    def decide(self, view: View) -> int:
        """Up if either requires it, down if both can spare; V2 alone where no line can be drawn."""
        analyses = [self.analysis(view)]
        throughput = self.throughput(view)
        if throughput is not None:
            analyses.append(throughput)
        return combined(view, analyses)

    def throughput(self, view: View) -> tuple[float, float] | None:
        """Replicas required and to spare by decode tokens per second."""
        kv_use, itl_s = self._latencies(view)
        prompt, output = mean_prompt_tokens(self.sizes), mean_output_tokens(self.sizes)
        if prompt <= 1.0 or output <= 1.0:
            return None
        self.line.observe(view.at_s, kv_use, itl_s, (prompt, output))
        saturated_s = self.line.saturated_s(kv_use, itl_s)
        if saturated_s is None:
            return None
        tokens = prompt * (1.0 - hit_share(self.sizes)) + output / 2.0  # KV cache that a request takes
        supply = SATURATED_KV * view.kv_tokens / tokens / saturated_s
        demand = self.rates.arrivals_rps() * output + view.held / (DRAIN * saturated_s)
        return self.shares(view, demand, supply)

    def _see(self, view: View) -> None:
        super()._see(view)
        self.rates.add(view)
        if self.pages and view.at_s <= self.pages[-1][0]:
            return
        self.pages.append((view.at_s, view.serial, view.floats[:, ITL_S], view.floats[:, ITL_COUNT]))
        while self.pages[0][0] < view.at_s - RATE_WINDOW_S:
            self.pages.popleft()

    def _latencies(self, view: View) -> tuple[Floats, Floats]:
        """KV use now and mean ITL of the last minute, of the replicas that made tokens in it."""
        _, serial, old_s, old_count = self.pages[0]
        here, there = matched(view, serial)
        count = view.floats[here, ITL_COUNT] - old_count[there]
        made = (count > 0.0) & (view.kv_usage[here] > 0.0)
        seconds = view.floats[here, ITL_S] - old_s[there]
        return view.kv_usage[here][made], seconds[made] / count[made]


def _setting(more: float) -> Setting:
    is_default = more == MORE

    def build(deployment: Deployment) -> WvaThroughput:
        return WvaThroughput(deployment, more, is_fast=not is_default)

    return Setting(f"more={more:g} {pace(is_default=is_default)}", build, default=is_default)


_SOURCE = "llm-d WVA v0.9.0, internal/engines/analyzers/throughput"
PEERS: tuple[Peer, ...] = (Peer("wva-throughput", _SOURCE, tuple(_setting(more) for more in SHARES)),)
