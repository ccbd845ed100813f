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
