"""Quantiles, degrees of freedom, and the intervals of a ratio and of a whole curve."""

import pytest
import scipy.stats
import torch

from passk_trl.interference.intervals import band_factor, pooled_degrees, ratio_interval, student_t


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.999])
@pytest.mark.parametrize("degrees", [1, 2, 3, 8, 63, 500, 3001])
def test_student_t_is_that_of_scipy(confidence, degrees):
    expected = scipy.stats.t.ppf((1 + confidence) / 2, degrees)
    assert student_t(confidence, degrees) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("confidence", "degrees", "expected"),
    [
        (0.5, 1, 1.0),
        (0.95, 1, 12.706204736),
        (0.95, 2, 4.302652730),
        (0.9, 5, 2.015048373),
        (0.99, 10, 3.169272673),
        (0.95, 30, 2.042272456),
        (0.999, 120, 3.373453766),
    ],
)
def test_student_t_is_that_of_the_tables(confidence, degrees, expected):
    assert student_t(confidence, degrees) == pytest.approx(expected, rel=1e-9)


def tensor(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def test_pooled_degrees_are_those_of_welch():
    variance, degrees = pooled_degrees(tensor(1.0, 0.0, 3.0, 0.0), 63, tensor(0.0, 2.0, 1.0, 0.0), 7)
    assert variance.tolist() == [1.0, 2.0, 4.0, 0.0]
    assert degrees.tolist() == pytest.approx([63, 7, 16 / (9 / 63 + 1 / 7), 63])
    assert pooled_degrees(tensor(1e-300), 63, tensor(1e-300), 7)[1].item() == pytest.approx(4 / (1 / 63 + 1 / 7))
    assert pooled_degrees(tensor(2.0), 5, tensor(0.0), 0)[1].item() == 5  # one sketch alone has no spread


def test_the_interval_of_a_ratio_with_a_certain_denominator_is_that_of_its_numerator():
    low, high = ratio_interval(tensor(0.5), tensor(0.04), tensor(0.0), tensor(0.0), tensor(2.0))
    assert (low.item(), high.item()) == (pytest.approx(0.1), pytest.approx(0.9))


def test_the_interval_of_a_ratio_has_no_end_where_the_denominator_may_be_0():
    low, high = ratio_interval(
        tensor(0.5, 0.5), tensor(0.04, 0.04), tensor(0.0, 0.0), tensor(0.2, 0.3), tensor(2.0, 2.0)
    )
    assert low[0] < 0.1
    assert high[0] > 0.9
    assert low[1].isnan()
    assert high[1].isnan()


def test_a_band_of_one_point_is_its_interval():
    assert band_factor(torch.eye(1).double(), 30, 0.95) == student_t(0.95, 30)
    assert band_factor(torch.zeros(3, 3).double(), 30, 0.95) == student_t(0.95, 30)
    assert band_factor(torch.ones(4, 4).double(), 30, 0.95) == pytest.approx(student_t(0.95, 30), rel=0.02)


@pytest.mark.parametrize("points", [2, 5, 20])
def test_a_band_of_independent_points_is_that_of_their_largest_error(points):
    """Normal errors whose size is known: the level of each point is the root of the level of all."""
    expected = scipy.stats.norm.ppf((1 + 0.95 ** (1 / points)) / 2)
    assert band_factor(torch.eye(points).double(), 1e6, 0.95) == pytest.approx(expected, rel=0.02)
    assert band_factor(torch.eye(points).double(), 10, 0.95) > 1.05 * expected
