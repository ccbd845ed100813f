"""The prompts of the latest training batches, with the sketches of their gradients: what a report of a ride is of."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from passk_trl.distributed.ranks import failing_together, gather_list
from passk_trl.gradients.pooled import products_of_sums, products_with_sums
from passk_trl.interference.intervals import FEWEST_PROMPTS
from passk_trl.interference.pair_sums import PairSums, classes_of


@dataclass(frozen=True)
class RiddenPrompts:
    """
    This rank's share of the prompts of a training batch.

    Args:
        step (`int`): the step that trains on them.
        num_correct (`list[int]`): correct rollouts of each.
        num_rollouts (`int`): rollouts of each.
        sampling_weights (`list[float]`): importance weight of each; 0 for one that was not drawn to be measured.
        with_gradient (`list[int]`): which of them have a gradient other than 0, and a row.
        rows_NMD (`torch.Tensor`): their sketches.
    """

    step: int
    num_correct: list[int]
    num_rollouts: int
    sampling_weights: list[float]
    with_gradient: list[int]
    rows_NMD: Tensor


@dataclass
class Block:
    """Prompts whose sketches have one seed, so that each can be paired with each other one."""

    batches: list[RiddenPrompts] = field(default_factory=list)
    num_prompts: int = 0  # of all ranks

    def add(self, batch: RiddenPrompts, num_prompts: int) -> None:
        """Adds this rank's share of a batch of so many prompts."""
        self.batches.append(batch)
        self.num_prompts += num_prompts

    @property
    def first_step(self) -> int:
        return self.batches[0].step

    def pair_sums(self, device: torch.device) -> PairSums:
        """
        Sums over the pairs of all ranks' prompts. The ranks call this together, and exchange on this device.

        Raises:
            `Exception`: on all ranks, if something failed on one.
        """
        num_rollouts = self.batches[0].num_rollouts
        mine = [correct for batch in self.batches for correct in batch.num_correct]
        weights = [weight for batch in self.batches for weight in batch.sampling_weights]
        with_gradient = self._with_gradient()
        owners = set(with_gradient)
        has_row = [prompt in owners for prompt in range(len(mine))]
        gathered = gather_list(list(zip(mine, weights, has_row, strict=True)))
        with failing_together():
            num_correct_N = torch.tensor([correct for correct, _, _ in gathered])
            num_correct_C, num_samples_C, classes_N = classes_of(
                num_correct_N, torch.full_like(num_correct_N, num_rollouts)
            )
            class_of = {int(correct): c for c, correct in enumerate(num_correct_C)}
            weights_CN = torch.zeros(len(num_correct_C), len(with_gradient), dtype=torch.float64)
            for place, prompt in enumerate(with_gradient):
                weights_CN[class_of[mine[prompt]], place] = weights[prompt]
            rows = self._rows()
        products_MNC, squares_MN = products_with_sums(rows, weights_CN, device)
        with failing_together():
            sampling_N = torch.tensor([weight for _, weight, _ in gathered], dtype=torch.float64)
            has_row_N = torch.tensor([row for _, _, row in gathered])  # in the order of ranks, as gathered
            return _pair_sums(products_MNC, squares_MN, has_row_N, sampling_N, classes_N, num_correct_C, num_samples_C)

    def products_of_parts(
        self, weights_KC: Tensor, num_correct_C: Tensor, sizes: list[int], device: torch.device
    ) -> Tensor:
        """
        Σ_{i≠j} w_ki s_i s_j ⟨ĝ_i, ĝ_j⟩ in each part of the M sketches, `(K, M, L)`, for weights w of the classes of
        prompts with so many correct rollouts. The ranks call this together.
        """
        with failing_together():
            class_of = {int(correct): c for c, correct in enumerate(num_correct_C)}
            classes = [class_of[correct] for batch in self.batches for correct in batch.num_correct]
            weights = [weight for batch in self.batches for weight in batch.sampling_weights]
            with_gradient = self._with_gradient()
            sampling_N = torch.tensor([weights[prompt] for prompt in with_gradient], dtype=torch.float64)
            weights_KN = weights_KC[:, [classes[prompt] for prompt in with_gradient]] * sampling_N
            rows = self._rows()
        return products_of_sums(rows, weights_KN, sampling_N, sizes, device)

    def _with_gradient(self) -> list[int]:
        """Which of this rank's prompts have a row."""
        first, prompts = 0, []
        for batch in self.batches:
            prompts += [first + prompt for prompt in batch.with_gradient]
            first += len(batch.num_correct)
        return prompts

    def _rows(self) -> list[Tensor]:
        return [batch.rows_NMD for batch in self.batches]


def _pair_sums(
    products_MRC: Tensor,
    squares_MR: Tensor,
    has_row_N: Tensor,
    sampling_N: Tensor,
    classes_N: Tensor,
    num_correct_C: Tensor,
    num_samples_C: Tensor,
) -> PairSums:
    """The sums of N prompts, from the products of the R that have a gradient with the sum of each class."""
    N, (M, _, C) = len(has_row_N), products_MRC.shape
    with_class_MNC = torch.zeros(M, N, C, dtype=torch.float64)
    with_class_MNC[:, has_row_N] = products_MRC
    squares_MN = torch.zeros(M, N, dtype=torch.float64)
    squares_MN[:, has_row_N] = squares_MR
    with_class_MNC[:, torch.arange(N), classes_N] -= sampling_N * squares_MN  # not with itself
    squares_N = squares_MN.mean(0)
    return PairSums(
        with_class=with_class_MNC,
        squares=squares_N,
        largest=float(squares_N.max()),  # by Cauchy and Schwarz
        num_partners=torch.full_like(classes_N, N - 1),
        self_pairs=False,
        classes=classes_N,
        num_correct=num_correct_C,
        num_samples=num_samples_C,
        sampling_weights=sampling_N,
    )


FEWEST_OF_LOOK = 128
"""Prompts of a ride from which on its alarm was seen to be as rare as promised (`benchmarks/alarms.py`)."""


def first_block(size: int) -> int:
    """Prompts of the first block of a window with sketches. It is to size the sketches of the others."""
    return max(FEWEST_PROMPTS, size // 8)


def look_sizes(size: int, batch: int = 1) -> list[int]:
    """
    After how many prompts of a block the alarm looks at it: when it is full, at half of that, and so on down to
    [`FEWEST_OF_LOOK`]. A strong conflict shows in few prompts, and a faint one needs many.

    Args:
        size (`int`): prompts of a full block.
        batch (`int`, *optional*, defaults to `1`): prompts that come at a time. Of two sizes that one batch reaches,
            the larger is looked at, and the smaller is left out.
    """
    half = size // 2
    smaller = look_sizes(half, batch) if half >= FEWEST_OF_LOOK else []
    return [*(each for each in smaller if -(-each // batch) * batch < size), size]


class Window:
    """
    The latest prompts: at least `size` of them, once so many were trained on.

    They are in two blocks, each with projections of its own. Prompts are paired within their block alone. When the
    newer block has `size` prompts, the older one is dropped, and another begins. So there is always a full one. Of a
    full block only its sums are kept.

    Args:
        size (`int`): prompts of a full block; the last batch may make it larger.
        device (`torch.device`): on which ranks exchange numbers.
        first_size (`int`, *optional*): prompts of the first block, if not as many.
        batch (`int`, *optional*, defaults to `1`): prompts of each batch that is added, of all ranks.

    Attributes:
        looks (`dict[int, list[PairSums]]`): for each of the [`look_sizes`], the sums of the blocks that came to have
            so many prompts since the last report.
        full_before (`PairSums`, *optional*): the sums of the last full block before these.
    """

    def __init__(self, size: int, device: torch.device, first_size: int | None = None, batch: int = 1):
        self._size = size
        self._wanted = first_size or size
        self._device = device
        self._full: PairSums | None = None
        self._full_first_step: int | None = None
        self._filling = Block()
        self.looks: dict[int, list[PairSums]] = {each: [] for each in look_sizes(size, batch)}
        self.full_before: PairSums | None = None

    def add(self, batch: RiddenPrompts, num_prompts: int) -> tuple[Block, PairSums] | None:
        """
        Adds this rank's share of a batch. Returns the block that it completes, with its sums: then another begins. All
        ranks call this together.

        Raises:
            `Exception`: on all ranks, if the sums failed on one. A block that is complete is then dropped.
        """
        block, before = self._filling, self._filling.num_prompts
        block.add(batch, num_prompts)
        reached = [size for size in self.looks if before < size <= block.num_prompts]
        is_complete = block.num_prompts >= self._wanted
        if is_complete:
            self._filling = Block()
        if not (reached or is_complete):
            return None
        pairs = block.pair_sums(self._device)
        if reached:
            self.looks[reached[-1]].append(pairs)
        if not is_complete:
            return None
        self._full, self._full_first_step, self._wanted = pairs, block.first_step, self._size
        return block, pairs

    @property
    def begins_block(self) -> bool:
        """Whether the next batch is the first of a block."""
        return not self._filling.batches

    def latest_full(self) -> tuple[PairSums | None, PairSums | None]:
        """The full block completed last and the one before it; none if none was completed since the last report."""
        full = [self.full_before, *self.looks[self._size]]
        return (full[-1], full[-2]) if len(full) > 1 else (None, None)

    def forget_looks(self) -> None:
        """Begins to gather looks anew, after a report."""
        if self.looks[self._size]:
            self.full_before = self.looks[self._size][-1]
        self.looks = {size: [] for size in self.looks}

    def blocks(self, fewest: int) -> list[PairSums]:
        """Sums over the pairs of prompts in each block that has so many, the older first."""
        blocks = [] if self._full is None else [self._full]
        if self._filling.num_prompts >= fewest:
            blocks.append(self._filling.pair_sums(self._device))
        return blocks

    @property
    def first_step(self) -> int | None:
        """The oldest step whose prompts are in the window."""
        if self._full_first_step is not None:
            return self._full_first_step
        return self._filling.first_step if self._filling.batches else None
