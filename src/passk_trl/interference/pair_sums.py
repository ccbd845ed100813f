"""All that a measure needs of the gradients: each one's inner products with sums over prompts of equal counts."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .sample import ProbeSample


# A sum over a prompt's partners may be a difference: the sum over all prompts, less the prompt itself. What is left of
# it within this part of the prompt's own share is the rounding of that difference: of float64, over many numbers.
_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class PairSums:
    """
    Sums over pairs of N prompts, which fall into C classes of equal counts (n, c).

    A prompt's weight in ∇J_k depends on its class alone. So every weighted sum over pairs follows from these N·C
    numbers, and the N² inner products need not be formed.

    Attributes:
        with_class (`Tensor[M, N, C]`, float64): Σ_j s_j ⟨ĝ_i, ĝ_j⟩ over the prompts j of a class, by each of M
            independent estimates. Without j = i, unless `self_pairs`.
        squares (`Tensor[N]`, float64): ⟨ĝ_i, ĝ_i⟩.
        largest (`float`): no |⟨ĝ_i, ĝ_j⟩| is larger.
        num_partners (`Tensor[N]`, int64): with how many prompts each is paired.
        self_pairs (`bool`): whether a prompt is paired with itself too.
        classes (`Tensor[N]`, int64): the class of each prompt.
        num_correct, num_samples (`Tensor[C]`, int64): the counts of each class.
        sampling_weights (`Tensor[N]`, float64): s, the importance weight of each prompt.
    """

    with_class: Tensor
    squares: Tensor
    largest: float
    num_partners: Tensor
    self_pairs: bool
    classes: Tensor
    num_correct: Tensor
    num_samples: Tensor
    sampling_weights: Tensor

    def __post_init__(self) -> None:
        if not self.self_pairs:
            object.__setattr__(self, "with_class", self._without_rounding())  # which the class is frozen against

    def _without_rounding(self) -> Tensor:
        """`with_class` with 0 where nothing but rounding is left, as of a prompt that is alone in its class."""
        own_N1 = self.classes[:, None]
        own_MN1 = own_N1.expand(len(self.with_class), -1, 1)
        rounding_N1 = _ROUNDING * (self.sampling_weights * self.squares)[:, None]
        sums_MN1 = self.with_class.gather(2, own_MN1)
        return self.with_class.scatter(2, own_MN1, sums_MN1.where(sums_MN1.abs() > rounding_N1, 0.0))

    @classmethod
    def of(cls, sample: ProbeSample, self_pairs: bool = False) -> "PairSums":
        """The sums of a sample, from its Gram matrix."""
        num_correct_C, num_samples_C, classes_N = classes_of(sample.num_correct, sample.num_samples)
        weights_NC = torch.zeros(len(classes_N), len(num_correct_C), dtype=torch.float64)
        weights_NC[torch.arange(len(classes_N)), classes_N] = sample.sampling_weights
        pairs = [_symmetric(gram_NN) for gram_NN in sample.gram]
        if not self_pairs:
            pairs = [pairs_NN.fill_diagonal_(0.0) for pairs_NN in pairs]
        return cls(
            with_class=torch.stack([pairs_NN @ weights_NC for pairs_NN in pairs]),
            squares=sample.gram_mean.diagonal(),
            largest=float(sample.gram_mean.abs().max()),
            num_partners=torch.full_like(classes_N, len(classes_N) - (0 if self_pairs else 1)),
            self_pairs=self_pairs,
            classes=classes_N,
            num_correct=num_correct_C,
            num_samples=num_samples_C,
            sampling_weights=sample.sampling_weights,
        )

    @property
    def num_prompts(self) -> int:
        return len(self.classes)

    @property
    def num_pairs(self) -> int:
        """Ordered pairs of prompts."""
        return int(self.num_partners.sum())

    @property
    def mean_partners(self) -> float:
        """With how many prompts one is paired on average; the same with all where there is one block."""
        return self.num_pairs / self.num_prompts

    def weighted(self, weights_KC: Tensor) -> Tensor:
        """Weights of the classes as those of their prompts, each times its sampling weight, `[K, N]`."""
        return self.sampling_weights * weights_KC[:, self.classes]

    def partners(self, weights_KC: Tensor) -> Tensor:
        """Σ_j w_j s_j ⟨ĝ_i, ĝ_j⟩ over the partners j of each prompt i, for weights w of the classes, `[M, K, N]`."""
        return weights_KC @ self.with_class.transpose(1, 2)


def joined(blocks: list[PairSums]) -> PairSums:
    """The sums of several sets of prompts, of which none is paired with one of another set."""
    if len(blocks) == 1:
        return blocks[0]
    counts = [torch.stack([each.num_samples, each.num_correct], 1)[each.classes] for each in blocks]
    num_correct_C, num_samples_C, classes_N = classes_of(*torch.cat(counts).flip(1).unbind(1))
    with_class = []
    for block in blocks:
        own_C = [
            int(((num_correct_C == correct) & (num_samples_C == samples)).nonzero())
            for correct, samples in zip(block.num_correct, block.num_samples, strict=True)
        ]
        wide = torch.zeros(*block.with_class.shape[:2], len(num_correct_C), dtype=torch.float64)
        wide[:, :, own_C] = block.with_class
        with_class.append(wide)
    return replace(
        blocks[0],
        with_class=torch.cat(with_class, dim=1),
        squares=torch.cat([each.squares for each in blocks]),
        largest=max(each.largest for each in blocks),
        num_partners=torch.cat([each.num_partners for each in blocks]),
        classes=classes_N,
        num_correct=num_correct_C,
        num_samples=num_samples_C,
        sampling_weights=torch.cat([each.sampling_weights for each in blocks]),
    )


def classes_of(num_correct_N: Tensor, num_samples_N: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The classes of equal counts: their c and n, each `[C]`, and the class of each prompt, `[N]`."""
    counts_C2, classes_N = torch.stack([num_samples_N, num_correct_N], 1).unique(dim=0, return_inverse=True)
    return counts_C2[:, 1], counts_C2[:, 0], classes_N


def _symmetric(gram_NN: Tensor) -> Tensor:
    return (gram_NN + gram_NN.T) / 2
