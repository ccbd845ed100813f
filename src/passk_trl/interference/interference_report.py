"""The report of one probe: the conflict of pass@k with pass@1 at every k, and what follows from it."""

import math
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from .intervals import student_t
from .pairs import Estimator, cosine_of, weights_at


_COUNTS = ("num_correct", "num_samples")  # the integer tensors of a report


@dataclass(frozen=True, eq=False)
class InterferenceReport:
    r"""
    What [`measure_interference`] found. Every tensor is on the CPU, and float64 unless said otherwise. N is the number
    of probe prompts, K the number of k. Everything that follows from the stored fields is a property or a method.

    Attributes:
        ks (`Tensor[K]`): the k measured, strictly increasing.
        inner_product (`Tensor[K]`): I_k, the estimate of ⟨∇J_k, ∇J_1⟩ (an expectation over prompts, not a sum).
        inner_product_se (`Tensor[K]`): its standard error, by leave-one-prompt-out jackknife.
        norm_squared (`Tensor[K]`): S_k, the estimate of ‖∇J_k‖²; the unbiased one may be negative.
        cosine_se (`Tensor[K]`): standard error of `cosine`, by jackknife; NaN where the cosine, or a leave-one-out
            cosine, is undefined.
        agreement (`Tensor[N]`): a_i, the estimate of ⟨∇p(x_i), ∇J_1⟩; 0 if all rollouts of the prompt are correct, or
            none, because its ĝ_i is then 0.
        num_correct (`Tensor[N]`, int64): correct rollouts c_i of each prompt.
        num_samples (`Tensor[N]`, int64): rollouts n_i of each prompt.
        sampling_weights (`Tensor[N]`): importance weight of each prompt; ones unless given.
        estimator (`str`): `"unbiased"` or `"plugin"`.
        confidence (`float`): level of the two-sided intervals.
        onset (`float` or `None`): the smallest real k at which the measured curve I_k turns negative, between 1 and
            the largest k measured; `None` if it does not. 1.0 means that I_1 = S_1 itself is measured negative. The
            true ‖∇J_1‖² is not negative, so the pass@1 gradient is then lost in the noise of the probe. Read it with
            `conflict`, which says whether any measured k is significantly in conflict. If one is, `onset` is not
            `None` and not above that k.
        k_star_bound (`float` or `None`): [`k_star_bound`] in its tight form, on the measured agreement and success
            rates.
        k_star_bound_paper (`float` or `None`): the same with the paper's G² in the place of the largest agreement.
            A Gram matrix does not give the score bound G². Its substitute is max |K_ij|, the smallest constant that
            the Gram matrix shows to bound every |a_i|. If you know G², call [`k_star_bound`].
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
        return weights_at(self.ks, self.num_samples, self.num_correct, self.estimator)

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
        """`Tensor[K]`: I_k / sqrt(S_1 S_k); NaN where S_1 ≤ 0 or S_k ≤ 0. It is a ratio of unbiased estimates: not
        itself unbiased, and it may lie outside [−1, 1]. The sign of I_k says whether there is a conflict; the cosine
        describes it."""
        pass1_norm_squared = torch.tensor(self.pass1_norm_squared, dtype=torch.float64)
        return cosine_of(self.inner_product, pass1_norm_squared, self.norm_squared)

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
        """`Tensor[K]`: half the width of the cosine's interval; NaN where `cosine_se` is. Unlike the interval for
        ⟨∇J_k, ∇J_1⟩, it does not include the error of a sketched Gram matrix."""
        return self._interval_factor * self.cosine_se

    @property
    def mean_weight(self) -> Tensor:
        """`Tensor[K]`: (weighted) mean over prompts of `weights`; 1 at k = 1."""
        return self.weights @ self.sampling_weights / self.sampling_weights.sum()

    @property
    def covariance(self) -> Tensor:
        """`Tensor[K]`: cov(ω_k, a) = I_k − mean_weight · S_1, Prop. 4.1. The two terms add up to I_k exactly. Their
        sum is unbiased, but neither of them is."""
        return self.inner_product - self.mean_weight * self.pass1_norm_squared

    @property
    def negative_fraction(self) -> float:
        """(Weighted) share of the prompts with a_i < 0. The noise of a_i moves it towards one half."""
        return float(self.sampling_weights @ (self.agreement < 0).double() / self.sampling_weights.sum())

    @property
    def conflict(self) -> Tensor:
        """`Tensor[K]`, bool: whether the whole interval for ⟨∇J_k, ∇J_1⟩ is below 0."""
        return self.inner_product_high < 0

    @property
    def conflict_ks(self) -> tuple[float, ...]:
        """The measured k that are significantly in conflict. They may have gaps, because the curve need not be
        monotone."""
        return tuple(self.ks[self.conflict].tolist())

    def in_conflict(self, k: float) -> bool:
        """Whether k is significantly in conflict. k must be one of `ks`: only those have an error bar."""
        return bool(self.conflict[self.at(k)])

    def at(self, k: float) -> int:
        """
        The index of k in `ks`, and in every tensor over k.

        Raises:
            `ValueError`: if k was not measured.
        """
        measured = self.ks.tolist()
        if k not in measured:
            raise ValueError(f"k={k:g} was not measured; `ks` is {measured}. Measure again with this k among `ks`.")
        return measured.index(k)

    def contribution(self, k: float) -> Tensor:
        """`Tensor[N]`: ω_k(n_i, c_i) a_i, what each prompt adds to N ⟨∇J_k, ∇J_1⟩ if all sampling weights are 1."""
        return self.weights[self.at(k)] * self.agreement

    def most_negative(self, k: float, count: int) -> list[int]:
        """Indices of the prompts that lower ⟨∇J_k, ∇J_1⟩ most: at most `count`, the most negative first."""
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
