"""Which prompts of a batch are measured how."""

import pytest
import torch

from passk_trl.monitor.ridden_batch import BatchPrompts, one_of_each
from ridden import of_all


def test_prompts_without_an_advantage_are_drawn_and_weighed_so_that_each_counts_once_on_average():
    success_PG = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0], [1, 1, 0, float("nan")]] * 5)
    carries_PG = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 1, 0]] * 5).bool()
    draws = []
    for seed in range(4000):
        prompts = BatchPrompts.of(success_PG, carries_PG, torch.Generator().manual_seed(seed))
        draws.append(prompts.sampling_weights_P)
        assert prompts.scored_P.tolist() == [True, True, True, False] * 5
        drawn_P = prompts.own_weights_PG.any(dim=1)
        assert drawn_P.view(5, 4)[:, 0].tolist() == (prompts.sampling_weights_P[0::4] > 0).tolist()
        assert not drawn_P.view(5, 4)[:, 1:].any()  # of which all is known
        assert not prompts.weights_PG.view(5, 4, 4)[:, 0].any()  # nothing rides where a part is missing
    weights = torch.stack(draws)
    assert set(weights[:, 1::4].flatten().tolist()) == set(weights[:, 2::4].flatten().tolist()) == {1.0}
    missing = weights[:, 0::4]
    share = 0.03 * 80 / 2 / 5  # of 80 rollouts, so many pairs, for 5 prompts
    assert missing.unique().tolist() == [0.0, pytest.approx(1 / share)]
    error = missing.std() / missing.numel() ** 0.5
    assert abs(float(missing.mean()) - 1) < 4 * error


def test_one_rollout_of_each_side_gives_the_gradient_of_all_on_average():
    success_PG = torch.tensor([[1.0, 1, 1, 0, 0], [0, 1, 0, 0, 0], [1, 1, 1, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]])
    draws = torch.stack([one_of_each(success_PG, torch.Generator().manual_seed(seed)) for seed in range(4000)])
    assert ((draws > 0).sum(dim=2) == torch.tensor([1, 1, 1, 0, 0])).all()
    assert ((draws < 0).sum(dim=2) == torch.tensor([1, 1, 1, 0, 0])).all()
    error_PG = draws.std(dim=0) / len(draws) ** 0.5
    assert ((draws.mean(dim=0) - of_all(success_PG)).abs() <= 4 * error_PG + 1e-6).all()
    assert (of_all(success_PG)[:3].abs() > 0.03).all()  # which is more than the tolerance
