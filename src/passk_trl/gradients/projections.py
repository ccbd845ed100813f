"""Random projections of the rows and columns of each parameter, drawn from a seed."""

import zlib
from collections.abc import Mapping

import torch
from torch import Tensor


NUM_SKETCHES, SKETCH_RANK = 14, 4
"""
M independent sketches of r × r numbers each, of a probe or an audit. Fewer do not suffice for an interval that holds
what it says, where the sketches' error is the larger part.
"""

HEAD_DRAWS = 8
"""
Draws of the LM head's projections. In an audit of SmolLM2-135M its weight, which is the embedding too, had 37% of the
squared gradients, and no other parameter more than 3%. With one draw, 93 to 99% of the sketch's variance were its own.
"""

PROJECTION_BYTES = 2**26
"""The most that projections take which are kept for the next pass. A large model's are drawn again at each use."""


class Projections:
    """
    M independent projections to r numbers, with i.i.d. entries ±1/√r. The first that are drawn are kept, and those of
    the parameter that is sketched now.

    A parameter can have several draws in each of the M. Its sketch is then the mean of as many, and its error is the
    less.

    Args:
        seed (`int`):
            Seed of the numbers, the same on all ranks.
        draws (`Mapping[str, int]`, *optional*):
            Draws of a parameter, by name; 1 where there is none.
        num_sketches (`int`, *optional*, defaults to `14`):
            M.
        rank (`int`, *optional*, defaults to `4`):
            r.
    """

    def __init__(
        self,
        seed: int,
        draws: Mapping[str, int] | None = None,
        num_sketches: int = NUM_SKETCHES,
        rank: int = SKETCH_RANK,
    ):
        self.seed = seed
        self._draws = draws or {}
        self.num_sketches = num_sketches
        self.rank = rank
        self._kept: dict[tuple[str, torch.dtype], Tensor] = {}
        self._latest: tuple[str, dict[tuple[str, torch.dtype], Tensor]] = ("", {})  # of one parameter
        self._bytes = 0

    def draws_of(self, name: str) -> int:
        """How many draws a parameter has in each of the M."""
        return self._draws.get(name, 1)

    def numbers_of(self, name: str) -> int:
        """Numbers of a parameter's sketch, in each of the M."""
        return self.draws_of(name) * self.rank**2

    def of(self, name: str, side: str, size: int, rank: int, like: Tensor) -> Tensor:
        """
        `(size, M·draws·rank)` numbers ±1/√rank, for the `side` of a parameter that has this size, in the dtype and on
        the device of `like`.
        """
        key = (f"{name}{side}", like.dtype)
        if self._latest[0] != name:
            self._latest = (name, {})
        latest = self._latest[1]
        for known in (self._kept, latest):
            if key in known:
                return known[key]
        drawn = self._drawn(key[0], size, self.num_sketches * self.draws_of(name), rank, like)
        if self._bytes + drawn.nbytes <= PROJECTION_BYTES:
            self._kept[key] = drawn
            self._bytes += drawn.nbytes
        else:
            latest[key] = drawn  # the head is sketched block by block
        return drawn

    def _drawn(self, name: str, size: int, number: int, rank: int, like: Tensor) -> Tensor:
        """The numbers of a projection. They depend on the seed and the name alone, so all ranks draw the same."""
        generator = torch.Generator(like.device).manual_seed(zlib.crc32(f"{self.seed}/{name}".encode()))
        columns = number * rank
        # The bits of 32-bit words: PyTorch draws a number of one bit no faster than a whole word.
        drawn = (size, -(-columns // 32))
        words = torch.randint(-(2**31), 2**31, drawn, generator=generator, device=like.device, dtype=torch.int32)
        each_bit = torch.arange(8, dtype=torch.uint8, device=like.device)
        bits = (words.view(torch.uint8).unsqueeze(-1) >> each_bit).bitwise_and_(1).flatten(1)[:, :columns]
        return bits.to(like.dtype).mul_(2).sub_(1).div_(rank**0.5)
