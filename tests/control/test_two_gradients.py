import pytest
import torch

from passk_trl.control.two_gradients import TwoGradients, nearest_gram, two_gradients
from situations import report


def test_a_k_that_was_not_measured_is_refused():
    with pytest.raises(ValueError, match="did not measure pass_at_k=9"):
        two_gradients([report(True)], 9)


def test_estimates_that_form_a_gram_matrix_are_kept():
    gram = nearest_gram(TwoGradients(-0.5, 1.0, 2.0, 1.0))
    torch.testing.assert_close(gram, torch.tensor([[1.0, -0.5], [-0.5, 2.0]], dtype=torch.float64))


def test_estimates_that_form_none_become_the_nearest_one():
    gram = nearest_gram(TwoGradients(-2.0, 1.0, 1.0, 1.0))
    torch.testing.assert_close(gram, torch.tensor([[1.5, -1.5], [-1.5, 1.5]], dtype=torch.float64))
