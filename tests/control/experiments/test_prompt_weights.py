import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from passk_trl.control.experiments.prompt_weights import (
    agreement_with_others,
    gradient_weights,
    nearest_weights,
    smallest_multiplier,
)
from situations import rewards


def vectors(low: float, size: int = 6) -> st.SearchStrategy:
    return st.lists(st.floats(low, 3, allow_subnormal=False), min_size=size, max_size=size)


@settings(max_examples=60, deadline=None)
@given(vectors(0.0), vectors(-3.0))
@example([0.0, 0.0, 1.0, 0.0, 0.0, 1.0], [0.0, 0.0, -1.0, 0.0, 0.0, 1e-4])  # μ is far below where the search begins
@example([0.0, 0.0, 1.0, 0.0, 0.0, 1.0], [0.0, 1e-6, -1.0, 0.0, 0.0, 1e-4])
@example([0.0, 2.0, 0.0, 0.0, 3.0, 0.0], [0.0001, -0.005138034895636245, 0.0, 0.0, -1.0, 0.0])  # the solver misses
def test_the_nearest_weights_are_what_a_solver_of_quadratic_programmes_finds(wanted, agreement):
    wanted, agreement = torch.tensor(wanted).double(), torch.tensor(agreement).double()
    found = nearest_weights(wanted, agreement)
    assert (found >= 0).all()
    if agreement.max() <= 1e-6:  # no weights meet the constraint
        return
    if wanted @ agreement >= 0:
        assert torch.equal(found, wanted)
        return
    assert found @ agreement >= -1e-8
    solved = minimize(
        lambda w: ((w - wanted.numpy()) ** 2).sum(),
        wanted.numpy(),
        jac=lambda w: 2 * (w - wanted.numpy()),
        bounds=[(0, None)] * 6,
        constraints={"type": "ineq", "fun": lambda w: w @ agreement.numpy()},
        method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 500},
    )
    # The solver may leave the constraint by a little. By duality, weights that miss it by ε are nearer by 2με at most.
    missed = max(0.0, -float(solved.x @ agreement.numpy()))
    distance = float(((found - wanted) ** 2).sum())
    assert distance <= solved.fun + 2 * smallest_multiplier(wanted, agreement) * missed + 1e-6


def test_each_prompt_has_the_attempts_that_its_scored_rollouts_allow():
    batch = rewards([2, 1])
    batch[1, 2:] = torch.nan  # two scored, one right
    weights = gradient_weights(batch, 8)
    assert weights[0] == gradient_weights(batch[:1], 8)[0]
    assert weights[1] == 1  # of a single attempt


def test_agreement_leaves_a_prompts_own_term_out():
    gram = torch.tensor([[100.0, 1.0, 2.0], [1.0, 100.0, -3.0], [2.0, -3.0, 100.0]])
    assert agreement_with_others(gram).tolist() == [1.5, -1.0, -0.5]
