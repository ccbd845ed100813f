"""Means over pairs of prompts, and their jackknife errors: the arithmetic that all measures of a probe share."""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from passk_trl.estimators import prompt_weight, unbiased_prompt_weight

from .sample import ProbeSample


Estimator = Literal["unbiased", "plugin"]


def weights_at(ks_K: Tensor, num_samples_N: Tensor, num_correct_N: Tensor, estimator: Estimator) -> Tensor:
    """Weight of each prompt in ∇J_k, `[K, N]`."""
    if estimator == "plugin":
        return torch.as_tensor(prompt_weight(num_correct_N / num_samples_N.double(), ks_K[:, None]))
    return torch.as_tensor(unbiased_prompt_weight(num_samples_N, num_correct_N, ks_K[:, None]))


class AgainstPass1(NamedTuple):
    """What K weighted gradients Σ_i w_i ĝ_i measure against the pass@1 gradient, each `[K]`."""

    inner_product: Tensor
    inner_product_se: Tensor
    norm_squared: Tensor
    cosine: Tensor
    cosine_se: Tensor


def against_pass1(sample: ProbeSample, weights_KN: Tensor, self_pairs: bool) -> AgainstPass1:
    """
    K weighted gradients against the pass@1 gradient.

    Each statistic is a mean over pairs of prompts of u_i K_ij v_j. u and v are the weights, or those of pass@1, which
    are all ones. The spread of the sample's Gram matrices adds to the error of the inner product.
    """
    gram_NN, sampling_N = sample.gram_mean, sample.sampling_weights
    num_partners = len(gram_NN) if self_pairs else len(gram_NN) - 1
    pairs_NN, weights_KN, pass1_1N = paired(gram_NN, self_pairs), sampling_N * weights_KN, sampling_N[None]
    norm_K, norm_without_KN = _pair_means(pairs_NN, weights_KN, weights_KN, num_partners)
    inner_K, inner_without_KN = _pair_means(pairs_NN, weights_KN, pass1_1N, num_partners)
    pass1_1, pass1_without_1N = _pair_means(pairs_NN, pass1_1N, pass1_1N, num_partners)
    sketch_variance_K = torch.zeros(())
    if len(sample.gram) > 1:
        sketched = [paired(one_NN, self_pairs) for one_NN in sample.gram]
        inner_MK = torch.stack([_pair_means(one_NN, weights_KN, pass1_1N, num_partners)[0] for one_NN in sketched])
        sketch_variance_K = inner_MK.var(0) / len(inner_MK)
    return AgainstPass1(
        inner_product=inner_K,
        inner_product_se=(_jackknife_se(inner_without_KN).square() + sketch_variance_K).sqrt(),
        norm_squared=norm_K,
        cosine=cosine_of(inner_K, pass1_1, norm_K),
        cosine_se=_jackknife_se(cosine_of(inner_without_KN, pass1_without_1N, norm_without_KN)),
    )


def paired(gram_NN: Tensor, self_pairs: bool) -> Tensor:
    """The Gram matrix, with zeros on its diagonal unless prompts are also paired with themselves."""
    return gram_NN if self_pairs else gram_NN.clone().fill_diagonal_(0.0)


def _pair_means(pairs_NN: Tensor, left_KN: Tensor, right_KN: Tensor, num_partners: int) -> tuple[Tensor, Tensor]:
    """
    Mean of left_i pairs_ij right_j over the pairs `[K]`, and the same without each prompt in turn `[K, N]`.

    The sum without prompt j is the whole sum minus row j and column j, plus the corner, which was subtracted twice.
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


def cosine_of(inner_product: Tensor, pass1_norm_squared: Tensor, norm_squared: Tensor) -> Tensor:
    """I_k / sqrt(S_1 S_k); NaN where an estimated squared norm is ≤ 0."""
    defined = (pass1_norm_squared > 0) & (norm_squared > 0)
    # Two square roots: the product of two small squared norms may underflow.
    return torch.where(defined, inner_product / (pass1_norm_squared.sqrt() * norm_squared.sqrt()), math.nan)
