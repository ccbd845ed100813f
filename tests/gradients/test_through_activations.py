"""The way through activations: no more backward pass than is needed."""

from passk_trl.gradients import gram_matrix
from policies import qwen, rollouts


def test_the_last_layer_alone_needs_no_backward_below_it():
    model, data = qwen(), rollouts()
    reached = []
    model.model.layers[0].mlp.down_proj.register_full_backward_hook(lambda *_: reached.append(True))
    gram_matrix(model, data, 0, parameters=r"^model\.norm$")
    assert reached == []
    gram_matrix(model, data, 0)
    assert reached == [True]
