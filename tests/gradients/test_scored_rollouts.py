"""Scored rollouts: what is refused, and the layout of a padded batch."""

import pytest
import torch

from passk_trl.gradients import ScoredRollouts
from passk_trl.gradients.scored_rollouts import longest_first, padded


def test_score_weights_are_centred_and_unbiased():
    data = ScoredRollouts([[1]] * 3, [[[2]] * 4] * 3, torch.tensor([[1, 0, 0, 0], [1, 1, 1, 1], [1, 1, 0, 0]]))
    expected = torch.tensor([[3 / 4, -1 / 4, -1 / 4, -1 / 4], [0, 0, 0, 0], [1 / 2, 1 / 2, -1 / 2, -1 / 2]]) / 3
    assert torch.allclose(data.score_weights_NG, expected.double())
    assert data.num_correct_N.tolist() == [1, 4, 2]


def test_successes_are_counted_exactly_in_any_dtype():
    success = torch.ones(1, 300, dtype=torch.bfloat16)
    success[0, 0] = 0
    data = ScoredRollouts([[1]], [[[2]] * 299 + [[3]]], success)
    assert data.num_correct_N.tolist() == [299]
    assert data.have_a_gradient() == [True]


@pytest.mark.parametrize(
    ("prompts", "completions", "success", "message"),
    [
        ([[1]], [[[2], [3]]] * 2, torch.zeros(2, 2), "needs 2 prompts with 2 completions each; got 1 prompts"),
        ([[1]] * 2, [[[2], [3]], [[2]]], torch.zeros(2, 2), r"groups of \[1, 2\]"),
        ([[1]] * 2, [[[2]]] * 2, torch.zeros(2, 1), "raise num_rollouts"),
        ([[1], []], [[[2], [3]]] * 2, torch.zeros(2, 2), "prompt 1 has no token to predict from"),
        ([[1]] * 2, [[[2], [3]]] * 2, torch.full((2, 2), 0.5), "other than 0 and 1"),
        ([[1]] * 2, [[[2], [3]]] * 2, torch.full((2, 2), torch.nan), "other than 0 and 1"),
    ],
)
def test_what_does_not_fit_is_refused(prompts, completions, success, message):
    with pytest.raises(ValueError, match=message):
        ScoredRollouts(prompts, completions, success)


def test_a_batch_is_padded_left_of_prompts_and_right_of_completions():
    data = ScoredRollouts([[5], [6, 7]], [[[1, 2], [3]], [[4], [8]]], torch.tensor([[1, 0], [0, 1]]))
    batch = padded(data, longest_first(data), pad_token_id=0, device=torch.device("cpu"))
    assert sorted(batch.prompts) == [0, 1]
    rows = dict(zip(batch.prompts, batch.group(batch.input_ids).tolist(), strict=True))
    assert rows == {0: [0, 5, 1, 2, 0, 5, 3, 0], 1: [6, 7, 4, 0, 6, 7, 8, 0]}
    weights = dict(zip(batch.prompts, batch.token_weights_BK.tolist(), strict=True))
    assert weights == {0: [0.5, 0.5, -0.5, 0], 1: [-0.5, 0, 0.5, 0]}
    places = dict(zip(batch.prompts, batch.group(batch.position_ids).tolist(), strict=True))
    assert places == {0: [0, 0, 1, 2, 0, 0, 1, 1], 1: [0, 1, 2, 2, 0, 1, 2, 2]}
    outputs = torch.arange(12.0).view(4, 3, 1)  # the last prompt position of row r, 3r, predicts the first token
    predicting = batch.predicting(outputs)
    assert predicting[0, :, 0].tolist() == [0, 1, 3, 4]
    assert torch.equal(batch.ungroup(predicting)[:, :2], outputs[:, :2])
    assert batch.ungroup(predicting)[:, 2].abs().sum() == 0


def test_equal_completions_share_a_row_and_add_their_weights():
    data = ScoredRollouts(
        [[5], [6, 7]], [[[1], [2], [1], [3]], [[4], [4], [9], [9]]], torch.tensor([[1, 0, 1, 0], [1, 1, 0, 0]])
    )
    assert [[completion for completion, _ in group] for group in data.distinct] == [[[1], [2], [3]], [[4], [9]]]
    batch = padded(data, [0, 1], pad_token_id=0, device=torch.device("cpu"))
    assert batch.group(batch.input_ids).tolist() == [[0, 5, 1, 0, 5, 2, 0, 5, 3], [6, 7, 4, 6, 7, 9, 6, 7, 4]]
    assert torch.allclose(batch.token_weights_BK * 6, torch.tensor([[2.0, -1, -1], [2, -2, 0]]))
    part = padded(data, [1], pad_token_id=0, device=torch.device("cpu"), which=slice(2, None))
    assert part.token_weights_BK.tolist() == [[0]]  # of the two, none is left for this part


def test_prompts_with_as_many_different_completions_are_neighbours():
    completions = [[[1], [1], [1]], [[1, 2, 3, 4], [1], [1]], [[1], [2], [3]], [[1], [2], [2]]]
    data = ScoredRollouts([[5]] * 4, completions, torch.zeros(4, 3))
    assert longest_first(data) == [2, 1, 3, 0]


def test_equal_completions_of_which_some_succeed_have_no_gradient():
    """Not even by rounding: their weights cancel in whole numbers."""
    success_NG = torch.tensor([[1.0] * c + [0.0] * (11 - c) for c in range(12)])
    equal = ScoredRollouts([[5]] * 12, [[[1]] * 11] * 12, success_NG)
    assert [weight for [(_, weight)] in equal.distinct] == [0.0] * 12
    assert not any(equal.have_a_gradient())
    differing = ScoredRollouts([[5]] * 12, [[[1]] * 10 + [[2]]] * 12, success_NG)
    assert differing.have_a_gradient() == [0 < c < 11 for c in range(12)]
