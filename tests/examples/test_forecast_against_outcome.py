"""The forecast's sign agrees with the change of pass@1, which is known exactly for the quickstart's policy."""

import pytest

import forecast_against_outcome


@pytest.mark.slow
def test_the_forecasts_sign_is_that_of_the_exact_change():
    falling, rising = forecast_against_outcome.run(8, steps=15), forecast_against_outcome.run(1, steps=15)
    certain = [(forecast, change) for forecast, margin, change in falling + rising if abs(forecast) > margin]
    assert len(certain) > 20
    assert min(change for _, change in certain) < 0 < max(change for _, change in certain)
    assert sum(forecast * change > 0 for forecast, change in certain) >= 0.95 * len(certain)
