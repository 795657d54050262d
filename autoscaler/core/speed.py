"""How long an engine step takes, learned from pages: base + per sequence + per prompt token + per KV token.

Law: a Bayesian regression of four factors on the prior's four coefficients; what pages never vary stays as believed.
The measured side is the mean time between tokens, which is the mean step weighted by the sequences in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from autoscaler.core.priors import StepModel

NOISE = 0.06  # of one tick's mean step, as a share: sampling at its two ends
DRIFT_PER_S = 0.10**2 / 3600.0  # variance a factor gains: a tenth in an hour
FACTOR_BOUNDS = (0.25, 4.0)
GATE = 6.0  # squared standard deviations: a tick further off counts as that far off


def _start(spread: float) -> list[list[float]]:
    return [[spread * spread if i == j else 0.0 for j in range(4)] for i in range(4)]


@dataclass(slots=True)
class Speed:
    """Factors on the prior's base, sequence, prompt-token and KV-token times, and how sure they are."""

    factors: list[float] = field(default_factory=lambda: [1.0, 1.0, 1.0, 1.0])
    covariance: list[list[float]] = field(default_factory=list)

    def model(self, prior: StepModel) -> StepModel:
        """The step model as learned."""
        a, b, g, c = self.factors
        return StepModel(prior.base_s * a, prior.sequence_s * b, prior.prompt_token_s * g, prior.kv_token_s * c)

    def learn(
        self,
        prior: StepModel,
        spread: float,
        step_s: float,
        sequences: float,
        prompt_tokens: float,
        kv_tokens: float,
        tick_s: float,
    ) -> None:
        """Take one tick: a mean step, and the sequences, prompt tokens and KV tokens of such a step."""
        if not self.covariance:
            self.covariance = _start(spread)
        parts = (
            prior.base_s,
            prior.sequence_s * sequences,
            prior.prompt_token_s * prompt_tokens,
            prior.kv_token_s * kv_tokens,
        )
        x = [part / step_s for part in parts]
        p = self.covariance
        for i in range(4):
            p[i][i] = min(spread * spread, p[i][i] + DRIFT_PER_S * tick_s)
        px = [sum(p[i][j] * x[j] for j in range(4)) for i in range(4)]
        expected = sum(self.factors[i] * x[i] for i in range(4))
        variance = sum(x[i] * px[i] for i in range(4)) + NOISE * NOISE
        error = 1.0 - expected
        if error * error > GATE * variance:
            error *= (GATE * variance / (error * error)) ** 0.5
        low, high = FACTOR_BOUNDS
        gain = [value / variance for value in px]
        self.factors = [min(high, max(low, self.factors[i] + gain[i] * error)) for i in range(4)]
        self.covariance = [[p[i][j] - gain[i] * px[j] for j in range(4)] for i in range(4)]
