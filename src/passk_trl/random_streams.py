"""Random streams that a block may use and that are afterwards as they were."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor


__all__ = ["random_streams_kept", "seed_of_rank"]


@contextmanager
def random_streams_kept(device: torch.device) -> Iterator[None]:
    """
    Restores the random streams of Python, NumPy, the CPU and the accelerator when the block ends, also if it raises.

    Args:
        device (`torch.device`): a device of any kind. The streams of all devices of this kind are restored, because a
            seed is set on all of them.
    """
    of_python, of_numpy, of_accelerator = random.getstate(), np.random.get_state(), _states(device)
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)
            _restore(device, of_accelerator)


def seed_of_rank(seed: int, rank: int, num_ranks: int) -> int:
    """
    A seed for each pair of a seed and a rank, below 2³², which NumPy asks for. With `seed + rank`, a rank would draw
    what the rank before it draws with the next seed.
    """
    return (seed * num_ranks + rank) % 2**32


def _states(device: torch.device) -> list[Tensor]:
    if device.type == "cpu":
        return []
    streams = torch.get_device_module(device)
    return streams.get_rng_state_all() if hasattr(streams, "get_rng_state_all") else [streams.get_rng_state()]


def _restore(device: torch.device, states: list[Tensor]) -> None:
    if not states:
        return
    streams = torch.get_device_module(device)
    if hasattr(streams, "set_rng_state_all"):
        streams.set_rng_state_all(states)
    else:  # MPS, which is one device
        streams.set_rng_state(states[0])
