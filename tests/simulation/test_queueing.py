"""The simulated replica and fleet, made into queues whose means are known, against those means.

A replica is a queue when its parameters are extreme. Steps of constant length and `sequences=c`: c servers, each
request served for as many steps as it has tokens. Steps as long as what runs in them: one processor shared equally.
A request of many tokens makes the step, by which arrivals are rounded up, small.

Tolerances: 3.5 standard errors of the mean, by batch means (correlated waits; 40 batches), plus the step.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from autoscaler.simulation import fleet as fleets
from autoscaler.simulation.engines import Params, Requests, new_requests
from autoscaler.simulation.fleet import create, new_fleet
from autoscaler.simulation.kernel import HAS_COMPILER, compiled

pytestmark = pytest.mark.skipif(not HAS_COMPILER, reason="a million requests: needs the lab extra")

STEPS = 1000.0  # tokens of a mean request: services of 1 s in steps of 1 ms
STEP_S = 1.0 / STEPS
BATCHES = 40
ERRORS = 3.5

Draw = Callable[[np.random.Generator, int], np.ndarray]  # service times with mean 1 s


def constant(_: np.random.Generator, count: int) -> np.ndarray:
    return np.ones(count)


def exponential(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.exponential(1.0, count)


def lognormal(rng: np.random.Generator, count: int) -> np.ndarray:
    """Squared coefficient of variation 3."""
    return rng.lognormal(-np.log(4.0) / 2.0, np.sqrt(np.log(4.0)), count)


def servers(count: int) -> Params:
    return Params(STEP_S, 0.0, 0.0, 0.0, 1e15, count, 1e9)


def shared_processor() -> Params:
    # A one-token prompt costs as much as a decode: every running request adds one unit to its step.
    return Params(0.0, STEP_S, STEP_S, 0.0, 1e15, 400, 1e9)


def play(
    params: Params, rate_rps: float, draw: Draw, count: int, *, replicas: int = 1, routing: int = fleets.RANDOM
) -> Requests:
    """Poisson arrivals of one-token prompts whose outputs are the services; all that came has finished."""
    rng = np.random.default_rng(round(1000.0 * rate_rps) + replicas)  # luck of its own for every queue
    arrival_s = np.cumsum(rng.exponential(1.0 / rate_rps, count))
    requests = new_requests(arrival_s, np.ones(count), np.maximum(1.0, np.rint(STEPS * draw(rng, count))))
    fleet = new_fleet(requests, params, replicas, rng.random(count), routing)
    for _ in range(replicas):
        create(fleet, -1.0, 0.0, 0.0)
    compiled(fleets.run)(fleet, params, float(arrival_s[-1]) + 1e6)
    assert (requests.finish_s > 0.0).all()
    return requests


def waits_s(requests: Requests) -> np.ndarray:
    """From arrival until served: the first token comes one step after that."""
    return requests.first_s - requests.arrival_s - STEP_S


def sojourns_s(requests: Requests) -> np.ndarray:
    return requests.finish_s - requests.arrival_s


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """The mean without the first tenth, and its standard error."""
    kept = values[len(values) // 10 :]
    batches = kept[: len(kept) // BATCHES * BATCHES].reshape(BATCHES, -1).mean(axis=1)
    return float(batches.mean()), float(batches.std(ddof=1) / np.sqrt(BATCHES))


def agrees(values: np.ndarray, expected: float, step_s: float = STEP_S) -> None:
    mean, error = mean_and_error(values)
    assert error < 0.04 * expected, "too few requests for this test to say anything"
    assert abs(mean - expected) < ERRORS * error + step_s


def erlang_c_wait_s(count: int, rate_rps: float) -> float:
    """Mean wait of M/M/c with services of mean 1 s (Erlang 1917)."""
    term, total = 1.0, 1.0
    for k in range(1, count):
        term *= rate_rps / k
        total += term
    busy = term * rate_rps / count / (1.0 - rate_rps / count)
    return busy / (total + busy) / (count - rate_rps)


@pytest.mark.parametrize(("count", "load", "requests"), [(1, 0.7, 600_000), (4, 0.8, 600_000), (16, 0.9, 1_500_000)])
def test_sequences_are_servers_and_waits_are_those_of_erlang_c(count: int, load: float, requests: int) -> None:
    played = play(servers(count), load * count, exponential, requests)
    agrees(waits_s(played), erlang_c_wait_s(count, load * count))


@pytest.mark.parametrize(("draw", "squared_variation"), [(constant, 0.0), (exponential, 1.0), (lognormal, 3.0)])
def test_one_sequence_at_a_time_waits_as_pollaczek_and_khinchine_say(draw: Draw, squared_variation: float) -> None:
    load = 0.7
    requests = play(servers(1), load, draw, 600_000)
    agrees(waits_s(requests), load * (1.0 + squared_variation) / 2.0 / (1.0 - load))


@pytest.mark.parametrize("load", [0.5, 0.8])
@pytest.mark.parametrize("draw", [constant, exponential, lognormal])
def test_steps_as_long_as_what_runs_share_a_processor_whatever_the_distribution(draw: Draw, load: float) -> None:
    # M/G/1-PS: the mean sojourn is E[S] / (1 - load), insensitive to the distribution (Kleinrock 1976, 4.4). A newcomer
    # waits for the end of a step; on average load / (1 - load) requests are in it, one unit each.
    requests = play(shared_processor(), load, draw, 300_000)
    agrees(sojourns_s(requests), 1.0 / (1.0 - load), STEP_S / (1.0 - load))


def test_under_processor_sharing_a_request_is_slowed_down_in_proportion_to_its_length() -> None:
    load = 0.7
    requests = play(shared_processor(), load, lognormal, 300_000)
    length_s, sojourn_s = requests.output_tokens * STEP_S, sojourns_s(requests)
    for low, high in ((0.1, 0.3), (0.5, 1.0), (2.0, 5.0)):
        chosen = (length_s >= low) & (length_s < high)
        agrees(sojourn_s[chosen] / length_s[chosen], 1.0 / (1.0 - load), STEP_S / (1.0 - load) / low)


def test_requests_inside_are_arrivals_times_sojourns() -> None:
    # Little's law, and for PS the number inside at an arrival is geometric: P(N = 0) = 1 - load.
    load = 0.6
    requests = play(shared_processor(), load, lognormal, 300_000)
    ends = np.sort(requests.finish_s)
    inside = np.arange(len(ends)) - np.searchsorted(ends, requests.arrival_s)
    agrees((inside == 0).astype(float), 1.0 - load, 2.0 * STEP_S)
    agrees(inside.astype(float), load / (1.0 - load), 4.0 * STEP_S)


def test_random_routing_splits_into_queues_of_their_own() -> None:
    load, replicas = 0.8, 4
    requests = play(servers(1), load * replicas, exponential, 800_000, replicas=replicas)
    agrees(waits_s(requests), load / (1.0 - load))


def shortest_of_two_wait_s(load: float, most: int = 60) -> float:
    """Mean wait of two M/M/1 queues, each arrival to the shorter, by the stationary distribution of the Markov chain.

    States are (shorter, difference); `most` bounds both, what lies beyond has less than 1e-8.
    """
    rate = 2.0 * load
    chance = np.zeros((most, most))
    chance[0, 0] = 1.0
    every = rate + 2.0  # uniformised; services of mean 1 s
    for _ in range(6000):
        new = np.zeros_like(chance)
        arrived = chance * rate / every
        new[0:, 1] += arrived[:, 0]  # equal: one becomes the longer
        new[1:, :-1] += arrived[:-1, 1:]
        new[-1, :-1] += arrived[-1, 1:]
        served = chance / every
        new[:, :-1] += served[:, 1:]  # the longer
        new[:-1, 1:-1] += served[1:, :-2]  # the shorter
        new[:-1, -1] += served[1:, -1] + served[1:, -2]
        new[0, :] += served[0, :]  # an idle server serves nobody
        new[:-1, 1] += served[1:, 0]  # of two equal ones the other
        new[0, 0] += served[0, 0]
        chance = new
    shorter = np.arange(most)
    return float((chance.sum(axis=1) * shorter).sum())  # an arrival waits for those in the shorter queue, 1 s each


def test_least_loaded_routing_is_join_the_shortest_queue() -> None:
    load, replicas = 0.8, 2
    requests = play(servers(1), load * replicas, exponential, 800_000, replicas=replicas, routing=fleets.LEAST_LOADED)
    expected = shortest_of_two_wait_s(load)
    # Worse than one queue for both, far better than a random split.
    assert erlang_c_wait_s(2, load * replicas) < expected < 0.6 * load / (1.0 - load)
    agrees(waits_s(requests), expected)
