"""Beside the gradients that ride on training, those of the same rollouts by a pass of their own."""

from contextlib import contextmanager
from unittest import mock

import torch

from passk_trl.distributed.ranks import sum_of_ranks
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
        rows = riding._gradients.of_rollouts(rollouts, riding._projections)[: len(own)]
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


def assert_equal(pairs) -> None:
    """Each prompt's row is the one of its own pass, and some have a gradient."""
    assert pairs
    for ridden, expected in pairs:
        if len(expected):
            assert torch.allclose(ridden, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    assert sum(int(expected.flatten(1).any(dim=1).sum()) for _, expected in pairs if len(expected)) >= 4
