"""A batch of training whose gradients ride along: which of its prompts are measured how, and their rows."""

import logging
from typing import Any

import torch
from torch import Tensor

from passk_trl.distributed.ranks import failing_together, num_ranks, own_rank, sum_of_ranks
from passk_trl.gradients.training_pass import TrainingPass, factors, trained_tokens
from passk_trl.rollouts.progress import without_bars

from .window import RiddenPrompts


logger = logging.getLogger(__name__)

# The share of a batch's rollouts that a pass of the monitor's own takes on average, of prompts whose rollouts carry no
# advantage.
_SHARE = 0.03


def carries_gradient(batch: dict[str, Any]) -> Tensor:
    """Whether each row has an advantage, a token that is trained on, and a weight if vLLM's rollouts are weighed."""
    if batch["advantages"].dim() != 1:
        raise ValueError(
            "each token has an advantage of its own, so no prompt's gradient can be told; set ride to False."
        )
    carries = (batch["advantages"] != 0) & trained_tokens(batch).bool().any(dim=1)
    if "importance_sampling_ratio" in batch:
        carries &= (batch["importance_sampling_ratio"] != 0).any(dim=1)
    return carries


def one_of_each(success_PG: Tensor, generator: torch.Generator) -> Tensor:
    """
    Weights `(P, G)` under which one correct and one incorrect rollout of each prompt, drawn at random, give its
    gradient without bias.

    As many rows could be all rollouts of fewer prompts. They would tell less. At success rate p, the variance that
    comes from rollouts would be 1/(4p(1−p)) times as large, and the variance that comes from prompts G/2 times.
    """
    G = success_PG.size(1)
    rate_P = success_PG.mean(dim=1)
    size_P1 = (rate_P * (1 - rate_P) * G / (G - 1)).unsqueeze(1)  # 0 where one side has no rollout
    keys_PG = torch.rand(success_PG.shape, generator=generator)
    weights_PG = torch.zeros_like(success_PG)
    for side_PG, sign in ((success_PG == 1, 1), (success_PG == 0, -1)):
        drawn_P1 = keys_PG.masked_fill(~side_PG, -1).argmax(dim=1, keepdim=True)
        weights_PG.scatter_add_(1, drawn_P1, sign * size_P1)
    return weights_PG


def sampling_weights(missing_P: Tensor, num_rollouts: int, generator: torch.Generator) -> Tensor:
    """
    Importance weights `(…, P)`, float64, of the prompts of one batch or of several, given which of them do not ride. A
    random share of these is measured by a pass of its own, and has one over the share. The others of them have 0, and
    what rides has 1.
    """
    rollouts = missing_P.size(-1) * num_rollouts
    share = (_SHARE * rollouts / 2 / missing_P.sum(dim=-1, keepdim=True).double()).clamp(max=1.0)
    drawn_P = torch.rand(missing_P.shape, generator=generator) < share
    return torch.where(missing_P, drawn_P.double() / share, 1.0)


class BatchPrompts:
    """What is known of the P prompts of a batch before it is trained on, the same on all ranks."""

    def __init__(self, num_correct_P: Tensor, num_rollouts: int, weights_PG: Tensor, scored_P: Tensor):
        self.num_correct_P = num_correct_P
        self.num_rollouts = num_rollouts
        self.weights_PG = weights_PG  # of each rollout's score, where its prompt rides
        self.scored_P = scored_P
        self.own_weights_PG = torch.zeros_like(weights_PG)  # where its prompt is measured by a pass of its own
        self.sampling_weights_P = torch.ones(len(scored_P), dtype=torch.float64)

    @classmethod
    def of(cls, success_PG: Tensor, carries_PG: Tensor, generator: torch.Generator) -> "BatchPrompts":
        scored_P = ~success_PG.isnan().any(dim=1)
        success_PG = success_PG.masked_fill(~scored_P[:, None], 0.0)
        G = success_PG.size(1)
        weights_PG = (success_PG - success_PG.mean(dim=1, keepdim=True)) / (G - 1)
        needed_PG = weights_PG.abs() > 1e-12
        rides_P = (~needed_PG | carries_PG).all(dim=1)
        prompts = cls(success_PG.sum(dim=1).long(), G, weights_PG * rides_P[:, None], scored_P)
        missing_P = scored_P & ~rides_P
        if missing_P.any():
            prompts.sampling_weights_P = sampling_weights(missing_P, G, generator)
            drawn_P = missing_P & (prompts.sampling_weights_P > 0)
            prompts.own_weights_PG = one_of_each(success_PG, generator) * drawn_P[:, None]
        return prompts


class RiddenBatch:
    """
    The gradients of a generated batch, while it is trained on for the first time.

    If something fails on one rank, training goes on there, and no rank measures the batch.
    """

    def __init__(self, step: int, prompts: BatchPrompts, taps: TrainingPass, rows_PMD: Tensor, micro_batches: int):
        self.step = step
        self.prompts = prompts
        self.taps = taps
        self._left = micro_batches
        self._rows_PMD = rows_PMD
        self._missed_P = torch.zeros(len(rows_PMD))

    @property
    def is_in_first_pass(self) -> bool:
        return self._left > 0

    @property
    def has_failed(self) -> bool:
        """Whether something failed on this rank."""
        return self.taps.failure is not None

    def add(self, prompts: list[int], rows: Tensor) -> None:
        """Adds sketches `(B, M, D)` to those of prompts."""
        places = torch.tensor(prompts, device=self._rows_PMD.device, dtype=torch.long)
        self._rows_PMD.index_add_(0, places, rows.to(self._rows_PMD))

    def miss(self, prompts: list[int]) -> None:
        """Notes prompts of which a rollout could not be measured."""
        self._missed_P[prompts] += 1

    def end_micro_batch(self) -> None:
        self._left -= 1

    def summed(self) -> tuple[Tensor, Tensor]:
        """
        The rows of all ranks, and how often a rollout of each prompt was missed. All ranks call this together, once.

        Raises:
            `Exception`: on all ranks, if something failed on one.
        """
        with failing_together():
            if self.taps.failure is not None:
                raise self.taps.failure
            missed_P = self._missed_P.to(self._rows_PMD.device)
        return sum_of_ranks(self._rows_PMD), sum_of_ranks(missed_P)

    def share(self, rows_PMD: Tensor, missed_P: Tensor) -> tuple[RiddenPrompts, int]:
        """This rank's share of the prompts, and the number of all, from what [`summed`] gives."""
        prompts = self.prompts
        largest_P = rows_PMD.flatten(1).abs().amax(dim=1).cpu()
        counted_P = prompts.scored_P & (missed_P == 0).cpu() & largest_P.isfinite()
        counted = counted_P.nonzero().flatten().tolist()
        rank = own_rank()
        unscored = int((~prompts.scored_P).sum())
        causes = (
            (unscored, "not scored"),
            (len(counted_P) - len(counted) - unscored, "clipped, masked or off-policy"),
        )
        for dropped, cause in causes:
            if rank == 0 and dropped > 0:
                with without_bars():
                    logger.warning(
                        "step %d: %d of %d prompts are left out: a rollout of theirs was %s.",
                        *(self.step, dropped, len(counted_P), cause),
                    )
        mine = counted[rank :: num_ranks()]
        with_gradient = [place for place, prompt in enumerate(mine) if largest_P[prompt] > 0]
        ridden = RiddenPrompts(
            step=self.step,
            num_correct=prompts.num_correct_P[mine].tolist(),
            num_rollouts=prompts.num_rollouts,
            sampling_weights=prompts.sampling_weights_P[mine].tolist(),
            with_gradient=with_gradient,
            rows_NMD=rows_PMD[[mine[place] for place in with_gradient]].float().cpu(),
        )
        return ridden, len(counted)


class RiddenRows:
    """
    The rows that are in the loss now. What fails is noted in the taps of the batch.

    Args:
        batch ([`RiddenBatch`]): of which they are.
        inputs (`dict`): what TRL computes the loss of; `ride_row` holds their places in the generated batch.
    """

    def __init__(self, batch: RiddenBatch, inputs: dict[str, Any]):
        self._batch = batch
        if batch.has_failed:
            return
        with batch.taps.failures_noted():
            self._begin(inputs)
        if batch.has_failed:
            batch.taps.abandon()

    def _begin(self, inputs: dict[str, Any]) -> None:
        prompts, places = self._batch.prompts, inputs["ride_row"].cpu()
        self._prompts = (places // prompts.num_rollouts).tolist()
        weights_B = prompts.weights_PG.flatten()[places]
        self._weights_B = weights_B.to(inputs["ride_row"].device, torch.float32)
        self._mask_BT = trained_tokens(inputs)
        self._targets_BT, self._token_weights_BT = inputs["completion_ids"], self._weights_B[:, None] * self._mask_BT
        self._missed_B = self._weights_B != 0
        counts = (weights_B != 0).tolist()
        counted = [prompt if is_counted else None for prompt, is_counted in zip(self._prompts, counts, strict=True)]
        tokens = inputs["prompt_ids"].numel() + inputs["completion_ids"].numel()
        self._batch.taps.begin(counted, inputs["prompt_ids"], tokens)

    def add_head(self) -> None:
        """Adds the LM head's part, once the loss is computed. All ranks call this together."""
        with self._batch.taps.failures_noted():
            if self._batch.has_failed:
                self._batch.taps.without_head()
            else:
                self._batch.taps.add_head(self._targets_BT, self._token_weights_BT)

    def see(self, gradient_BT: Tensor) -> None:
        """Takes the gradient of the loss with respect to the log-probabilities."""
        if self._batch.has_failed:
            return
        with self._batch.taps.failures_noted():
            factors_B, self._missed_B = factors(gradient_BT, self._mask_BT, self._weights_B)
            self._batch.taps.weigh(factors_B)

    def end(self) -> None:
        """Adds the gradients to the batch."""
        self._batch.end_micro_batch()
        if not self._batch.has_failed:
            with self._batch.taps.failures_noted():
                self._batch.add(*self._batch.taps.end())
                missed = zip(self._prompts, self._missed_B.tolist(), strict=True)
                self._batch.miss([prompt for prompt, is_missed in missed if is_missed])
        if self._batch.has_failed:
            self._batch.taps.abandon()
