"""The sketches of a ride: each block's are sized by the errors of the block before."""

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from passk_trl.distributed.ranks import failing_together, gather_list, own_rank
from passk_trl.gradients.of_trainer import TrainedGradients
from passk_trl.gradients.projections import Projections
from passk_trl.gradients.sketch_size import (
    cost_of_draws,
    draws_needed,
    error_ratio,
    sketch_variances,
    whole_draws,
)
from passk_trl.interference.pair_sums import PairSums
from passk_trl.interference.pairs import pair_mean

from .window import Block


logger = logging.getLogger(__name__)

RIDE_SKETCHES, FIRST_DRAWS, RIDE_RANK = 8, 2, 2
"""
Sketches of a ride, the draws of each parameter at first, when nothing is known, and their rank. A draw is small, so
each parameter gets what it needs and hardly more. Eight sketches are enough where their error is less than the
sample's; a full block in which it is not is warned of.
"""

# The most that sketches may take, as a share of the multiplications of a training pass. In a small model the draws at
# first take more already, and so may later ones.
_MOST_ARITHMETIC = 0.05


class Sketches:
    """
    Sizes the sketches of each block, so that their standard error is half of the sample's at a full window.

    Args:
        gradients ([`TrainedGradients`]): what is sketched.
        weights (`Callable[[PairSums], Tensor]`): the weights `(K, C)` of the classes of prompts in K gradients, of
            which the inner product with ∇J_1 is to be told.
        window (`int`): prompts of a full window.
        device (`torch.device`): on which ranks exchange numbers.
    """

    def __init__(
        self,
        gradients: TrainedGradients,
        weights: Callable[[PairSums], Tensor],
        window: int,
        device: torch.device,
    ):
        self._weights = weights
        self._window = window
        self._device = device
        self._names, shapes = list(gradients.matrices), list(gradients.matrices.values())
        self._draws = dict.fromkeys(self._names, FIRST_DRAWS)
        self._cost_L = cost_of_draws(shapes, RIDE_SKETCHES * RIDE_RANK)
        self._most = max(_MOST_ARITHMETIC * gradients.multiplications, FIRST_DRAWS * float(self._cost_L.sum()))

    def projections(self, seed: int) -> Projections:
        """Those of the next block."""
        return Projections(seed, self._draws, RIDE_SKETCHES, RIDE_RANK)

    def fit(self, block: Block, pairs: PairSums, step: int) -> None:
        """Sizes the sketches of the next block by the errors of this one. All ranks must call this together."""
        with failing_together():
            weights_KC = self._weights(pairs)
            sizes = [self.projections(0).numbers_of(name) for name in self._names]
        products_KML = block.products_of_parts(weights_KC, pairs.num_correct, sizes, self._device)
        with failing_together():
            draws = self._needed(products_KML / pairs.num_pairs, weights_KC, pairs, step)
        self._draws = gather_list([draws])[0]  # the same on all ranks

    def _needed(self, products_KML: Tensor, weights_KC: Tensor, pairs: PairSums, step: int) -> dict[str, int]:
        sketch_KL = sketch_variances(products_KML)
        ones_1C = torch.ones(1, weights_KC.size(1), dtype=torch.float64)
        sampling_K = pair_mean(pairs, weights_KC, ones_1C).variance()[0]
        seen_K = sampling_K > 0
        if not seen_K.any():  # no prompt has a gradient
            return self._draws
        sketch_KL, sampling_K = sketch_KL[seen_K], sampling_K[seen_K]
        at_full_window_K = sampling_K * min(1.0, pairs.num_prompts / self._window)
        draws_L = torch.tensor([float(self._draws[name]) for name in self._names], dtype=torch.float64)
        needed_L = draws_needed(sketch_KL, at_full_window_K, draws_L, self._cost_L)
        draws = dict(zip(self._names, whole_draws(needed_L, self._cost_L, self._most).int().tolist(), strict=True))
        if own_rank() == 0:
            numbers = [sum(each.values()) * RIDE_SKETCHES * RIDE_RANK**2 for each in (self._draws, draws)]
            ratio = error_ratio(sketch_KL, sampling_K)
            logger.log(
                logging.WARNING if ratio > 1 and pairs.num_prompts >= self._window else logging.INFO,
                "step %d: in %d prompts, the sketches' error is %.2f of the sample's. A prompt's sketches had %d "
                "numbers, and will have %d.",
                *(step, pairs.num_prompts, ratio, *numbers),
            )
        return draws
