"""Dynamo's predictors on worked examples, and against what pmdarima and statsmodels say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from autoscaler.simulation.policies.dynamo_predictors import AutoArima, Kalman, Predictor, fit_ar1


def predicted(values: list[float]) -> float:
    arima = AutoArima()
    for value in values:
        arima.add(value)
        arima.next()
    return arima.next()


def test_the_last_value_is_the_constant_prediction_and_leading_zeros_are_ignored() -> None:
    constant, kalman = Predictor(), Kalman()
    for value in (0.0, 0.0, 7.0, 0.0):
        constant.add(value)
        kalman.add(value)
    assert (constant.count, constant.next()) == (2, 0.0)
    assert kalman.count == 2


def test_the_filter_follows_level_and_trend_from_the_fifth_value_on() -> None:
    kalman = Kalman()
    kalman.add(10.0)
    kalman.add(20.0)
    # Predicted variance of the level 1000 + 1000 + 1 = 2001, covariance 1000: gains 2001 / 2011 and 1000 / 2011.
    assert kalman.level == pytest.approx(10.0 + 10.0 * 2001.0 / 2011.0)
    assert kalman.trend == pytest.approx(10.0 * 1000.0 / 2011.0)
    assert kalman.next() == 20.0  # the last value, with two of five points
    for value in (30.0, 40.0, 50.0):
        kalman.add(value)
    assert kalman.next() == pytest.approx(60.0, abs=0.5)  # it is on the line
    for _ in range(30):
        kalman.add(0.0)
    assert 0.0 <= kalman.next() < 0.5


# Requests in the first intervals of 180 s of azure2023-code, times 8. pmdarima 2.1.1 chooses (1, 0, 0) on five of them
# and forecasts 3837.5; statsmodels 0.15 fits means of 4389.0 and 4286.9, phi of -0.6517 and -0.6787 to five and six.
SPIKES = [851.0, 6330.0, 880.0, 7617.0, 5228.0, 2842.0]


def test_values_that_swing_around_a_mean_are_predicted_on_its_other_side() -> None:
    arima = AutoArima()
    for value in SPIKES[:5]:
        arima.add(value)
    assert arima.next() == pytest.approx(3837.5, rel=0.005)
    assert arima.has_ar
    assert fit_ar1(SPIKES[:5])[:2] == pytest.approx((4389.0, -0.6517), rel=0.005)
    assert fit_ar1(SPIKES)[:2] == pytest.approx((4286.9, -0.6787), rel=0.005)
    assert predicted(SPIKES) == pytest.approx(5267.6, rel=0.005)


def test_values_without_memory_are_predicted_by_a_mean_of_all_of_them_on_a_logarithmic_scale() -> None:
    # pmdarima chooses (0, 0, 0), then fits it to log(1 + value): an hour at 400 is still told as 331.
    calm = [150.0, 161.0, 155.0, 149.0, 158.0]
    rising = [*calm, *[400.0] * 20]
    assert predicted(calm) == pytest.approx(math.expm1(float(np.mean(np.log1p(calm)))))
    assert predicted(rising) == pytest.approx(math.expm1(float(np.mean(np.log1p(rising)))))
    assert predicted(rising) < 340.0


def test_the_order_is_chosen_on_five_values_and_never_again() -> None:
    arima = AutoArima()
    for value in [150.0, 161.0, 155.0, 149.0, 158.0]:
        arima.add(value)
    arima.next()
    assert arima.has_ar is False
    for value in SPIKES * 10:
        arima.add(value)
        arima.next()
    assert arima.has_ar is False


def test_before_five_values_the_last_is_told_and_equal_ones_stay_as_they_are() -> None:
    assert predicted([7.0, 9.0, 8.0, 3.0]) == 3.0
    assert predicted([4.0] * 9) == 4.0
    assert predicted([0.0, 0.0, 4.0]) == 4.0


def test_the_fit_is_that_of_the_exact_likelihood() -> None:
    rng = np.random.default_rng(3)
    values = [100.0]
    for _ in range(4000):
        values.append(100.0 + 0.7 * (values[-1] - 100.0) + float(rng.normal(0.0, 5.0)))
    fitted = fit_ar1(values)
    assert fitted.phi == pytest.approx(0.7, abs=0.03)
    assert fitted.mean == pytest.approx(100.0, abs=1.0)
    # -2 log likelihood by the definition: the first value is normal around the mean, each other around its forecast.
    deviation = np.array(values) - fitted.mean
    errors = deviation[1:] - fitted.phi * deviation[:-1]
    first = 1.0 - fitted.phi**2
    variance = (first * deviation[0] ** 2 + float(errors @ errors)) / len(values)
    expected = len(values) * (math.log(2.0 * math.pi * variance) + 1.0) - math.log(first)
    assert fitted.deviance == pytest.approx(expected)
