"""How large sketches must be for their error to be small beside that of the sample of prompts."""

import torch
from torch import Tensor


# The variance of the sketch, in units of that of the sample: half of its standard error.
_VARIANCE_RATIO = 1 / 4

# The most that the projections of one parameter may take.
_PROJECTION_BYTES = 2**28


def draws_needed(sketch_variance_KL: Tensor, sampling_variance_K: Tensor, draws_L: Tensor, cost_L: Tensor) -> Tensor:
    """
    The draws with which the sketch's standard error is half of the sample's, in each of K statistics, at least cost.

    The variance of a parameter's sketch is a/d with d draws, in units of the sample's. Σ a/d = ρ is met at the least
    Σ c·d by d = √(a/c) Σ √(a·c)/ρ, after Cauchy and Schwarz.

    Args:
        sketch_variance_KL (`torch.Tensor`):
            Each parameter's part of the variance of the sketches.
        sampling_variance_K (`torch.Tensor`):
            The variance of the statistics over prompts.
        draws_L (`torch.Tensor`):
            The draws with which this was measured.
        cost_L (`torch.Tensor`):
            What a draw costs.

    Returns:
        `torch.Tensor`: how many each needs, `(L,)` in float64, from 0 on and not whole.
    """
    variance_L = (sketch_variance_KL / sampling_variance_K[:, None]).amax(dim=0) * draws_L
    return (variance_L / cost_L).sqrt() * (variance_L * cost_L).sqrt().sum() / _VARIANCE_RATIO


def whole_draws(needed_L: Tensor, cost_L: Tensor, most: float) -> Tensor:
    """
    Whole draws, at least one of each, and no more than whose projections take 256 MiB. If they cost more than `most`,
    all are lowered by one factor; but one of each is kept, whatever it costs.
    """
    needed_L = torch.minimum(needed_L, (_PROJECTION_BYTES / 4 / cost_L).floor())  # a projection has as many numbers
    if cost_L @ _whole(needed_L) <= most:
        return _whole(needed_L)
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if cost_L @ _whole(middle * needed_L) <= most else (low, middle)
    return _whole(low * needed_L)


def _whole(draws_L: Tensor) -> Tensor:
    return draws_L.ceil().clamp(min=1)


def error_ratio(sketch_variance_KL: Tensor, sampling_variance_K: Tensor) -> float:
    """The sketch's standard error in units of the sample's, the largest of K statistics."""
    return float((sketch_variance_KL.sum(dim=1) / sampling_variance_K).max().sqrt())


def sketch_variances(products_KML: Tensor) -> Tensor:
    """Each parameter's part of the variance of a mean of M sketches, from its part of each of them, `(K, L)`."""
    return products_KML.var(dim=1) / products_KML.size(1)


def cost_of_draws(shapes: list[torch.Size], columns: int) -> Tensor:
    """Multiplications of a draw for each token, `(L,)`, about: both sides of a matrix times so many columns."""
    return torch.tensor([float(sum(shape) * columns) for shape in shapes], dtype=torch.float64)


def arithmetic_of_a_pass(trained: int, frozen: int) -> float:
    """Multiplications of a forward and a backward pass through so many parameters, for each token."""
    return 3.0 * trained + 2.0 * frozen  # a frozen one has no gradient of its own
