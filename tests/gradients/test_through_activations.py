"""The way through activations: no more backward pass than is needed, and logits in blocks."""

from passk_trl.gradients import gram_matrix
from policies import qwen, relative_error, rollouts


def test_logits_in_blocks_are_the_same(monkeypatch):
    model, data = qwen(), rollouts()
    whole = gram_matrix(model, data, 0).gram_NN
    monkeypatch.setattr("passk_trl.gradients.through_activations._LOGITS_AT_A_TIME", 0)
    for tokens in (3, 70):  # parts of a prompt; a few prompts
        monkeypatch.setattr("passk_trl.gradients.through_activations._FEWEST_TOKENS_AT_A_TIME", tokens)
        assert relative_error(gram_matrix(model, data, 0).gram_NN, whole) < 1e-5


def test_the_last_layer_alone_needs_no_backward_below_it():
    model, data = qwen(), rollouts()
    reached = []
    model.model.layers[0].mlp.down_proj.register_full_backward_hook(lambda *_: reached.append(True))
    gram_matrix(model, data, 0, parameters=r"^model\.norm$")
    assert reached == []
    gram_matrix(model, data, 0)
    assert reached == [True]
