"""The parameters of an audit are chosen by a short name or by a regular expression."""

import pytest
import torch

import tiny
from passk_trl.audit import choose_parameters


def test_a_part_of_the_parameters_is_found_by_its_name():
    model = tiny.policy()
    assert choose_parameters(model, "final_norm") == r"^model\.norm$"
    assert choose_parameters(model, "final_layer") == r"^model\.layers\.1\."
    assert choose_parameters(model, "q_proj|v_proj") == "q_proj|v_proj"
    with pytest.raises(ValueError, match=r"parameters='\(' is not a regular expression"):
        choose_parameters(model, "(")
    with pytest.raises(ValueError, match="are not in a list"):
        choose_parameters(torch.nn.Linear(2, 2), "final_layer")
