"""Which parameters a regular expression selects: by the names that `named_parameters` gives, and tied ones whole."""

import pytest
import torch
from torch import nn

from passk_trl.gradients.selection import select
from policies import qwen


class Mixer(nn.Module):
    """Keeps parameters of its own beside a layer, as state-space models and experts do."""

    def __init__(self):
        super().__init__()
        self.A_log = nn.Parameter(torch.zeros(3))
        self.out_proj = nn.Linear(3, 2)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.mixer, self.other = Mixer(), Mixer()


def names_of(selected):
    return [each.name for each in selected]


def test_all_are_named_sized_and_ordered_as_named_parameters():
    model = qwen(tie_word_embeddings=True)
    model.model.layers[0].mlp.requires_grad_(False)
    trained = [(name, p.shape, p.numel()) for name, p in model.named_parameters() if p.requires_grad]
    assert [(each.name, each.shape, each.size) for each in select(model, "all")] == trained


@pytest.mark.parametrize("parameters", ["embed_tokens", "lm_head"])
def test_a_tied_parameter_is_selected_with_both_roles_by_either_name(parameters):
    model = qwen(tie_word_embeddings=True)
    (tied,) = select(model, parameters)
    assert tied.name == "model.embed_tokens.weight"
    assert tied.owners == ((model.model.embed_tokens, "weight"), (model.lm_head, "weight"))
    assert tied.size == model.lm_head.weight.numel()


@pytest.mark.parametrize(
    ("parameters", "names"),
    [
        ("A_log", ["mixer.A_log", "other.A_log"]),
        (r"mixer\.A_log$", ["mixer.A_log"]),
        (r"^other\.out_proj$", ["other.out_proj.weight", "other.out_proj.bias"]),
        ("bias", ["mixer.out_proj.bias", "other.out_proj.bias"]),
    ],
)
def test_an_expression_is_searched_in_the_names_of_modules_and_of_parameters(parameters, names):
    assert names_of(select(Model(), parameters)) == names


def test_what_selects_nothing_is_refused():
    model = Model()
    model.mixer.requires_grad_(False)
    with pytest.raises(ValueError, match=r"parameters='\^mixer' selects no trainable parameter; .* such as 'scale'"):
        select(model, "^mixer")
    with pytest.raises(ValueError, match=r"Model has no trainable parameter; set requires_grad on some\."):
        select(model.requires_grad_(False), "all")
