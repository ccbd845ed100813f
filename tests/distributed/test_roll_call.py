"""The roll call: ranks that share a sharded model leave a pass together, and the model is left as it was."""

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import tiny
from passk_trl.distributed.ranks import AnotherRankFailed
from passk_trl.distributed.roll_call import RollCall
from ranks import run_ranks


def hooks_of(model: torch.nn.Module) -> list[int]:
    return [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]


def pass_that_fails_on_one_rank(place: str) -> tuple[str, bool]:
    dist.init_process_group("gloo")
    model, mesh = tiny.policy(), init_device_mesh("cpu", (2,))
    for layer in model.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    before = hooks_of(model)
    roll_call = RollCall(model)
    assert roll_call.is_needed

    def fail(*_):
        raise ZeroDivisionError

    if dist.get_rank() == 1:
        module = model.model.layers[0].mlp
        if place == "forward":
            module.register_forward_pre_hook(fail)
        else:
            module.register_forward_hook(lambda _module, _inputs, output: output.register_hook(fail) and None)
    try:
        with roll_call.taken():
            # As in a probe, no gradient of a parameter is asked for: it would be reduced over the ranks.
            embedded = torch.ones(1, 4, model.config.hidden_size, requires_grad=True)
            torch.autograd.grad(model(inputs_embeds=embedded).logits.sum(), embedded)
        raised = ""
    except Exception as error:
        raised = type(error).__name__
    model.model.layers[0].mlp._forward_hooks.clear()
    model.model.layers[0].mlp._forward_pre_hooks.clear()
    return raised, hooks_of(model) == before and "_has_unfinished_sequences" not in vars(model)


@pytest.mark.parametrize("place", ["forward", "backward"])
def test_the_other_ranks_leave_a_pass_that_one_failed_in(place):
    assert run_ranks(pass_that_fails_on_one_rank, place) == [("AnotherRankFailed", True), ("ZeroDivisionError", True)]


def test_nothing_is_sent_for_a_model_that_is_not_sharded():
    model = tiny.policy()
    roll_call = RollCall(model)
    assert not roll_call.is_needed
    roll_call(present=False)
    for failure in (ZeroDivisionError, AnotherRankFailed):
        with pytest.raises(failure), roll_call.taken():
            raise failure
    assert "_has_unfinished_sequences" not in vars(model)
    assert not any(hooks_of(model))
