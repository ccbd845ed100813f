"""The report of one probe: the conflict of pass@k with pass@1 at every k, and what follows from it."""

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from .intervals import student_t, student_ts
from .json_safe import json_safe, tensor_from
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
        inner_product_se (`Tensor[K]`): its standard error, by leave-one-prompt-out jackknife; the error of sketches
            is included. NaN, and the interval with it, where no pair of prompts has a gradient and a weight at this k:
            the probe then tells nothing, and `inner_product` is 0.
        sketch_se (`Tensor[K]`): the part of that error which comes from sketches; 0 with whole gradients. More prompts
            lower it only while the noise of the gradients is what is sketched.
        degrees (`Tensor[K]`): degrees of freedom of the standard error: N − 1 without sketches, fewer with them.
        band_factor (`float`): standard errors on each side within which the whole curve lies with the level
            `confidence`, from k = 1 to the largest k measured, all k at once (sup-t).
        norm_squared (`Tensor[K]`): S_k, the estimate of ‖∇J_k‖²; the unbiased one may be negative.
        cosine_low, cosine_high (`Tensor[K]`): ends of the interval of `cosine` (Fieller's for a ratio, with the errors
            of numerator and denominator over prompts and sketches), cut at ±1 unless it is wholly beyond. NaN where it
            has no end. [`known_cosine`] says where the probe can tell the cosine.
        agreement (`Tensor[N]`): a_i, the estimate of ⟨∇p(x_i), ∇J_1⟩; 0 if all rollouts of the prompt are correct, or
            none, because its ĝ_i is then 0.
        num_correct (`Tensor[N]`, int64): correct rollouts c_i of each prompt.
        num_samples (`Tensor[N]`, int64): rollouts n_i of each prompt.
        sampling_weights (`Tensor[N]`): importance weight of each prompt; ones unless given.
        estimator (`str`): `"unbiased"` or `"plugin"`.
        confidence (`float`): level of the two-sided intervals.
        onset (`float` or `None`): the smallest real k above 1 at which the measured curve I_k turns negative, up to
            the largest k measured; `None` if it does not, and where `pass1_is_lost`. Read it with its interval. If
            `conflict_ks` is not empty and pass@1's gradient is not lost, `onset` is at most its smallest k.
        onset_interval (`tuple` of `float` or `None`): where the true curve may turn negative first, with the level
            `confidence`: the k at which the lower and the upper end of the band turn negative. It holds `onset`.
            (None, None): a conflict is excluded up to the largest k. (low, None): the probe cannot tell.
        k_star_bound (`float` or `None`): [`k_star_bound`] in its tight form, on the measured agreement and success
            rates; `None` where `pass1_is_lost`.
        k_star_bound_paper (`float` or `None`): the same with the paper's G² in the place of the largest agreement.
            A Gram matrix does not give the score bound G². Its substitute is max |K_ij|, the smallest constant that
            the Gram matrix shows to bound every |a_i|. If you know G², call [`k_star_bound`].
    """

    ks: Tensor
    inner_product: Tensor
    inner_product_se: Tensor
    sketch_se: Tensor
    degrees: Tensor
    band_factor: float
    norm_squared: Tensor
    cosine_low: Tensor
    cosine_high: Tensor
    agreement: Tensor
    num_correct: Tensor
    num_samples: Tensor
    sampling_weights: Tensor
    estimator: Estimator
    confidence: float
    onset: float | None
    onset_interval: tuple[float | None, float | None]
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
    def pass1_is_lost(self) -> bool:
        """Whether ‖∇J_1‖² is measured ≤ 0, which no squared norm is: the pass@1 gradient is lost in the noise of the
        probe. More prompts show it."""
        return self.pass1_norm_squared <= 0

    @property
    def has_no_pairs(self) -> bool:
        """Whether no two prompts with a gradient were measured, so that the probe tells nothing."""
        return not (self.sampling_weights * self.agreement).any()

    @property
    def cosine(self) -> Tensor:
        """`Tensor[K]`: I_k / sqrt(S_1 S_k); NaN where S_1 ≤ 0 or S_k ≤ 0. It is a ratio of unbiased estimates: not
        itself unbiased, and it may lie outside [−1, 1]. Where its interval is NaN, it says nothing. The sign of I_k
        says whether there is a conflict; the cosine describes it."""
        pass1_norm_squared = torch.tensor(self.pass1_norm_squared, dtype=torch.float64)
        return cosine_of(self.inner_product, pass1_norm_squared, self.norm_squared)

    @property
    def inner_product_low(self) -> Tensor:
        """`Tensor[K]`: lower end of the interval for ⟨∇J_k, ∇J_1⟩ (each k by itself, Student's t)."""
        return self.inner_product - student_ts(self.confidence, self.degrees) * self.inner_product_se

    @property
    def inner_product_high(self) -> Tensor:
        """`Tensor[K]`: upper end of the interval."""
        return self.inner_product + student_ts(self.confidence, self.degrees) * self.inner_product_se

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
        """(Weighted) share of the prompts with a_i < 0 among those with correct and incorrect rollouts; the others
        have no gradient. NaN if all are such. The noise of a_i moves it towards one half."""
        mixed_N = (self.num_correct > 0) & (self.num_correct < self.num_samples)
        weights_N = self.sampling_weights * mixed_N
        return float(weights_N @ (self.agreement < 0).double() / weights_N.sum())

    @property
    def conflict(self) -> Tensor:
        """`Tensor[K]`, bool: whether the whole interval for ⟨∇J_k, ∇J_1⟩ is below 0, each k by itself. Not at k = 1,
        which cannot be in conflict with itself."""
        return (self.inner_product_high < 0) & (self.ks > 1)

    @property
    def conflict_ks(self) -> tuple[float, ...]:
        """The measured k in conflict, all k at once: where the whole band is below 0. With probability `confidence`,
        the true curve is below 0 at all of them. They may have gaps, because the curve need not be monotone."""
        below_K = self.inner_product + self.band_factor * self.inner_product_se < 0
        return tuple(self.ks[below_K & (self.ks > 1)].tolist())

    def in_conflict(self, k: float) -> bool:
        """Whether `conflict` is true at k. k must be one of `ks`: only those have an error bar."""
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
        """`Tensor[N]`: s_i ω_k(n_i, c_i) a_i, what each prompt adds to N ⟨∇J_k, ∇J_1⟩; s_i is its sampling weight."""
        return self.sampling_weights * self.weights[self.at(k)] * self.agreement

    def most_negative(self, k: float, count: int) -> list[int]:
        """Indices of the prompts that lower ⟨∇J_k, ∇J_1⟩ most: at most `count`, the most negative first."""
        contribution_N = self.contribution(k)
        order = contribution_N.argsort(stable=True).tolist()
        return [i for i in order[:count] if contribution_N[i] < 0]

    def to_dict(self) -> dict[str, Any]:
        """The stored fields as JSON-safe lists, numbers and strings; NaN becomes `None`."""
        return json_safe({field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "InterferenceReport":
        """The report that [`to_dict`] wrote, restored exactly. One of an earlier version has no interval of the cosine
        and of the onset, and counts the error of sketches as that of prompts."""
        stored = content if "band_factor" in content else _of_earlier_version(content)
        stored = {"sketch_se": [0.0] * len(stored["ks"]), **stored}
        restored: dict[str, Any] = dict(stored)
        for name, value in stored.items():
            if isinstance(value, list):
                restored[name] = tensor_from(value, torch.int64 if name in _COUNTS else torch.float64)
        return cls(**{**restored, "onset_interval": tuple(stored["onset_interval"])})


def _of_earlier_version(content: dict[str, Any]) -> dict[str, Any]:
    """A report of a version that had one number of degrees of freedom and other errors of the cosine."""
    restored = {name: value for name, value in content.items() if name != "cosine_se"}
    num_ks, degrees = len(content["ks"]), len(content["agreement"]) - 1
    # Bonferroni's in the place of the band, which is of the whole curve: of two k at least.
    factor = student_t(1 - (1 - content["confidence"]) / max(2, num_ks), degrees)
    rows = zip(content["ks"], content["inner_product"], content["inner_product_se"], strict=True)
    shown = next((k for k, value, error in rows if k > 1 and value + factor * error < 0), None)
    unknown = {"cosine_low": [None] * num_ks, "cosine_high": [None] * num_ks}
    if content["onset"] == 1:  # which said that the pass@1 gradient is lost
        restored |= {"onset": None, "k_star_bound": None, "k_star_bound_paper": None}
    return {
        **restored,
        **unknown,
        "degrees": [degrees] * num_ks,
        "band_factor": factor,
        "onset_interval": [1.0, shown],  # no lower end is known
    }
