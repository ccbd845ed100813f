"""From one Gram matrix and success counts of N probe prompts to the conflict between pass@1 and pass@k, at every k.

The mathematics is that of Barakat et al., "Why Pass@k Optimization Can Degrade Pass@1" (arXiv 2602.21189). With p(x)
the success probability of prompt x and J_k the population pass@k,

    ∇J_k = E_x[w_k(p(x)) ∇p(x)],  w_k(p) = k (1 − p)^(k−1)                                                (eq. 2, 3)
    a(x) = ⟨∇p(x), ∇J_1⟩                                                                     (agreement score, eq. 8)
    ⟨∇J_k, ∇J_1⟩ = E_x[w_k(p(x)) a(x)] = E_x[w_k] ‖∇J_1‖² + cov(w_k, a)                                  (Prop. 4.1)

A conflict is a negative ⟨∇J_k, ∇J_1⟩: a small step that raises pass@k then lowers pass@1. The same holds for any other
objective E_x[f(p(x))], whose weight is f′(p) in the place of w_k(p) ([`measure_objectives`]).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from passk_trl.objectives import Objective

from .arguments import _as_float64, _validated
from .bounds import k_star_bound
from .intervals import student_t
from .onset import _first_negative
from .pairs import Estimator, _against_pass1, _pairs, _weights
from .report import InterferenceReport, ObjectiveReport


def measure_interference(
    gram: Tensor,
    num_correct: Tensor | Sequence[int],
    num_samples: int | Tensor | Sequence[int],
    ks: Tensor | Sequence[float] | None = None,
    confidence: float = 0.95,
    estimator: Estimator = "unbiased",
    sampling_weights: Tensor | Sequence[float] | None = None,
) -> InterferenceReport:
    r"""
    Measure the conflict between pass@1 and pass@k, for every k at once, on N independently drawn probe prompts.

    `"unbiased"` leaves i = j out of every sum over pairs of prompts, since ⟨ĝ_i, ĝ_i⟩ holds the sampling noise of
    ĝ_i and is biased towards agreement:

        a_i = 1/(N−1) Σ_{j≠i} s_j K_ij,  I_k = 1/N Σ_i s_i ω_k(n_i, c_i) a_i,
        S_k = 1/(N(N−1)) Σ_{i≠j} s_i s_j ω_k(n_i, c_i) ω_k(n_j, c_j) K_ij,

    with s the sampling weights and ω_k(n, c) = k C(n−1−c, k−1) / C(n−2, k−1). For 0/1 rewards ω_k(n, c_i) ĝ_i is
    *exactly* an unbiased estimate of the prompt's pass@k gradient, although weight and gradient share their rollouts,
    and two prompts do not share any: hence E[I_k] = ⟨∇J_k, ∇J_1⟩, E[S_k] = ‖∇J_k‖² for integer 1 ≤ k ≤ n − 1 (between
    integers the curve interpolates), and E[a_i] = ⟨∇p(x_i), ∇J_1⟩.

    `"plugin"` is what the figures of the paper use (its section 5): weights k(1 − c_i/n_i)^(k−1), any real k ≥ 1, and
    all pairs, i = j included, divided by N². It is biased, and hides conflicts; it is here to reproduce the paper,
    whose printed inner products are sums over prompts, so N times `inner_product`.

    Error bars are leave-one-prompt-out jackknife standard errors of these statistics (prompt j leaves the agreement
    of the others too), and the interval for ⟨∇J_k, ∇J_1⟩ is ± Student's t with N − 1 degrees of freedom. In the
    tests' world (n = 16, noisy, in conflict from k = 8; 6,000 draws) the 95% interval covers 94–96% for k ≤ n/2 at
    N = 64 and 128; at N = 16, 93–95% for k ≤ 4 and 88% at k = 8. Closer to k = n few prompts carry the weight and it
    covers less: at k = 12, 94% with N = 128, 92% with 64, 76% with 16, nearly always by lying above a negative truth.
    Where the noise of the ĝ_i drowns the signal the jackknife errs on the large side, by up to √2. A sketched Gram
    matrix adds an error that all prompts share and no jackknife sees: its variance, told by how far M independent
    sketches are apart, is added.

    Args:
        gram (`Tensor[N, N]` or `Tensor[M, N, N]`):
            K_ij = ⟨ĝ_i, ĝ_j⟩, N ≥ 3, symmetric, any float dtype, from any source, or M independent unbiased estimates
            of it,
            with ĝ_i = 1/(n_i − 1) Σ_j (r_ij − r̄_i) ∇ log π(y_ij|x_i) over the rollouts of prompt i (r 0/1), which is
            unbiased for ∇p(x_i). Leave prompts with a non-finite gradient out beforehand.
        num_correct (`Tensor[N]` or sequence of `int`):
            Correct rollouts of each prompt, 0 ≤ c_i ≤ n_i.
        num_samples (`int` or `Tensor[N]`):
            Rollouts of each prompt, n ≥ 2; one number for each prompt where unscorable rollouts were left out.
        ks (`Tensor[K]` or sequence of `float`, *optional*, defaults to every integer from 1 to min(n) − 1):
            The k to measure, real, at least 1, strictly increasing; at most min(n) − 1 if `"unbiased"`.
        confidence (`float`, *optional*, defaults to `0.95`):
            Level of the two-sided intervals, between 0 and 1.
        estimator (`str`, *optional*, defaults to `"unbiased"`):
            `"unbiased"` or `"plugin"`.
        sampling_weights (`Tensor[N]` or sequence of `float`, *optional*, defaults to ones):
            s_i = (density of prompt i in the data) / (density with which it was drawn for the probe), non-negative.
            They are used as given, not divided by their mean (its expectation is 1): dividing by the measured mean
            would bias the estimates. Densities known only up to a factor C scale I_k and S_k by C² and a_i by C;
            signs, cosines, onset and bounds do not change. Draw each prompt independently: with *fixed* counts N_h
            per stratum, pairs within a stratum count (1 − 1/N_h)/(1 − 1/N) of what they should.

    Returns:
        [`InterferenceReport`].

    Raises:
        `ValueError`: on an argument outside its range, naming it, its value and the range.
    """
    gram_MNN = _as_float64(gram)
    gram_MNN = gram_MNN if gram_MNN.dim() == 3 else gram_MNN[None]
    gram_NN, num_correct_N, num_samples_N, ks_K, sampling_N = _validated(
        gram_MNN.mean(0), num_correct, num_samples, ks, confidence, estimator, sampling_weights
    )
    num_prompts = len(gram_NN)
    self_pairs = estimator == "plugin"
    num_partners = num_prompts if self_pairs else num_prompts - 1
    largest_entry = float(gram_NN.abs().max())
    agreement_N = _pairs(gram_NN, self_pairs) @ sampling_N / num_partners

    # Prompts with the same counts share their weight, so the curve needs their agreement only in sum.
    counts_M2, group_N = torch.stack([num_samples_N, num_correct_N], 1).unique(dim=0, return_inverse=True)
    agreement_M = torch.zeros(len(counts_M2)).double().index_add_(0, group_N, sampling_N * agreement_N)

    def curve(ks_K: Tensor) -> Tensor:
        return _weights(counts_M2[:, 0], counts_M2[:, 1], ks_K, estimator) @ agreement_M / num_prompts

    weights_KN = _weights(num_samples_N, num_correct_N, ks_K, estimator)
    measured = _against_pass1(gram_NN, gram_MNN, weights_KN, sampling_N, self_pairs)

    # max |K| times the most weight that a prompt's partners have: with weights of 1, max |K|.
    partner_weight = float(sampling_N.sum() - (0 if self_pairs else sampling_N.min())) / num_partners
    success_N = num_correct_N / num_samples_N.double()
    return InterferenceReport(
        ks=ks_K,
        inner_product=curve(ks_K),
        inner_product_se=measured.inner_product_se,
        norm_squared=measured.norm_squared,
        cosine_se=measured.cosine_se,
        agreement=agreement_N,
        num_correct=num_correct_N,
        num_samples=num_samples_N,
        sampling_weights=sampling_N,
        estimator=estimator,
        confidence=confidence,
        onset=_first_negative(curve, float(ks_K[-1])),
        k_star_bound=k_star_bound(agreement_N, success_N, None, sampling_N),
        k_star_bound_paper=k_star_bound(agreement_N, success_N, largest_entry * partner_weight, sampling_N),
    )


def measure_objectives(
    gram: Tensor,
    num_correct: Tensor | Sequence[int],
    num_samples: int | Tensor | Sequence[int],
    objectives: Sequence[Objective],
    confidence: float = 0.95,
    sampling_weights: Tensor | Sequence[float] | None = None,
) -> list[ObjectiveReport]:
    r"""
    Measure the conflict between pass@1 and other objectives, from what [`measure_interference`] takes.

    The estimates and error bars are those of `estimator="unbiased"` there, with the weight
    [`~passk_trl.objectives.Objective.gradient_weight`] in the place of ω_k(n, c): unbiased where the objective's
    sample form is, and otherwise for the objective whose weight is `expected_weight(p, n − 2)`, what an algorithm that
    plugs c/n into f′ with groups of n follows.

    Args:
        gram, num_correct, num_samples, confidence, sampling_weights:
            As for [`measure_interference`].
        objectives (`Sequence[Objective]`):
            What to measure, each with `attempts` below the rollouts of every prompt.

    Returns:
        `list[ObjectiveReport]`, in the order of `objectives`; pass@k's numbers are those of [`measure_interference`].

    Raises:
        `ValueError`: on an argument outside its range, naming it, its value and the range.
    """
    gram_MNN = _as_float64(gram)
    gram_MNN = gram_MNN if gram_MNN.dim() == 3 else gram_MNN[None]
    gram_NN, num_correct_N, num_samples_N, _, sampling_N = _validated(
        gram_MNN.mean(0), num_correct, num_samples, None, confidence, "unbiased", sampling_weights
    )
    fewest = int(num_samples_N.min())
    for objective in objectives:
        if objective.attempts >= fewest:
            raise ValueError(
                f"`objectives` holds {objective.name!r}, of {objective.attempts} attempts, with {fewest} rollouts of "
                f"a prompt (num_samples): an unbiased estimate needs more rollouts than attempts. Probe with more."
            )
    if not objectives:
        return []
    weights_ON = torch.stack([objective.gradient_weight(num_samples_N, num_correct_N) for objective in objectives])
    measured = _against_pass1(gram_NN, gram_MNN, weights_ON, sampling_N, self_pairs=False)
    factor = student_t(confidence, len(gram_NN) - 1)
    margin_O = factor * measured.inner_product_se
    columns = (
        measured.inner_product,
        measured.inner_product - margin_O,
        measured.inner_product + margin_O,
        measured.norm_squared,
        measured.cosine,
        factor * measured.cosine_se,
    )
    rows = zip(objectives, torch.stack(columns, dim=1).tolist(), strict=True)
    return [ObjectiveReport(objective.name, *row) for objective, row in rows]
