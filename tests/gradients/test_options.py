"""The options of the gradients: what is unknown is refused."""

import pytest

from passk_trl.gradients import gradient_rows, gram_matrix
from policies import qwen, rollouts


def test_unknown_method_is_refused():
    with pytest.raises(ValueError, match="method='magic' is unknown; set 'activations' or 'parameters'"):
        gram_matrix(qwen(), rollouts(), 0, method="magic")


def test_unknown_store_is_refused():
    for function in (gram_matrix, gradient_rows):
        with pytest.raises(ValueError, match="store='magic' is unknown; set 'auto', 'exact' or 'sketch'"):
            function(qwen(), rollouts(), 0, store="magic")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size=0 is not positive; set 1 or more, or None"),
        ({"batch_size": -1}, "batch_size=-1 is not positive"),
        ({"temperature": 0}, "temperature=0 is not positive; set that of sampling"),
        ({"temperature": float("nan")}, "temperature=nan is not positive"),
        ({"pad_token_id": None}, "pad_token_id=None; set the id of a token"),
        ({"parameters": "("}, r"parameters='\(' is not a regular expression: .*; set one, or 'all'"),
    ],
)
def test_values_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        gram_matrix(qwen(), rollouts(), **{"pad_token_id": 0, **options})
