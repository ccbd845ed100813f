"""The conflict of pass@k, or of another objective, with pass@1 on one probe, with error bars."""

from collections.abc import Sequence

import torch
from torch import Tensor

from passk_trl.objectives import Objective

from .bounds import k_star_bound
from .interference_report import InterferenceReport
from .intervals import band_factor, student_ts
from .objective_report import ObjectiveReport
from .onset import first_negative, grid_with, interval_of_onset
from .pair_sums import PairSums
from .pairs import Estimator, Jackknife, cosine_interval, cosine_of, known_error, pair_mean, weights_at
from .refusals import check_confidence, check_estimator, check_sample, checked_ks
from .sample import ProbeSample


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

    `"unbiased"` leaves i = j out of every sum over pairs of prompts, because ⟨ĝ_i, ĝ_i⟩ contains the sampling noise
    of ĝ_i and is biased towards agreement:

        a_i = 1/(N−1) Σ_{j≠i} s_j K_ij,  I_k = 1/N Σ_i s_i ω_k(n_i, c_i) a_i,
        S_k = 1/(N(N−1)) Σ_{i≠j} s_i s_j ω_k(n_i, c_i) ω_k(n_j, c_j) K_ij,

    with s the sampling weights and ω_k(n, c) = k C(n−1−c, k−1) / C(n−2, k−1). For 0/1 rewards ω_k(n, c_i) ĝ_i is
    *exactly* an unbiased estimate of the prompt's pass@k gradient, although weight and gradient share their rollouts.
    Two prompts share no rollouts, so E[I_k] = ⟨∇J_k, ∇J_1⟩, E[S_k] = ‖∇J_k‖² for integer 1 ≤ k ≤ n − 1 (between
    integers the curve interpolates), and E[a_i] = ⟨∇p(x_i), ∇J_1⟩.

    `"plugin"` is what the figures of the paper use (its section 5): weights k(1 − c_i/n_i)^(k−1), any real k ≥ 1, and
    all pairs, i = j included, divided by N². It is biased and hides conflicts. It is here to reproduce the paper; the
    inner products printed there are sums over prompts, so N times `inner_product`.

    Error bars are leave-one-prompt-out jackknife standard errors of these statistics (prompt j is left out of the
    other prompts' agreement too). The interval for ⟨∇J_k, ∇J_1⟩ is ± Student's t with N − 1 degrees of freedom, that
    of the cosine Fieller's for a ratio. The band around the whole curve, by which the onset and the k in conflict are
    told, is sup-t. `benchmarks/coverage.py` counts how often they hold the truth. In the tests' world (n = 16, noisy,
    in conflict from k = 8; 6,000 draws) the 95% interval covers 94–96% for k ≤ n/2 at N = 64 and 128; at N = 16,
    93–95% for k ≤ 4 and 88% at k = 8. Closer to k = n few prompts carry the weight and it covers less: at k = 12, 94%
    with N = 128, 92% with 64, 76% with 16. An interval that misses nearly always lies above a negative truth. Where
    the noise of the ĝ_i is much larger than the signal, the jackknife error is too large, by up to √2.

    A sketched Gram matrix adds an error that all prompts share, which no jackknife sees. Its variance is estimated
    from the spread of M independent sketches, and added; Student's t then has the degrees of freedom of both together
    (Welch and Satterthwaite).

    Args:
        gram (`Tensor[N, N]` or `Tensor[M, N, N]`):
            K_ij = ⟨ĝ_i, ĝ_j⟩, N ≥ 3, symmetric, any float dtype, from any source, or M independent unbiased estimates
            of it. ĝ_i = 1/(n_i − 1) Σ_j (r_ij − r̄_i) ∇ log π(y_ij|x_i) over the rollouts of prompt i (r 0/1), which is
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
            They are used as given. Dividing them by their measured mean (its expectation is 1) would bias the
            estimates. Where drawn prompts were left out, [`~passk_trl.rollouts.probe_sets.weights_of_kept`] restores
            that expectation. If the densities are known only up to a factor C, I_k and S_k are scaled by C² and a_i by
            C; signs, cosines, onset and bounds do not change. Draw each prompt independently: with *fixed* counts N_h
            per stratum, pairs within a stratum would count only (1 − 1/N_h)/(1 − 1/N) of what they should.

    Returns:
        [`InterferenceReport`].

    Raises:
        `ValueError`: on an argument outside its range, naming it, its value and the range.
    """
    sample = ProbeSample.of(gram, num_correct, num_samples, sampling_weights)
    check_estimator(estimator)
    check_confidence(confidence)
    check_sample(sample)
    ks_K = checked_ks(ks, sample.num_samples, estimator)
    pairs = PairSums.of(sample, self_pairs=estimator == "plugin")
    return report_of_pairs(pairs, ks_K, confidence, estimator)


def report_of_pairs(
    pairs: PairSums, ks_K: Tensor, confidence: float = 0.95, estimator: Estimator = "unbiased"
) -> InterferenceReport:
    """The report of [`measure_interference`], from sums over pairs of prompts and checked arguments."""
    sampling_N = pairs.sampling_weights
    ones_1C = torch.ones(1, len(pairs.num_correct), dtype=torch.float64)
    summed_N = pairs.partners(ones_1C).mean(0)[0]
    # Divided by the same number for all, so that its mean is the ‖∇J_1‖² of `pair_mean`, also over several blocks.
    agreement_N = summed_N / pairs.mean_partners
    # Prompts of a class share their weight, and the curve needs only the sum of their agreement.
    summed_C = torch.zeros_like(ones_1C[0]).index_add_(0, pairs.classes, sampling_N * summed_N)

    def weights(ks_K: Tensor) -> Tensor:
        return weights_at(ks_K, pairs.num_samples, pairs.num_correct, estimator)

    def curve(ks_K: Tensor) -> Tensor:
        return weights(ks_K) @ summed_C / pairs.num_pairs

    # One curve for the estimates, the band and the onset.
    grid_G, at_K = grid_with(ks_K)
    weights_GC = weights(grid_G)
    inner = pair_mean(pairs, weights_GC, ones_1C)
    se_G, degrees_G = inner.standard_error()
    at_ks = Jackknife(*(part[at_K] for part in inner))
    norm = pair_mean(pairs, weights_GC[at_K], weights_GC[at_K])
    pass1 = pair_mean(pairs, ones_1C, ones_1C)
    cosine_low_K, cosine_high_K = cosine_interval(at_ks, pass1, norm, confidence)
    degrees_K = degrees_G[at_K]
    along = torch.cat([torch.arange(0, len(grid_G), 8), at_K]).unique()  # neighbours on the grid hardly differ
    curve_along = Jackknife(*(part[along] for part in inner))
    factor = band_factor(curve_along.covariance(), float(degrees_G[along].min()), confidence)
    onset = first_negative(curve, grid_G)
    lost = float(sampling_N @ agreement_N) <= 0
    values_G, margin_G = curve(grid_G), factor * se_G
    num_correct_N, num_samples_N = pairs.num_correct[pairs.classes], pairs.num_samples[pairs.classes]
    success_N = num_correct_N / num_samples_N.double()

    # max |K| times the largest total weight of a prompt's partners: with weights of 1, max |K|.
    partner_weight = float(sampling_N.sum() - (0 if pairs.self_pairs else sampling_N.min())) / pairs.mean_partners
    largest_agreement = pairs.largest * partner_weight
    return InterferenceReport(
        ks=ks_K,
        inner_product=values_G[at_K],
        inner_product_se=known_error(values_G[at_K], se_G[at_K]),
        sketch_se=at_ks.variance()[1].sqrt(),
        degrees=degrees_K,
        band_factor=factor,
        norm_squared=norm.value,
        cosine_low=cosine_low_K,
        cosine_high=cosine_high_K,
        agreement=agreement_N,
        num_correct=num_correct_N,
        num_samples=num_samples_N,
        sampling_weights=sampling_N,
        estimator=estimator,
        confidence=confidence,
        onset=onset,
        onset_interval=interval_of_onset(grid_G, values_G - margin_G, values_G + margin_G, onset),
        k_star_bound=None if lost else k_star_bound(agreement_N, success_N, None, sampling_N),
        k_star_bound_paper=(None if lost else k_star_bound(agreement_N, success_N, largest_agreement, sampling_N)),
    )


def against_pass1(pairs: PairSums, weights_C: Tensor, confidence: float = 0.95) -> tuple[float, float]:
    """
    The inner product of ∇J_1 with the gradient in which the classes of prompts have these weights, and half the width
    of its interval. These two are all that an alarm needs of a block of prompts.
    """
    inner = pair_mean(pairs, weights_C[None], torch.ones(1, len(weights_C), dtype=torch.float64))
    se_1, degrees_1 = inner.standard_error()
    return float(inner.value), float(student_ts(confidence, degrees_1) * known_error(inner.value, se_1))


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
    [`~passk_trl.objectives.Objective.gradient_weight`] in the place of ω_k(n, c). They are unbiased where the
    objective's sample form is. Otherwise they are unbiased for the objective whose weight is
    `expected_weight(p, n − 2)`: what an algorithm follows that plugs c/n into f′ with groups of n.

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
    sample = ProbeSample.of(gram, num_correct, num_samples, sampling_weights)
    check_confidence(confidence)
    check_sample(sample)
    fewest = int(sample.num_samples.min())
    for objective in objectives:
        if objective.attempts >= fewest:
            raise ValueError(
                f"`objectives` holds {objective.name!r}, of {objective.attempts} attempts, with {fewest} rollouts of "
                f"a prompt (num_samples): an unbiased estimate needs more rollouts than attempts. Probe with more."
            )
    return reports_on_objectives(PairSums.of(sample), objectives, confidence)


def reports_on_objectives(
    pairs: PairSums, objectives: Sequence[Objective], confidence: float = 0.95
) -> list[ObjectiveReport]:
    """The reports of [`measure_objectives`], from sums over pairs of prompts and checked arguments."""
    if not objectives:
        return []
    weights_OC = torch.stack([each.gradient_weight(pairs.num_samples, pairs.num_correct) for each in objectives])
    ones_1C = torch.ones(1, len(pairs.num_correct), dtype=torch.float64)
    inner = pair_mean(pairs, weights_OC, ones_1C)
    norm = pair_mean(pairs, weights_OC, weights_OC)
    pass1 = pair_mean(pairs, ones_1C, ones_1C)
    se_O, degrees_O = inner.standard_error()
    margin_O = student_ts(confidence, degrees_O) * known_error(inner.value, se_O)
    columns = (
        inner.value,
        inner.value - margin_O,
        inner.value + margin_O,
        norm.value,
        cosine_of(inner.value, pass1.value, norm.value),
        *cosine_interval(inner, pass1, norm, confidence),
    )
    rows = zip(objectives, torch.stack(columns, dim=1).tolist(), strict=True)
    return [ObjectiveReport(objective.name, *row) for objective, row in rows]
