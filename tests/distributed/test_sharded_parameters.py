"""Sizes, shapes and values of whole and sharded parameters. ZeRO-3's own are tested under the engine."""

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from passk_trl.distributed.sharded_parameters import engine_kept_out, gathered, local_part, shape_of, size_of
from ranks import run_ranks


def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(4, 3)  # 3 rows: the ranks hold 2 and 1


def zero3_parameter() -> nn.Parameter:
    """A parameter as ZeRO-3 leaves it outside the modules in use."""
    parameter = nn.Parameter(torch.empty(0))
    parameter.ds_id, parameter.ds_shape, parameter.ds_numel = 0, torch.Size([3, 4]), 12
    return parameter


def test_a_whole_parameter_is_itself():
    weight = linear().weight
    assert (shape_of(weight), size_of(weight)) == (torch.Size([3, 4]), 12)
    assert local_part(weight) is weight
    with gathered([weight]) as (whole,):
        assert torch.equal(whole, weight)
        assert not whole.requires_grad


def of_fsdp2() -> tuple:
    dist.init_process_group("gloo")
    module = linear()
    fully_shard(module, mesh=init_device_mesh("cpu", (2,)))
    with torch.no_grad(), gathered([module.weight, module.bias]) as whole:
        values = [tensor.tolist() for tensor in whole]
    return shape_of(module.weight), size_of(module.weight), local_part(module.weight.detach()).shape, values


def test_parameters_of_fsdp2_are_gathered():
    module = linear()
    values = [module.weight.tolist(), module.bias.tolist()]
    first, last = run_ranks(of_fsdp2)
    assert first == (torch.Size([3, 4]), 12, torch.Size([2, 4]), values)
    assert last == (torch.Size([3, 4]), 12, torch.Size([1, 4]), values)


def test_an_empty_parameter_of_zero3_has_the_whole_size():
    parameter = zero3_parameter()
    assert (shape_of(parameter), size_of(parameter)) == (torch.Size([3, 4]), 12)


def test_only_weights_of_zero3_go_without_gradients_and_only_meanwhile():
    module = linear()
    module.trained, module.frozen = zero3_parameter(), zero3_parameter().requires_grad_(False)
    module.frozen.ds_id = 1
    parameters = (module.weight, module.trained, module.frozen)
    with engine_kept_out(module, asked=set()):
        assert [parameter.requires_grad for parameter in parameters] == [True, False, False]
    with engine_kept_out(module, asked={"trained"}):
        assert [parameter.requires_grad for parameter in parameters] == [True, True, False]
    assert [parameter.requires_grad for parameter in parameters] == [True, True, False]
