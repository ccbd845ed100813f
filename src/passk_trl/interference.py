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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from statistics import NormalDist
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from passk_trl.estimators import prompt_weight, unbiased_prompt_weight
from passk_trl.objectives import Objective


__all__ = [
    "InterferenceReport",
    "ObjectiveReport",
    "k_star_bound",
    "measure_interference",
    "measure_objectives",
    "required_probe_size",
]

Estimator = Literal["unbiased", "plugin"]
_COUNTS = ("num_correct", "num_samples")  # the integer tensors of a report


@dataclass(frozen=True, eq=False)
class InterferenceReport:
    r"""
    What [`measure_interference`] found. Every tensor is on the CPU, float64 unless said otherwise; N is the number of
    probe prompts, K the number of k. What follows from the stored fields by one line of arithmetic is a property.

    Attributes:
        ks (`Tensor[K]`): the k measured, strictly increasing.
        inner_product (`Tensor[K]`): I_k, the estimate of ⟨∇J_k, ∇J_1⟩ (an expectation over prompts, not a sum).
        inner_product_se (`Tensor[K]`): its standard error, by leave-one-prompt-out jackknife.
        norm_squared (`Tensor[K]`): S_k, the estimate of ‖∇J_k‖²; the unbiased one may be negative.
        cosine_se (`Tensor[K]`): standard error of `cosine`, by jackknife; NaN where the cosine, or a leave-one-out
            cosine, is undefined.
        agreement (`Tensor[N]`): a_i, the estimate of ⟨∇p(x_i), ∇J_1⟩; 0 where all rollouts of a prompt are correct, or
            none, since its ĝ_i is then 0.
        num_correct (`Tensor[N]`, int64): correct rollouts c_i of each prompt.
        num_samples (`Tensor[N]`, int64): rollouts n_i of each prompt.
        sampling_weights (`Tensor[N]`): importance weight of each prompt; ones unless given.
        estimator (`str`): `"unbiased"` or `"plugin"`.
        confidence (`float`): level of the two-sided intervals.
        onset (`float` or `None`): the smallest real k at which the measured curve I_k turns negative, between 1 and
            the largest k measured; `None` if it does not. 1.0 means that I_1 = S_1 itself is measured negative: the
            true ‖∇J_1‖² is not, so the pass@1 gradient is then lost in the noise of the probe. Read it with
            `conflict`, which tells whether any measured k is significantly in conflict; where one is, `onset` is not
            `None` and not beyond it.
        k_star_bound (`float` or `None`): [`k_star_bound`] in its tight form, on the measured agreement and success
            rates.
        k_star_bound_paper (`float` or `None`): the same with the paper's G² in the place of the largest agreement.
            The score bound G² cannot be read off a Gram matrix; the stand-in is max |K_ij|, the smallest constant
            that the Gram matrix shows to bound every |a_i|. With a G² of your own call [`k_star_bound`].
    """

    ks: Tensor
    inner_product: Tensor
    inner_product_se: Tensor
    norm_squared: Tensor
    cosine_se: Tensor
    agreement: Tensor
    num_correct: Tensor
    num_samples: Tensor
    sampling_weights: Tensor
    estimator: Estimator
    confidence: float
    onset: float | None
    k_star_bound: float | None
    k_star_bound_paper: float | None

    @cached_property
    def weights(self) -> Tensor:
        """`Tensor[K, N]`: weight of each prompt in ∇J_k; ω_k(n_i, c_i), or k(1 − c_i/n_i)^(k−1) for `"plugin"`."""
        return _weights(self.num_samples, self.num_correct, self.ks, self.estimator)

    @property
    def success_rate(self) -> Tensor:
        """`Tensor[N]`: c_i / n_i."""
        return self.num_correct / self.num_samples.double()

    @property
    def pass1_norm_squared(self) -> float:
        """S_1, the estimate of ‖∇J_1‖², whether or not 1 is among `ks`."""
        return float((self.sampling_weights * self.agreement).mean())

    @property
    def cosine(self) -> Tensor:
        """`Tensor[K]`: I_k / sqrt(S_1 S_k); NaN where S_1 ≤ 0 or S_k ≤ 0. A ratio of unbiased estimates: not itself
        unbiased, and not confined to [−1, 1]. The sign of I_k is the conflict, the cosine describes it."""
        return _cosine(
            self.inner_product, torch.tensor(self.pass1_norm_squared, dtype=torch.float64), self.norm_squared
        )

    @property
    def inner_product_low(self) -> Tensor:
        """`Tensor[K]`: lower end of the interval for ⟨∇J_k, ∇J_1⟩ (pointwise in k, Student's t with N − 1 degrees)."""
        return self.inner_product - self._interval_factor * self.inner_product_se

    @property
    def inner_product_high(self) -> Tensor:
        """`Tensor[K]`: upper end of the interval."""
        return self.inner_product + self._interval_factor * self.inner_product_se

    @property
    def cosine_margin(self) -> Tensor:
        """`Tensor[K]`: half the width of the cosine's interval, NaN where `cosine_se` is. The error of a sketched Gram
        matrix, which the interval for ⟨∇J_k, ∇J_1⟩ takes in, is not in it."""
        return self._interval_factor * self.cosine_se

    @property
    def mean_weight(self) -> Tensor:
        """`Tensor[K]`: (weighted) mean over prompts of `weights`; 1 at k = 1."""
        return self.weights @ self.sampling_weights / self.sampling_weights.sum()

    @property
    def covariance(self) -> Tensor:
        """`Tensor[K]`: cov(ω_k, a) = I_k − mean_weight · S_1, Prop. 4.1. The two terms add up to I_k exactly; it is
        their sum that is unbiased, not each of them."""
        return self.inner_product - self.mean_weight * self.pass1_norm_squared

    @property
    def negative_fraction(self) -> float:
        """(Weighted) share of the prompts with a_i < 0. The noise of a_i pulls it towards one half."""
        return float(self.sampling_weights @ (self.agreement < 0).double() / self.sampling_weights.sum())

    @property
    def conflict(self) -> Tensor:
        """`Tensor[K]`, bool: whether the whole interval for ⟨∇J_k, ∇J_1⟩ is below 0."""
        return self.inner_product_high < 0

    @property
    def conflict_ks(self) -> tuple[float, ...]:
        """The k measured to be significantly in conflict: not always an interval, the curve need not be monotone."""
        return tuple(self.ks[self.conflict].tolist())

    def in_conflict(self, k: float) -> bool:
        """Whether k is significantly in conflict; k must be one of `ks`, since only there is an error bar known."""
        if k not in self.ks.tolist():
            raise ValueError(f"k={k} was not measured; `ks` is {self.ks.tolist()}. Measure again with k among `ks`.")
        return bool(self.conflict[self.ks == k])

    @property
    def _interval_factor(self) -> float:
        return student_t(self.confidence, len(self.agreement) - 1)

    def to_dict(self) -> dict[str, Any]:
        """The stored fields as JSON-safe lists, numbers and strings; NaN (in `cosine_se`) becomes `None`."""
        content = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, value in content.items():
            if isinstance(value, Tensor):
                content[name] = [None if number != number else number for number in value.tolist()]
        return content

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "InterferenceReport":
        """The report that [`to_dict`] wrote, restored exactly."""
        restored: dict[str, Any] = dict(content)
        for name, value in content.items():
            if isinstance(value, list):
                numbers = [math.nan if number is None else number for number in value]
                restored[name] = torch.tensor(numbers, dtype=torch.int64 if name in _COUNTS else torch.float64)
        return cls(**restored)


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


@dataclass(frozen=True)
class ObjectiveReport:
    """
    What [`measure_objectives`] found for one objective E_x[f(p(x))] with gradient ∇J_f.

    Attributes:
        name (`str`): of the objective.
        inner_product (`float`): the estimate of ⟨∇J_f, ∇J_1⟩; its scale is that of f.
        inner_product_low, inner_product_high (`float`): ends of its interval (Student's t with N − 1 degrees).
        norm_squared (`float`): the estimate of ‖∇J_f‖²; it may be negative.
        cosine (`float`): of ∇J_f and ∇J_1; NaN where a squared norm is estimated ≤ 0. As in [`InterferenceReport`].
        cosine_margin (`float`): half the width of its interval; NaN where it is undefined.
    """

    name: str
    inner_product: float
    inner_product_low: float
    inner_product_high: float
    norm_squared: float
    cosine: float
    cosine_margin: float

    @property
    def conflict(self) -> bool:
        """Whether the whole interval for ⟨∇J_f, ∇J_1⟩ is below 0."""
        return self.inner_product_high < 0

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON-safe numbers and strings; NaN becomes `None`."""
        return {name: None if value != value else value for name, value in vars(self).items()}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "ObjectiveReport":
        """The report that [`to_dict`] wrote, restored exactly."""
        restored: dict[str, Any] = {name: math.nan if value is None else value for name, value in content.items()}
        return cls(**restored)


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


def k_star_bound(
    agreement: Tensor,
    success: Tensor,
    agreement_bound: float | None = None,
    sampling_weights: Tensor | None = None,
) -> float | None:
    r"""
    The k* of Prop. 4.5: E[k(1 − p)^(k−1) a] < 0, a conflict, for every k > k*.

    With X_− = {a ≤ −m} of mass q, where p ≤ ε, and p ≥ δ > ε elsewhere,

        k* = 1 + log((1 − q) A / (q m)) / log((1 − ε) / (1 − δ)),

    where A bounds the agreement outside X_−: the paper takes G², a bound of the squared score norm, its proof needs
    only sup a. Of all thresholds m that separate, the one of smallest k* is taken. Prompts outside X_− with a ≤ 0
    cannot raise the expectation, so δ is the least success among those with a > 0 (the paper asks it of all; prompts
    without a correct rollout, p = a = 0, would then always spoil the separation).

    The guarantee is for the weighted set of prompts given. Fed with estimates, it says when the bound's premises hold
    in the sample; it is no confidence statement about the population.

    Args:
        agreement (`Tensor[N]`):
            Agreement scores a.
        success (`Tensor[N]`):
            Success probabilities p, in [0, 1].
        agreement_bound (`float`, *optional*, defaults to the largest agreement):
            A; the paper's form with G². A value below the largest agreement bounds nothing, and counts as that.
        sampling_weights (`Tensor[N]`, *optional*, defaults to ones):
            Mass of each prompt, up to a factor.

    Returns:
        `float` or `None`: k* ≥ 1; 1.0 if some agreement is negative and none positive; `None` if no threshold
        separates, or no agreement is negative.
    """
    agreement_N, success_N = agreement.double(), success.double()
    mass_N = torch.ones_like(agreement_N) if sampling_weights is None else sampling_weights.double()
    present_N = mass_N > 0
    agreement_N, order_N = agreement_N[present_N].sort()
    success_N, mass_N = success_N[present_N][order_N], mass_N[present_N][order_N]
    negative_N = (agreement_N < 0) & (success_N < 1)  # at p = 1 the weight is 0 for every k > 1
    if not negative_N.any():
        return None
    if agreement_N[-1] <= 0:
        return 1.0
    delta = success_N[agreement_N > 0].min()
    bound = max(float(agreement_N[-1]), agreement_bound or 0.0)
    # The i-th candidate is m = −a_(i); sorted, its X_− is the first i prompts, so q and ε are running sums and maxima.
    cumulated_N = mass_N.cumsum(0)
    q_N = cumulated_N / cumulated_N[-1]
    epsilon_N = success_N.cummax(0).values
    evidence_N = torch.log((1 - q_N) * bound / (q_N * -agreement_N)).clamp(min=0)
    bounds_N = 1 + evidence_N / torch.log((1 - epsilon_N) / (1 - delta))
    valid_N = negative_N & (epsilon_N < delta)
    return float(bounds_N[valid_N].min()) if valid_N.any() else None


def required_probe_size(report: InterferenceReport, k: float, cosine: float, power: float = 0.8) -> int:
    r"""
    How many prompts a probe needs to show that ∇J_k and ∇J_1 are at a given cosine, from a first, smaller probe.

    A cosine of ρ is an inner product of ρ sqrt(S_1 S_k), and a probe of N prompts shows it where its interval leaves
    0 out: with probability `power` where |ρ| sqrt(S_1 S_k) = (z_c + z_power) s, with s the standard error and z_c the
    normal quantile of the two-sided confidence. N times the variance of a U-statistic never rises with N (Hoeffding
    1948, section 5), so beyond the first probe's N_0 prompts s is at most s_0 sqrt(N_0/N), and

        N = N_0 ((z_c + z_power) s_0 / (ρ sqrt(S_1 S_k)))²

    is enough. Where the noise of the ĝ_i makes the error, and not the variety of the prompts, s falls like 1/N, and
    fewer are; an N below N_0 may be too small. It is as sure as S_1, S_k and s_0 are, which are estimates.

    Args:
        report ([`InterferenceReport`]):
            The first probe, with the number of rollouts per prompt that the larger one is to have.
        k (`float`):
            One of `report.ks`.
        cosine (`float`):
            ρ, the cosine to be seen, between −1 and 1 and not 0.
        power (`float`, *optional*, defaults to `0.8`):
            Probability with which it is to be seen.

    Returns:
        `int`: number of prompts.

    Raises:
        `ValueError`: if k was not measured, `cosine` or `power` is out of range, or the first probe is too noisy to
        tell how long the gradients are (S_1 or S_k is not above 0).
    """
    if k not in report.ks.tolist():
        raise ValueError(f"k={k} was not measured; `ks` is {report.ks.tolist()}. Measure again with k among `ks`.")
    if not 0 < abs(cosine) <= 1:
        raise ValueError(f"cosine={cosine} is out of range; set a number between -1 and 1, not 0.")
    if not 0.5 <= power < 1:
        raise ValueError(f"power={power} is out of range; set a number from 0.5 to below 1, such as 0.8.")
    at_k = report.ks.tolist().index(k)
    norms_squared = report.pass1_norm_squared, float(report.norm_squared[at_k])
    if min(norms_squared) <= 0:
        raise ValueError(
            f"the probe measures ‖∇J_1‖² = {norms_squared[0]:.3g} and ‖∇J_{k:g}‖² = {norms_squared[1]:.3g}, of which "
            "neither is known to be above 0; take a first probe of more prompts or rollouts."
        )
    target = abs(cosine) * math.sqrt(norms_squared[0] * norms_squared[1])
    normal = NormalDist()
    quantiles = normal.inv_cdf((1 + report.confidence) / 2) + normal.inv_cdf(power)
    ratio = quantiles * float(report.inner_product_se[at_k]) / target
    return max(3, math.ceil(len(report.agreement) * ratio**2))


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


def _first_negative(curve: Callable[[Tensor], Tensor], largest_k: float) -> float | None:
    """The smallest k in [1, largest_k] beyond which `curve` is negative, to 1e-9; `None` if there is none.

    Looks at 257 points spread evenly in log k, and again, between the two points around the first crossing.
    """
    low, high, onset = 1.0, largest_k, None
    while True:
        grid = torch.linspace(math.log(low), math.log(high), 257, dtype=torch.float64).exp().clamp(low, high)
        negative = curve(grid) < 0
        if not negative.any():
            return onset
        first = int(negative.int().argmax())
        onset = float(grid[first])
        if first == 0 or onset - float(grid[first - 1]) <= 1e-9 * onset:
            return onset
        low, high = float(grid[first - 1]), onset


@lru_cache
def student_t(confidence: float, degrees: int) -> float:
    """t with P(|T| ≤ t) = confidence. The distribution is a finite sum in θ = atan(t/√ν) (Abramowitz & Stegun
    26.7.3-4), inverted by bisection."""

    def probability(theta: float) -> float:
        total, term = 0.0, math.cos(theta) if degrees % 2 else 1.0
        for power in range(degrees % 2, degrees - 1, 2):
            total += term
            term *= (power + 1) / (power + 2) * math.cos(theta) ** 2
        return 2 / math.pi * (theta + math.sin(theta) * total) if degrees % 2 else math.sin(theta) * total

    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if probability(middle) < confidence else (low, middle)
    return math.sqrt(degrees) * math.tan(low)


def _validated(
    gram: Tensor,
    num_correct: Tensor | Sequence[int],
    num_samples: int | Tensor | Sequence[int],
    ks: Tensor | Sequence[float] | None,
    confidence: float,
    estimator: str,
    sampling_weights: Tensor | Sequence[float] | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The arguments of [`measure_interference`] as CPU tensors gram_NN, num_correct_N, num_samples_N, ks_K,
    sampling_N; `ValueError` where one is out of range."""
    if estimator not in ("unbiased", "plugin"):
        raise ValueError(f"`estimator` must be 'unbiased' or 'plugin', but got {estimator!r}.")
    if not 0 < confidence < 1:
        raise ValueError(f"`confidence` must be between 0 and 1, 0.95 for 95% intervals, but got {confidence}.")

    gram_NN = _as_float64(gram)
    num_prompts = len(gram_NN) if gram_NN.dim() else 0
    if gram_NN.shape != (num_prompts, num_prompts) or num_prompts < 3:
        raise ValueError(
            f"`gram` must be a square matrix over at least 3 prompts (one is left out for the error bars, and a pair "
            f"must be left), but got shape {tuple(gram_NN.shape)}."
        )
    # A prompt with a bad gradient spoils its row and column; the diagonal tells which prompt it was.
    bad_NN = ~gram_NN.isfinite()
    if bad_NN.any():
        bad_N = bad_NN.diagonal() if bad_NN.diagonal().any() else bad_NN.any(1)
        raise ValueError(
            f"`gram` must be finite, but is not for the prompts in rows {bad_N.nonzero().flatten().tolist()}: leave "
            f"them out of `gram`, `num_correct` and the rest."
        )
    asymmetry = float((gram_NN - gram_NN.T).abs().max())
    if asymmetry > 1e-3 * float(gram_NN.abs().max()):
        raise ValueError(
            f"`gram` must be symmetric to a thousandth of its largest entry, {float(gram_NN.abs().max()):.3g}, but "
            f"differs from its transpose by {asymmetry:.3g}: pass inner products ⟨ĝ_i, ĝ_j⟩ of one set of gradients."
        )
    gram_NN = (gram_NN + gram_NN.T) / 2

    num_samples_N = _as_counts("num_samples", num_samples, num_prompts)
    num_correct_N = _as_counts("num_correct", num_correct, num_prompts)
    if (num_samples_N < 2).any():
        raise ValueError(
            f"`num_samples` must be at least 2 for every prompt, but got {int(num_samples_N.min())}: leave prompts "
            f"with fewer scored rollouts out."
        )
    wrong_N = (num_correct_N < 0) | (num_correct_N > num_samples_N)
    if wrong_N.any():
        prompt = int(wrong_N.int().argmax())
        raise ValueError(
            f"`num_correct` must be from 0 to {int(num_samples_N[prompt])} (num_samples) for prompt {prompt}, but got "
            f"{int(num_correct_N[prompt])}."
        )

    fewest = int(num_samples_N.min())
    ks_K = _as_float64(range(1, fewest) if ks is None else ks)
    if ks_K.dim() != 1 or len(ks_K) == 0 or not ks_K.isfinite().all() or ks_K[0] < 1 or (ks_K.diff() <= 0).any():
        raise ValueError(f"`ks` must be strictly increasing numbers of at least 1, but got {ks_K.tolist()}.")
    if estimator == "unbiased" and ks_K[-1] > fewest - 1:
        raise ValueError(
            f"`ks` must be at most {fewest - 1} with {fewest} rollouts of a prompt (num_samples), but got "
            f"{float(ks_K[-1]):g}: an unbiased estimate at k needs more than k rollouts. Probe with more, or lower ks."
        )

    sampling_N = torch.ones(num_prompts).double() if sampling_weights is None else _as_float64(sampling_weights)
    if sampling_N.shape != (num_prompts,):
        raise ValueError(
            f"`sampling_weights` must have one entry for each of {num_prompts} prompts, but got shape "
            f"{tuple(sampling_N.shape)}."
        )
    if not sampling_N.isfinite().all() or (sampling_N < 0).any() or not sampling_N.any():
        raise ValueError(
            f"`sampling_weights` must be finite, non-negative and not all zero, but got {sampling_N.tolist()}."
        )
    return gram_NN, num_correct_N, num_samples_N, ks_K, sampling_N


def _as_float64(values: float | Tensor | Sequence[float]) -> Tensor:
    # Python numbers straight to float64: by default they would pass through float32.
    tensor = values if isinstance(values, Tensor) else torch.as_tensor(values, dtype=torch.float64)
    return tensor.detach().to("cpu").double()


def _as_counts(name: str, values: int | Tensor | Sequence[int], num_prompts: int) -> Tensor:
    counts = _as_float64(values)
    if name == "num_samples" and counts.dim() == 0:
        counts = counts.repeat(num_prompts)
    if counts.shape != (num_prompts,) or (counts != counts.round()).any():
        raise ValueError(
            f"`{name}` must be a whole number for each of {num_prompts} prompts, but got {counts.tolist()} of shape "
            f"{tuple(counts.shape)}."
        )
    return counts.long()
