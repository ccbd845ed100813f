"""Batches of prompts: their size does not matter, and they are halved when memory runs out."""

import itertools

import pytest
import torch

from passk_trl.gradients import ScoredRollouts, gram_matrix
from passk_trl.gradients.passes import TOKENS_AT_A_TIME
from policies import qwen, relative_error, rollouts


def test_batch_size_does_not_matter():
    model, data = qwen(), rollouts()
    grams = [gram_matrix(model, data, 0, batch_size=size).gram_NN for size in (1, 2, 4, None)]
    for one, other in itertools.pairwise(grams):
        assert relative_error(one, other) < 1e-5


def test_one_backward_pass_for_each_batch_of_prompts():
    model, data = qwen(), rollouts(N=6)
    backward_passes = []
    model.model.embed_tokens.register_full_backward_hook(lambda *_: backward_passes.append(True))
    done = []
    gram_matrix(model, data, 0, batch_size=2, on_batch=done.append)
    assert data.have_a_gradient().count(False) == 2
    assert len(backward_passes) == 2
    assert done == [2, 2, 2]  # the two without a gradient, which take no pass, and two batches


def test_the_smallest_prompt_takes_a_pass_where_none_has_a_gradient():
    model, data, lengths = qwen(), rollouts(), []
    data = ScoredRollouts(data.prompt_ids, data.completion_ids, torch.zeros_like(data.success_NG))
    model.model.layers[0].mlp.register_forward_hook(
        lambda _module, _inputs, output: lengths.append(output.size(1)) if output.requires_grad else None
    )
    measured = gram_matrix(model, data, 0)
    assert lengths == [min(map(data.length, range(data.num_prompts)))]
    assert measured.gram_NN.abs().max() == 0
    assert measured.coverage.fraction == 1


def test_equal_rollouts_are_taken_once():
    model, few = qwen(), rollouts(N=4)
    several = [[group[j] for j in (0, 1, 2, 0, 1, 0)] for group in few.completion_ids]
    success = torch.tensor([[1, 0, 0, 1, 0, 1], [0, 1, 1, 0, 1, 0], [0, 0, 1, 0, 0, 0], [1, 0, 1, 0, 0, 1]])
    data = ScoredRollouts(few.prompt_ids, several, success)
    taken = []
    handle = model.model.layers[0].mlp.register_forward_hook(
        lambda _module, _inputs, output: taken.append(len(output)) if output.requires_grad else None
    )
    measured = gram_matrix(model, data, 0).gram_NN
    handle.remove()
    assert sum(taken) == 4 * 3
    assert relative_error(measured, gram_of_each_rollout_alone(model, data)) < 1e-5


def test_a_pass_keeps_to_its_tokens_where_one_prompt_has_many_rollouts_and_another_is_long():
    many = [[[i + 1, j + 1] for j in range(4)] for i in range(4)] * 6
    few = [[[1] * 150, [2] * 150, [1] * 150, [2] * 150]]
    data = ScoredRollouts([[1]] * 25, [*many, *few], torch.tensor([[1, 0, 1, 0]] * 25))
    model, sizes = qwen(), []
    model.model.layers[0].mlp.register_forward_hook(
        lambda _module, _inputs, output: sizes.append(output[..., 0].numel()) if output.requires_grad else None
    )
    gram_matrix(model, data, 0)
    assert max(sizes) <= TOKENS_AT_A_TIME


def gram_of_each_rollout_alone(model, data):
    gradients = []
    for prompt, completions, weights in zip(
        data.prompt_ids, data.completion_ids, data.score_weights_NG.tolist(), strict=True
    ):
        score = 0
        for completion, weight in zip(completions, weights, strict=True):
            log_probs = model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
            score = score + weight * log_probs.gather(1, torch.tensor(completion)[:, None]).sum()
        gradient = torch.autograd.grad(score, list(model.parameters()))
        gradients.append(torch.cat([each.flatten() for each in gradient]))
    stacked = torch.stack(gradients).double()
    return stacked @ stacked.T


@pytest.mark.parametrize("store", ["exact", "sketch"])
def test_when_memory_runs_out_batches_are_halved_and_nothing_counts_twice(store):
    model, data = qwen(), rollouts()
    whole = gram_matrix(model, data, 0, store=store).gram_MNN
    sizes = []

    def limited(_module, _inputs, output):
        if output.requires_grad:  # not in the survey
            sizes.append(len(output) // data.num_rollouts)
        if sizes[-1:] > [1]:  # in the backward pass, when some layers have added to the store already
            output.register_hook(lambda _: (_ for _ in ()).throw(torch.OutOfMemoryError("no memory left")))

    handle = model.model.layers[0].mlp.register_forward_hook(limited)
    halved = gram_matrix(model, data, 0, store=store, batch_size=4).gram_MNN
    assert (halved - whole).norm() <= 1e-6 * whole.norm()  # sketches have products that all but cancel
    assert sizes == [4, 2] + data.have_a_gradient().count(True) * [1]
    handle.remove()
    model.model.layers[0].mlp.register_forward_hook(lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("none")))
    with pytest.raises(torch.OutOfMemoryError):
        gram_matrix(model, data, 0, store=store)


@pytest.mark.parametrize("store", ["exact", "sketch"])
def test_one_prompt_that_memory_has_no_room_for_is_halved_by_its_rollouts(store):
    model, data = qwen(), rollouts(n=5)
    whole = gram_matrix(model, data, 0, store=store).gram_MNN
    sizes = []

    def limited(_module, _inputs, output):
        if output.requires_grad:  # not in the survey
            sizes.append(len(output))
        if sizes[-1:] > [2]:
            output.register_hook(lambda _: (_ for _ in ()).throw(torch.OutOfMemoryError("no memory left")))

    model.model.layers[0].mlp.register_forward_hook(limited)
    divided = gram_matrix(model, data, 0, store=store, batch_size=1).gram_MNN
    assert (divided - whole).norm() <= 1e-6 * whole.norm()  # sketches have products that all but cancel
    assert sizes == [5, 3] + data.have_a_gradient().count(True) * [2, 1, 1, 1]
