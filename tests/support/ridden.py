"""Beside the gradients that ride on training, those of the same rollouts by a pass of their own."""

from contextlib import contextmanager
from functools import partial
from unittest import mock

import torch

from passk_trl.distributed.engine import engine_reset_afterwards
from passk_trl.distributed.ranks import sum_of_ranks
from passk_trl.gradients.gram import ready_for_gradients
from passk_trl.gradients.options import GradientOptions
from passk_trl.gradients.passes import take_passes
from passk_trl.gradients.plan import Plan
from passk_trl.gradients.through_activations import add_through_activations
from passk_trl.monitor import ridden_batch, rider
from passk_trl.rollouts.training_batch import batch_rollouts


@contextmanager
def compared():
    """
    Inside, each batch that rides adds a pair to the list: the rows of its measured prompts, and those that a pass of
    their own gives, of all ranks. The projections are the same, so the two agree but for rounding.
    """
    pairs: list[tuple[torch.Tensor, torch.Tensor]] = []
    begin, share = rider.Rider._begin, ridden_batch.RiddenBatch.share

    def begin_and_measure(riding, batch, num_rows):
        started = begin(riding, batch, num_rows)
        success_PG = riding._latest.success(None)
        scored = started.prompts.scored_P.nonzero().flatten().tolist()
        rollouts, own = batch_rollouts(riding.trainer, batch, success_PG, scored)
        rows = rows_of(riding, rollouts)[: len(own)]
        started.expected_PMD = rows.new_zeros(len(success_PG), *rows.shape[1:])
        started.expected_PMD[own] = rows
        return started

    def compare_and_share(batch, rows_PMD, missed_P):
        measured_P = (missed_P == 0) & (batch.prompts.sampling_weights_P > 0) & batch.prompts.scored_P
        pairs.append((rows_PMD[measured_P], sum_of_ranks(batch.expected_PMD)[measured_P]))
        return share(batch, rows_PMD, missed_P)

    joins = mock.patch.object(rider.Rider, "_begin", begin_and_measure)
    ends = mock.patch.object(ridden_batch.RiddenBatch, "share", compare_and_share)
    with joins, ends:
        yield pairs


def rows_of(riding, rollouts) -> torch.Tensor:
    """The gradients of this rank's prompts, `(n, M, D)`, as a probe takes them."""
    trainer, gradients = riding.trainer, riding._gradients
    causal_lm = gradients._causal_lm
    plan = Plan(gradients._layers, [], {}, [], set(), False, gradients._measured)
    store = gradients._new_store(riding._projections, rollouts.num_prompts)
    add = partial(add_through_activations, causal_lm, plan, store)
    options = GradientOptions(trainer._tokenizer.pad_token_id)
    with engine_reset_afterwards(trainer), ready_for_gradients(causal_lm.model):
        take_passes(add, store.forget, rollouts, causal_lm.roll_call, trainer.accelerator.device, options, False)
    return torch.cat(list(store.rows().values()), dim=2)


def assert_equal(pairs) -> None:
    """Each prompt's row is the one of its own pass, and some have a gradient."""
    assert pairs
    for ridden, expected in pairs:
        if len(expected):
            assert torch.allclose(ridden, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    assert sum(int(expected.flatten(1).any(dim=1).sum()) for _, expected in pairs if len(expected)) >= 4
