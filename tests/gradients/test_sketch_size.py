"""The size of sketches: the error that is asked for, at the least cost."""

import pytest
import torch

from passk_trl.gradients.sketch_size import (
    arithmetic_of_a_pass,
    cost_of_draws,
    draws_needed,
    error_ratio,
    sketch_variances,
    whole_draws,
)


def case() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.rand(shape, generator=generator, dtype=torch.float64) ** 4  # noqa: E731
    draws = torch.randint(1, 5, (30,), generator=generator).double()
    return {"sketch_variance_KL": draw(1, 30), "sampling_variance_K": draw(1) + 0.1, "draws_L": draws}


def variance_with(draws_L: torch.Tensor, sketch_variance_KL, sampling_variance_K, draws_L_before) -> torch.Tensor:
    """Of the sketch, in units of the sample's variance."""
    return (sketch_variance_KL * draws_L_before / draws_L).sum(dim=1) / sampling_variance_K


def test_the_error_is_half_of_the_samples_at_the_least_cost():
    measured, cost_L = case(), torch.linspace(1, 20, 30, dtype=torch.float64)
    needed_L = draws_needed(**measured, cost_L=cost_L)
    arguments = measured["sketch_variance_KL"], measured["sampling_variance_K"], measured["draws_L"]
    assert variance_with(needed_L, *arguments).sqrt().item() == pytest.approx(0.5)
    for seed in range(20):  # any other choice with this error costs more
        other_L = needed_L * torch.rand(30, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        other_L *= variance_with(other_L, *arguments) / 0.25
        assert cost_L @ other_L > cost_L @ needed_L


def test_the_worst_of_several_statistics_counts():
    measured = case()
    twice = {**measured, "sketch_variance_KL": torch.cat([measured["sketch_variance_KL"], torch.zeros(1, 30)])}
    twice["sampling_variance_K"] = measured["sampling_variance_K"].repeat(2)
    cost_L = torch.ones(30, dtype=torch.float64)
    assert torch.equal(draws_needed(**twice, cost_L=cost_L), draws_needed(**measured, cost_L=cost_L))


def test_draws_are_whole_and_cost_no_more_than_is_allowed():
    needed_L = torch.tensor([0.0, 0.2, 1.5, 7.0, 30.0], dtype=torch.float64)
    cost_L = torch.tensor([5.0, 1.0, 2.0, 1.0, 1.0], dtype=torch.float64)
    assert whole_draws(needed_L, cost_L, 100.0).tolist() == [1, 1, 2, 7, 30]
    for most in (40.0, 20.0, 12.0):
        found_L = whole_draws(needed_L, cost_L, most)
        assert most - 2 <= cost_L @ found_L <= most
        assert found_L.tolist() == sorted(found_L.tolist())
    assert whole_draws(needed_L, cost_L, 3.0).tolist() == [1] * 5  # one of each is the least


def test_variances_of_a_mean_of_sketches():
    products_KML = torch.randn(2, 14, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    variances_KL = sketch_variances(products_KML)
    assert torch.allclose(variances_KL, products_KML.var(dim=1) / 14)
    sampling_K = torch.tensor([1.0, 0.25], dtype=torch.float64)
    expected = max(variances_KL[0].sum(), 4 * variances_KL[1].sum()) ** 0.5
    assert error_ratio(variances_KL, sampling_K) == pytest.approx(float(expected))


def test_what_a_draw_and_a_pass_cost():
    shapes = [torch.Size([6, 4]), torch.Size([5])]
    assert cost_of_draws(shapes, columns=28).tolist() == [280, 140]
    assert arithmetic_of_a_pass(trained=24, frozen=5) == 3 * 24 + 2 * 5


def test_no_projection_takes_more_than_256_mib():
    cost_L = torch.tensor([2.0**20, 10.0], dtype=torch.float64)  # numbers of a projection of one draw
    needed_L = torch.tensor([1e3, 1e3], dtype=torch.float64)
    assert whole_draws(needed_L, cost_L, 1e12).tolist() == [2**28 / 4 / 2**20, 1000]
