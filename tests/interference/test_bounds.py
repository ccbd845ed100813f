"""The bound k* against hand-worked figures and against the inner product beyond it."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from passk_trl.estimators import prompt_weight
from passk_trl.interference import k_star_bound


def test_k_star_bound_in_a_world_with_a_spread_of_types():
    success = torch.tensor([0.05, 0.1, 0.5, 0.6, 0.8]).double()
    agreement = torch.tensor([-0.2, -0.1, 0.0, 0.3, 0.5]).double()
    share = torch.tensor([0.1, 0.2, 0.1, 0.3, 0.3]).double()

    def by_hand(bound):
        ratio_1 = math.log((1 - 0.05) / (1 - 0.6))  # m = .2, q = .1
        ratio_2 = math.log((1 - 0.1) / (1 - 0.6))  # m = .1, q = .3
        return 1 + min(math.log(0.9 * bound / (0.1 * 0.2)) / ratio_1, math.log(0.7 * bound / (0.3 * 0.1)) / ratio_2)

    assert k_star_bound(agreement, success, None, share) == pytest.approx(by_hand(0.5))
    assert k_star_bound(agreement, success, 4.0, share) == pytest.approx(by_hand(4.0))
    for k in (by_hand(0.5) + 1e-6, 8, 64):
        assert (share * prompt_weight(success, k) * agreement).sum() < 0


def test_k_star_bound_without_its_premises():
    a, p = torch.tensor([-1.0, 1.0]), torch.tensor([0.5, 0.2])
    assert k_star_bound(a, p) is None  # the prompt that disagrees is the easier one
    assert k_star_bound(a.abs(), p) is None  # none disagrees
    assert k_star_bound(-a.abs(), p) == 1.0  # all do
    assert k_star_bound(torch.tensor([-1.0, 1.0]), torch.tensor([0.5, 1.0])) == 1.0  # weight 0 on the other from k > 1


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.tuples(st.integers(-20, 20), st.integers(0, 32), st.integers(0, 3)), min_size=2, max_size=8
    ),
    st.floats(1.0, 50.0),
)  # fmt: skip
def test_beyond_k_star_the_inner_product_is_negative(prompts, slack):
    a, c, s = (torch.tensor(column, dtype=torch.float64) for column in zip(*prompts, strict=True))
    tight = k_star_bound(a, c / 32, None, s)
    paper = k_star_bound(a, c / 32, a.abs().max().item() * slack, s)
    assert (tight is None) == (paper is None)
    if tight is not None:
        assert tight <= paper
        for k in (tight * (1 + 1e-6), tight + 1, 2 * tight + 10):
            assert (s * prompt_weight(c / 32, k) * a).sum() < 0
