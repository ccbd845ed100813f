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
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from .intervals import student_t
from .pairs import Estimator, _cosine, _weights


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
        return bool(self.conflict[self.at(k)])

    def at(self, k: float) -> int:
        """
        The place of k in `ks`, and in every tensor over k.

        Raises:
            `ValueError`: if k was not measured.
        """
        measured = self.ks.tolist()
        if k not in measured:
            raise ValueError(f"k={k:g} was not measured; `ks` is {measured}. Measure again with k among `ks`.")
        return measured.index(k)

    def contribution(self, k: float) -> Tensor:
        """`Tensor[N]`: ω_k(n_i, c_i) a_i, what each prompt adds to N ⟨∇J_k, ∇J_1⟩ where sampling weights are ones."""
        return self.weights[self.at(k)] * self.agreement

    def most_negative(self, k: float, count: int) -> list[int]:
        """The prompts that lower ⟨∇J_k, ∇J_1⟩ most, at most `count`, the worst first."""
        contribution_N = self.contribution(k)
        order = contribution_N.argsort(stable=True).tolist()
        return [i for i in order[:count] if contribution_N[i] < 0]

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
