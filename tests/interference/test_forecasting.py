"""The forecast is the mean of a prompt-wise product: its number, its error bar, its refusals."""

import pytest
import torch

from passk_trl.estimators import prompt_weight, unbiased_prompt_weight
from passk_trl.interference.forecasting import Forecast, forecast


def test_one_step_is_weighed_like_the_gradients():
    products = torch.tensor([0.5, -0.25, 1.0])
    found = forecast(products, [1, 2, 0], 4, [1, 2, 3])
    for k, change in zip((1, 2, 3), found.change.tolist(), strict=True):
        weights = unbiased_prompt_weight(4, torch.tensor([1, 2, 0]), k)
        assert change == pytest.approx(float((weights * products.double()).mean()))
    spread = products.double().std() / 3**0.5
    assert float(found.change_se[0]) == pytest.approx(float(spread))
    assert float(found.margin[0]) == pytest.approx(4.302653 * float(spread), rel=1e-5)  # Student's t, 2 degrees


def test_it_is_unbiased_and_its_interval_covers():
    """A population of two kinds of prompts with one parameter each, whose truth is known."""
    generator = torch.Generator().manual_seed(0)
    p_K, step_K, n, N, draws, k = torch.tensor([0.2, 0.7]).double(), torch.tensor([0.3, -0.1]).double(), 8, 64, 2000, 4
    truth = float((prompt_weight(p_K, k) * p_K * (1 - p_K) * step_K).mean())  # ∇p = p(1 − p) for a logit
    kind = torch.randint(2, (draws, N), generator=generator)
    correct = torch.binomial(torch.full((draws, N), float(n)).double(), p_K[kind], generator=generator)
    # For a logit the centred score of c correct rollouts is c(n − c)/(n(n − 1)), in which p drops out.
    products = correct * (n - correct) / (n * (n - 1)) * step_K[kind]
    found = [forecast(row, counts.long(), n, [k]) for row, counts in zip(products, correct, strict=True)]
    changes = torch.cat([each.change for each in found])
    margins = torch.cat([each.margin for each in found])
    assert abs(changes.mean() - truth) < 4 * changes.std() / draws**0.5
    assert 0.935 < ((changes - truth).abs() < margins).double().mean() < 0.965


def test_the_sketches_own_spread_widens_the_interval():
    products = torch.tensor([0.5, -0.25, 1.0, 0.1]).double()
    exact = forecast(products, [1] * 4, 4, [1, 2])
    sketched = forecast(products + torch.tensor([[0.1], [-0.1]]), [1] * 4, 4, [1, 2])
    assert torch.allclose(exact.change, sketched.change)
    extra = sketched.change_se.square() - exact.change_se.square()
    weights = unbiased_prompt_weight(4, 1, torch.tensor([1.0, 2.0]))
    assert torch.allclose(extra, (0.1 * torch.as_tensor(weights)).square())  # variance of ±0.1 over two sketches


def test_sampling_weights_undo_how_the_prompts_were_drawn():
    products, correct = torch.tensor([0.5, -0.25, 1.0, 0.5]), [1, 2, 0, 1]
    plain = forecast(products, correct, 4, [1, 2])  # the first prompt twice
    weighted = forecast(products[:3], correct[:3], 4, [1, 2], sampling_weights=torch.tensor([1.5, 0.75, 0.75]))
    assert torch.allclose(plain.change, weighted.change)


def test_it_survives_being_saved():
    found = forecast(torch.tensor([0.5, -0.25, 1.0]), [1, 2, 0], 4, [1, 2, 3])
    restored = Forecast.from_dict(found.to_dict())
    assert restored.to_dict() == found.to_dict()
    assert restored.change.dtype == torch.float64


def test_refusals():
    with pytest.raises(ValueError, match="1 prompts, too few for an error bar"):
        forecast(torch.tensor([0.5]), [1], 4, [1])
    with pytest.raises(ValueError, match="`num_correct` has 2 prompts, `products` 3"):
        forecast(torch.tensor([0.5, 1.0, 2.0]), [1, 2], 4, [1])


def test_prompts_without_a_gradient_tell_nothing_and_a_step_of_length_0_changes_nothing():
    nothing = forecast(torch.zeros(4), [0, 0, 4, 0], 4, [1, 2])
    still = forecast(torch.zeros(4), [1, 0, 4, 3], 4, [1, 2])
    assert nothing.change.tolist() == still.change.tolist() == still.margin.tolist() == [0, 0]
    assert nothing.change_se.isnan().all()
    assert nothing.margin.isnan().all()
    no_weight = forecast(torch.ones(4), [3] * 4, 4, [1, 3])
    assert no_weight.margin.isnan().tolist() == [False, True]
