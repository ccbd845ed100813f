"""From one Gram matrix and success counts of N probe prompts to the conflict between pass@1 and pass@k, at every k.

The mathematics is that of Barakat et al., "Why Pass@k Optimization Can Degrade Pass@1" (arXiv 2602.21189). With p(x)
the success probability of prompt x and J_k the population pass@k,

    ∇J_k = E_x[w_k(p(x)) ∇p(x)],  w_k(p) = k (1 − p)^(k−1)                                                (eq. 2, 3)
    a(x) = ⟨∇p(x), ∇J_1⟩                                                                     (agreement score, eq. 8)
    ⟨∇J_k, ∇J_1⟩ = E_x[w_k(p(x)) a(x)] = E_x[w_k] ‖∇J_1‖² + cov(w_k, a)                                  (Prop. 4.1)

A conflict is a negative ⟨∇J_k, ∇J_1⟩: a small step that raises pass@k then lowers pass@1. The same holds for any other
objective E_x[f(p(x))], whose weight is f′(p) in the place of w_k(p) ([`measure_objectives`]).
"""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from passk_trl.estimators import prompt_weight, unbiased_prompt_weight


Estimator = Literal["unbiased", "plugin"]


def _weights(num_samples_N: Tensor, num_correct_N: Tensor, ks_K: Tensor, estimator: Estimator) -> Tensor:
    """Weight of each prompt in ∇J_k, `[K, N]`."""
    if estimator == "plugin":
        return torch.as_tensor(prompt_weight(num_correct_N / num_samples_N.double(), ks_K[:, None]))
    return torch.as_tensor(unbiased_prompt_weight(num_samples_N, num_correct_N, ks_K[:, None]))


class _AgainstPass1(NamedTuple):
    """What K weighted gradients Σ_i w_i ĝ_i measure against the pass@1 gradient, each `[K]`."""

    inner_product: Tensor
    inner_product_se: Tensor
    norm_squared: Tensor
    cosine: Tensor
    cosine_se: Tensor


def _against_pass1(
    gram_NN: Tensor, gram_MNN: Tensor, weights_KN: Tensor, sampling_N: Tensor, self_pairs: bool
) -> _AgainstPass1:
    """
    The statistics are means over pairs of prompts of u_i K_ij v_j, where u and v are the weights or those of pass@1,
    all ones; `gram_NN` is the mean of the `gram_MNN`, whose spread adds to the error of the inner product.
    """
    num_partners = len(gram_NN) if self_pairs else len(gram_NN) - 1
    pairs_NN, weights_KN, pass1_1N = _pairs(gram_NN, self_pairs), sampling_N * weights_KN, sampling_N[None]
    norm_K, norm_without_KN = _pair_means(pairs_NN, weights_KN, weights_KN, num_partners)
    inner_K, inner_without_KN = _pair_means(pairs_NN, weights_KN, pass1_1N, num_partners)
    pass1_1, pass1_without_1N = _pair_means(pairs_NN, pass1_1N, pass1_1N, num_partners)
    sketch_variance_K = torch.zeros(())
    if len(gram_MNN) > 1:
        sketched = [_pairs(one_NN, self_pairs) for one_NN in gram_MNN]
        inner_MK = torch.stack([_pair_means(one_NN, weights_KN, pass1_1N, num_partners)[0] for one_NN in sketched])
        sketch_variance_K = inner_MK.var(0) / len(inner_MK)
    return _AgainstPass1(
        inner_product=inner_K,
        inner_product_se=(_jackknife_se(inner_without_KN).square() + sketch_variance_K).sqrt(),
        norm_squared=norm_K,
        cosine=_cosine(inner_K, pass1_1, norm_K),
        cosine_se=_jackknife_se(_cosine(inner_without_KN, pass1_without_1N, norm_without_KN)),
    )


def _pairs(gram_NN: Tensor, self_pairs: bool) -> Tensor:
    """The Gram matrix, with a diagonal of 0 unless a prompt is paired with itself too."""
    return gram_NN if self_pairs else gram_NN.clone().fill_diagonal_(0.0)


def _pair_means(pairs_NN: Tensor, left_KN: Tensor, right_KN: Tensor, num_partners: int) -> tuple[Tensor, Tensor]:
    """Mean of left_i pairs_ij right_j over the pairs `[K]`, and the same without each prompt in turn `[K, N]`.

    The sum without prompt j is the whole sum less row j and column j, plus the corner that was taken off twice.
    """
    num_prompts = len(pairs_NN)
    rows_KN = left_KN * (right_KN @ pairs_NN)
    columns_KN = right_KN * (left_KN @ pairs_NN)
    corner_KN = left_KN * right_KN * pairs_NN.diagonal()
    total_K = rows_KN.sum(-1)
    without_KN = total_K[:, None] - rows_KN - columns_KN + corner_KN
    return total_K / (num_prompts * num_partners), without_KN / ((num_prompts - 1) * (num_partners - 1))


def _jackknife_se(without_KN: Tensor) -> Tensor:
    """Standard error `[K]` from the leave-one-out values: sqrt((N − 1)/N Σ_j (θ_(−j) − mean)²)."""
    num_prompts = without_KN.shape[-1]
    return math.sqrt(num_prompts - 1) * without_KN.std(-1, correction=0)


def _cosine(inner_product: Tensor, pass1_norm_squared: Tensor, norm_squared: Tensor) -> Tensor:
    """I_k / sqrt(S_1 S_k), NaN where either squared norm is estimated ≤ 0."""
    defined = (pass1_norm_squared > 0) & (norm_squared > 0)
    # Two square roots: the product of two small squared norms may underflow.
    return torch.where(defined, inner_product / (pass1_norm_squared.sqrt() * norm_squared.sqrt()), math.nan)
