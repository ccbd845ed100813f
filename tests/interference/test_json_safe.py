"""What JSON does not know is left out, and read back as NaN."""

import json
import math

import torch

from passk_trl.interference import forecast
from passk_trl.interference.forecasting import Forecast
from passk_trl.interference.json_safe import json_safe, tensor_from


def test_content_of_any_depth_becomes_json():
    content = {
        "a": torch.tensor([1.0, math.nan, math.inf]),
        "b": (2, [-math.inf, "x"]),
        "c": {"d": math.nan},
        "e": None,
    }
    safe = {"a": [1.0, None, None], "b": [2, [None, "x"]], "c": {"d": None}, "e": None}
    assert json_safe(content) == safe
    assert json.dumps(json_safe(content), allow_nan=False)
    assert tensor_from(safe["a"]).isnan().tolist() == [False, True, True]


def test_a_forecast_that_is_not_finite_is_json_too():
    found = forecast(torch.tensor([math.inf, 1.0, 2.0]), [1, 2, 3], 4, [1, 2])
    content = json.dumps(found.to_dict(), allow_nan=False)
    restored = Forecast.from_dict(json.loads(content))
    assert restored.change.isnan().all()
    assert restored.ks.tolist() == [1, 2]
