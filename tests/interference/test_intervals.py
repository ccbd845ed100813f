"""The quantile of the intervals."""

import pytest
import scipy.stats

from passk_trl.interference.intervals import student_t


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
