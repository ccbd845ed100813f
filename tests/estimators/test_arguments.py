"""What is accepted and what is refused: each refusal names the argument, the value and what is allowed."""

import inspect
import math

import pytest
import torch

from passk_trl import estimators
from passk_trl.estimators import (
    ESTIMATORS,
    UNBIASED_ESTIMATORS,
    allowed_k,
    max_at_k,
    pass_at_k,
    pass_hat_k,
    passk_advantages,
    prompt_weight,
    unbiased_prompt_weight,
)
from reward_groups import NAN, ZOO


def test_plain_numbers_give_a_float_and_tensors_broadcast():
    assert pass_at_k(4, 1, 2) == pytest.approx(0.5)
    assert all(isinstance(value, float) for value in (pass_at_k(4, 1, 2), prompt_weight(0.5, 2)))
    assert isinstance(unbiased_prompt_weight(4, 1, 2), float)
    assert pass_hat_k(4, 3, 2) == pytest.approx(0.5)
    assert isinstance(pass_hat_k(4, 1, 2), float)
    assert str(pass_at_k(4, 0, 2)) == "0.0"  # not -0.0
    num_correct, ks = torch.arange(5), torch.tensor([[1], [2], [3]], dtype=torch.int32)
    for function in (pass_at_k, pass_hat_k, unbiased_prompt_weight):
        table = function(4, num_correct, ks)
        assert table.dtype == torch.float64
        expected = [[function(4, c, k) for c in range(5)] for k in range(1, 4)]
        assert torch.equal(table, torch.tensor(expected, dtype=torch.float64))


GROUP = torch.tensor(ZOO["real"])
REFUSED = [
    (pass_at_k, (-1, 0, 1), "`num_samples` must be an integer of at least 0, but got -1."),
    (pass_at_k, (8.5, 1, 1), "`num_samples` must be an integer of at least 0, but got 8.5."),
    (pass_at_k, (8, 9, 1), "`num_correct` must be an integer from 0 to 8 (num_samples), but got 9."),
    (pass_at_k, (8, -1, 1), "`num_correct` must be an integer from 0 to 8 (num_samples), but got -1."),
    (pass_at_k, (8, NAN, 1), "`num_correct` must be an integer from 0 to 8 (num_samples), but got nan."),
    (pass_at_k, (8, 2, 0), "`k` must be an integer of at least 1, but got 0."),
    (pass_at_k, (8, 2, math.inf), "`k` must be an integer of at least 1, but got inf."),
    (pass_at_k, (torch.ones(2), torch.ones(3), 1), "`num_samples` (2,), `num_correct` (3,), `k` ()."),
    (pass_at_k, ("8", 2, 1), "`num_samples` must be real numbers, but got '8'."),
    (pass_at_k, (8, torch.tensor(1j), 1), "`num_correct` must be real numbers, but got dtype torch.complex64."),
    (pass_hat_k, (8, 9, 1), "`num_correct` must be an integer from 0 to 8 (num_samples), but got 9."),
    (pass_hat_k, (8, 2, 1.5), "`k` must be an integer of at least 1, but got 1.5."),
    (prompt_weight, (1.5, 2), "`p` must be a number from 0 to 1, but got 1.5."),
    (prompt_weight, (NAN, 2), "`p` must be a number from 0 to 1, but got nan."),
    (prompt_weight, (0.5, 0.5), "`k` must be a number of at least 1, but got 0.5."),
    (prompt_weight, (0.5, math.inf), "`k` must be a number of at least 1, but got inf."),
    (unbiased_prompt_weight, (1, 1, 1), "`num_samples` must be an integer of at least 2, but got 1."),
    (unbiased_prompt_weight, (8, 0.5, 2), "`num_correct` must be an integer from 0 to 8 (num_samples), but got 0.5."),
    (unbiased_prompt_weight, (8, 2, 7.5), "`k` must be a number from 1 to 7 (num_samples - 1), but got 7.5."),
    (max_at_k, (GROUP, 7), "`k` must be an integer from 1 to 6 for groups of 6 rollouts, but got 7."),
    (max_at_k, (GROUP, 2.0), "`k` must be an integer from 1 to 6 for groups of 6 rollouts, but got 2.0."),
    (max_at_k, (torch.tensor(1.0), 1), "`rewards` must have shape [..., n], n at least 1, but got shape ()."),
    (max_at_k, (torch.tensor([1.0, -math.inf]), 1), "`rewards` must be finite, or NaN for a rollout"),
    (passk_advantages, (GROUP, 0), "`k` must be an integer from 1 to 6 for groups of 6 rollouts with"),
    (passk_advantages, (GROUP, 7), "with `estimator='weighted_loo'`, but got 7."),
    (passk_advantages, (GROUP, "2"), "but got '2'."),
    (passk_advantages, (GROUP, torch.tensor([1, 2])), "but got tensor([1, 2])."),
    (
        passk_advantages,
        (GROUP, 6, "loo"),
        "from 1 to 5 for groups of 6 rollouts with `estimator='loo'`, but got 6; set",
    ),
    (passk_advantages, (GROUP, 6, "analytic"), "but got 6; set `estimator='weighted_loo'` to use that k."),
    (passk_advantages, (GROUP, 1, "loo_minus_one"), "`k` must be an integer from 2 to 6"),
    (
        passk_advantages,
        (GROUP, 4, "grpo"),
        "`k` must be 1 for groups of 6 rollouts with `estimator='grpo'`, but got 4;",
    ),
    (passk_advantages, (GROUP[:1], 1, "loo"), "`estimator='loo'` needs at least 2 rollouts on the last axis"),
    (
        passk_advantages,
        (GROUP, 2, "rloo"),
        "`estimator` must be one of 'none', 'loo', 'loo_minus_one', 'weighted_loo',",
    ),
    (
        passk_advantages,
        (torch.ones(3, 0), 1),
        "`rewards` must have shape [..., n], n at least 1, but got shape (3, 0).",
    ),
    (passk_advantages, (torch.tensor([1.0, math.inf]), 1), "that could not be scored, but got inf."),
    (passk_advantages, (torch.tensor([1j, 2j]), 1), "`rewards` must be real numbers, but got dtype torch.complex64."),
    (allowed_k, ("rloo", 8), "but got 'rloo'."),
]


@pytest.mark.parametrize(("function", "arguments", "message"), REFUSED)
def test_out_of_range_is_refused_in_words(function, arguments, message):
    with pytest.raises(ValueError) as refusal:
        function(*arguments)
    assert message in str(refusal.value)


def test_public_names_and_signatures():
    signatures = {
        "pass_at_k": "num_samples, num_correct, k",
        "pass_hat_k": "num_samples, num_correct, k",
        "max_at_k": "rewards, k",
        "prompt_weight": "p, k",
        "unbiased_prompt_weight": "num_samples, num_correct, k",
        "passk_advantages": "rewards, k, estimator",
        "allowed_k": "estimator, num_rollouts",
        "weighted_advantages": "rewards, weight_from_others, fewest",
    }
    for name, expected in signatures.items():
        assert ", ".join(inspect.signature(getattr(estimators, name)).parameters) == expected
    assert inspect.signature(passk_advantages).parameters["estimator"].default == "weighted_loo"
    assert set(estimators.__all__) == {*signatures, "ESTIMATORS", "UNBIASED_ESTIMATORS"}
    assert ESTIMATORS == ("none", "loo", "loo_minus_one", "weighted_loo", "analytic", "grpo")
    assert UNBIASED_ESTIMATORS == ("none", "loo", "loo_minus_one", "weighted_loo")
