"""How much an optimiser's step changes pass@k, to first order, from its inner products with the prompts' gradients."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from passk_trl.estimators import unbiased_prompt_weight

from .intervals import pooled_degrees, student_ts
from .json_safe import json_safe, tensor_from


@dataclass(frozen=True, eq=False)
class Forecast:
    """
    What [`forecast`] found, on the CPU in float64; K is the number of k.

    Attributes:
        ks (`Tensor[K]`): the k.
        change (`Tensor[K]`): the estimate of ⟨∇J_k, Δθ⟩, by how much the step raises pass@k: 0.01 is one percentage
            point.
        change_se (`Tensor[K]`): its standard error over the probe prompts; a sketch's own error is included. NaN where
            no prompt has a gradient and a weight at this k: the probe then tells nothing, and `change` is 0.
        margin (`Tensor[K]`): half the width of its interval; NaN with its error.
    """

    ks: Tensor
    change: Tensor
    change_se: Tensor
    margin: Tensor

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON-safe lists; NaN and infinity become `None`."""
        return json_safe(vars(self))

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "Forecast":
        """The forecast that [`to_dict`] wrote; NaN in the place of `None`."""
        return cls(**{name: tensor_from(values) for name, values in content.items()})


def forecast(
    products: Tensor,
    num_correct: Tensor | Sequence[int],
    num_samples: int | Tensor | Sequence[int],
    ks: Tensor | Sequence[float],
    confidence: float = 0.95,
    sampling_weights: Tensor | None = None,
) -> Forecast:
    r"""
    By how much a step Δθ of the weights changes pass@k, to first order: ⟨∇J_k, Δθ⟩.

    With ĝ_i the success gradient of probe prompt i, estimated from its rollouts,

        ⟨∇J_k, Δθ⟩ ≈ 1/N Σ_i s_i ω_k(n_i, c_i) ⟨ĝ_i, Δθ⟩,

    which is unbiased if Δθ does not depend on the probe's rollouts, because ω_k ĝ_i is unbiased for the prompt's
    pass@k gradient. The prompts are independent, so the error bar is that of a mean, with Student's t. A sketch's own
    error is estimated from the spread of its M estimates, and added; the degrees of freedom are those of both
    together. If the gradients were measured after the step, they are those at its end; the difference is of second
    order in Δθ.

    Args:
        products (`Tensor[N]` or `Tensor[M, N]`):
            ⟨ĝ_i, Δθ⟩, or M independent unbiased estimates of it.
        num_correct (`Tensor[N]` or sequence of `int`):
            Correct rollouts of each prompt.
        num_samples (`int` or `Tensor[N]`):
            Rollouts of each prompt.
        ks (`Tensor[K]` or sequence of `float`):
            The k, from 1 to the fewest rollouts less 1.
        confidence (`float`, *optional*, defaults to `0.95`):
            Level of the interval, between 0 and 1.
        sampling_weights (`Tensor[N]`, *optional*, defaults to ones):
            s, as for [`~passk_trl.interference.measure_interference`].

    Returns:
        [`Forecast`].

    Raises:
        `ValueError`: if there are fewer than two prompts, or not as many counts as products.
    """
    products_MN = torch.atleast_2d(products).double().cpu()
    num_prompts = products_MN.size(1)
    num_correct_N = torch.as_tensor(num_correct)
    if num_prompts < 2:
        raise ValueError(f"`products` has {num_prompts} prompts, too few for an error bar: probe at least 2.")
    if len(num_correct_N) != num_prompts:
        raise ValueError(f"`num_correct` has {len(num_correct_N)} prompts, `products` {num_prompts}: give as many.")
    ks_K = torch.as_tensor(ks, dtype=torch.float64)
    weights_KN = torch.as_tensor(unbiased_prompt_weight(torch.as_tensor(num_samples), num_correct_N, ks_K[:, None]))
    if sampling_weights is not None:
        weights_KN = weights_KN * sampling_weights.double()
    changes_KN = weights_KN * products_MN.mean(dim=0)
    of_prompts_K, num_sketches = changes_KN.var(dim=1) / num_prompts, len(products_MN)
    of_sketches_K = torch.zeros_like(of_prompts_K)
    if num_sketches > 1:
        of_sketches_K = (weights_KN @ products_MN.T / num_prompts).var(dim=1) / num_sketches
    variance_K, degrees_K = pooled_degrees(of_prompts_K, num_prompts - 1, of_sketches_K, num_sketches - 1)
    # A step of length 0 changes nothing, for certain. Without gradients nothing is certain.
    mixed_N = (num_correct_N > 0) & (num_correct_N < torch.as_tensor(num_samples))
    se_K = variance_K.sqrt().where((weights_KN * mixed_N).any(dim=1), math.nan)
    return Forecast(ks_K, changes_KN.mean(dim=1), se_K, student_ts(confidence, degrees_K) * se_K)
