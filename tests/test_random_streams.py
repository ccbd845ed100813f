"""Random streams: kept on every kind of accelerator, and different for each rank and step."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from passk_trl.random_streams import random_streams_kept, seed_of_rank


class OfSeveralDevices:
    """How torch.cuda, torch.xpu and torch.npu keep the streams of their devices."""

    def __init__(self):
        self.states = [torch.tensor([1]), torch.tensor([2])]

    def get_rng_state_all(self):
        return list(self.states)

    def set_rng_state_all(self, states):
        self.states = list(states)


class OfOneDevice:
    """How torch.mps keeps its stream."""

    def __init__(self):
        self.states = [torch.tensor([1])]

    def get_rng_state(self):
        return self.states[0]

    def set_rng_state(self, state):
        self.states = [state]


@pytest.mark.parametrize(
    ("kind", "streams"), [("xpu", OfSeveralDevices), ("npu", OfSeveralDevices), ("mps", OfOneDevice)]
)
def test_the_streams_of_every_kind_of_accelerator_are_kept(monkeypatch, kind, streams):
    module = streams()
    monkeypatch.setattr(torch, "get_device_module", lambda _device: module)
    device = SimpleNamespace(type=kind)  # torch itself knows an NPU by the package torch_npu alone
    before = [state.item() for state in module.states]

    def draw_and_fail():
        with random_streams_kept(device):
            module.states = [torch.tensor([9]) for _ in module.states]
            raise KeyError

    with pytest.raises(KeyError):
        draw_and_fail()
    assert [state.item() for state in module.states] == before


def test_the_streams_of_the_cpu_are_kept():
    def draw():
        return random.random(), float(np.random.rand()), torch.rand(()).item()

    with random_streams_kept(torch.device("cpu")):
        expected = draw()
    with random_streams_kept(torch.device("cpu")):
        draw(), draw()
    assert draw() == expected


def test_no_two_ranks_at_any_two_steps_have_the_same_seed():
    seeds = [seed_of_rank(step, rank, 8) for step in range(500) for rank in range(8)]
    assert len({*seeds}) == len(seeds)
    assert all(0 <= seed < 2**32 for seed in [*seeds, seed_of_rank(2**31 - 1, 7, 8)])
    assert seed_of_rank(7, 0, 1) == 7
