"""Where per-prompt gradients are kept until their inner products are taken: whole, or as a seeded random sketch.

Both stores take a layer's gradient as its factors and add, so that a parameter with two roles (tied embeddings) gets
their sum. `prompts` are the rows concerned, B of them; each prompt's factors come in one row.
"""

import zlib
from typing import Protocol

import torch
from torch import Tensor

from passk_trl.distributed.ranks import gather_rows


# Whole gradients of all prompts are kept up to this many bytes; beyond, sketches are.
_EXACT_BYTES = 2**30

# Numbers of each prompt's gradient that cross between ranks at a time.
_COLUMNS_AT_A_TIME = 2**16


def fit_exactly(num_prompts: int, num_parameters: int) -> bool:
    """Whether so many prompts' whole gradients, in float32, fit into 1 GiB: what `"auto"` decides by."""
    return 4 * num_prompts * num_parameters <= _EXACT_BYTES


class Store(Protocol):
    """What a layer's rule adds to."""

    def add_outer(self, name: str, shape: torch.Size, prompts: list[int], left: Tensor, right: Tensor) -> None:
        """Add Σ_t left_t right_tᵀ to a matrix's gradients. `left` is `(B, T, rows)`, `right` `(B, T, cols)`."""

    def add_selected(self, name: str, shape: torch.Size, prompts: list[int], rows: Tensor, right: Tensor) -> None:
        """Add Σ_t onehot(rows_t) right_tᵀ to a matrix's gradients. `rows` is `(B, T)`, `right` `(B, T, cols)`."""

    def add_vector(self, name: str, prompts: list[int], vector: Tensor) -> None:
        """Add a vector's gradients, `(B, size)`."""

    def forget(self, prompts: list[int]) -> None:
        """Take back what was added for these prompts."""

    def gram(self) -> Tensor:
        """Inner products of the gradients of all ranks' prompts: `(M, N, N)` in float64, M independent estimates."""

    def rows(self) -> dict[str, Tensor]:
        """What is kept of this rank's prompts: parameter → `(n_rank, M, numbers)` in float32, to save for later."""


def gram_of_rows(rows: dict[str, Tensor]) -> Tensor:
    """Inner products `(M, N, N)` in float64 of saved rows of N prompts, parameter → `(N, M, numbers)`."""
    gram_MNN = torch.zeros((), dtype=torch.float64)
    for kept in rows.values():
        for columns in kept.split(_COLUMNS_AT_A_TIME, dim=2):
            gram_MNN = gram_MNN + torch.einsum("imd,jmd->mij", columns, columns).double().cpu()
    return gram_MNN


class ExactStore:
    """
    Keeps every prompt's whole gradient, in float32: prompts × parameters numbers. M = 1.

    Args:
        num_prompts (`int`):
            Prompts of this rank.
    """

    def __init__(self, num_prompts: int):
        self.num_prompts = num_prompts
        self._gradients: dict[str, Tensor] = {}  # parameter → (prompts, *shape)

    def add_outer(self, name: str, shape: torch.Size, prompts: list[int], left: Tensor, right: Tensor) -> None:
        self._add(name, prompts, torch.bmm(left.float().transpose(1, 2), right.float()))

    def add_selected(self, name: str, shape: torch.Size, prompts: list[int], rows: Tensor, right: Tensor) -> None:
        gradients = torch.zeros(len(prompts), *shape, device=right.device)
        self._add(name, prompts, gradients.scatter_add_(1, rows.unsqueeze(-1).expand_as(right), right.float()))

    def add_vector(self, name: str, prompts: list[int], vector: Tensor) -> None:
        self._add(name, prompts, vector.float())

    def forget(self, prompts: list[int]) -> None:
        for gradients in self._gradients.values():
            gradients[prompts] = 0

    def gram(self) -> Tensor:
        gram_NN = torch.zeros((), dtype=torch.float64)
        for gradients in self._gradients.values():
            for columns in gradients[: self.num_prompts].flatten(1).split(_COLUMNS_AT_A_TIME, dim=1):
                columns = gather_rows(columns)
                gram_NN = gram_NN + (columns @ columns.T).double().cpu()
        return gram_NN.unsqueeze(0)

    def rows(self) -> dict[str, Tensor]:
        return {
            name: gradients[: self.num_prompts].flatten(1).unsqueeze(1) for name, gradients in self._gradients.items()
        }

    def _add(self, name: str, prompts: list[int], gradients: Tensor) -> None:
        if name not in self._gradients:
            # At least one row: a rank without prompts must know all names, to gather with the others.
            self._gradients[name] = gradients.new_zeros(max(1, self.num_prompts), *gradients.shape[1:])
        self._gradients[name].index_add_(0, torch.tensor(prompts, device=gradients.device), gradients)


class SketchStore:
    """
    Keeps M independent sketches (R_b b)(R_a a)ᵀ of each layer's gradient Σ_t b_t a_tᵀ: of one size for every layer.

    R has i.i.d. entries ±1/√r, so that E[RᵀR] is the identity and the inner product of two sketches is unbiased for
    that of the gradients. One sketch is off by √(2/r) of its factors' size, the mean of M by √(2/(r·M)), less for a
    sum over tokens and layers; how far the M are apart is the error bar. A vector is sketched to r² numbers.

    Args:
        num_prompts (`int`):
            Prompts of this rank.
        seed (`int`):
            Seed of the projections, the same on all ranks.
        num_sketches (`int`, *optional*, defaults to `8`):
            M.
        rank (`int`, *optional*, defaults to `4`):
            r, so that a layer takes M·r² numbers a prompt.
    """

    def __init__(self, num_prompts: int, seed: int, num_sketches: int = 8, rank: int = 4):
        self.num_prompts = num_prompts
        self.seed = seed
        self.num_sketches = num_sketches
        self.rank = rank
        self._sketches: dict[str, Tensor] = {}  # parameter → (prompts, M, r²)

    def add_outer(self, name: str, shape: torch.Size, prompts: list[int], left: Tensor, right: Tensor) -> None:
        projected = left @ self._projection(f"{name}/rows", shape[0], self.rank, left)
        self._add_products(name, shape, prompts, projected, right)

    def add_selected(self, name: str, shape: torch.Size, prompts: list[int], rows: Tensor, right: Tensor) -> None:
        projected = self._projection(f"{name}/rows", shape[0], self.rank, right)[rows]
        self._add_products(name, shape, prompts, projected, right)

    def add_vector(self, name: str, prompts: list[int], vector: Tensor) -> None:
        self._add(name, prompts, vector.float() @ self._projection(name, vector.size(1), self.rank**2, vector.float()))

    def forget(self, prompts: list[int]) -> None:
        for sketches in self._sketches.values():
            sketches[prompts] = 0

    def gram(self) -> Tensor:
        gram_MNN = torch.zeros((), dtype=torch.float64)
        for sketches in self._sketches.values():
            sketches = gather_rows(sketches[: self.num_prompts].flatten(1)).view(-1, *sketches.shape[1:])
            gram_MNN = gram_MNN + torch.einsum("imd,jmd->mij", sketches, sketches).double().cpu()
        return gram_MNN

    def rows(self) -> dict[str, Tensor]:
        return {name: sketches[: self.num_prompts] for name, sketches in self._sketches.items()}

    def _add_products(self, name: str, shape: torch.Size, prompts: list[int], left: Tensor, right: Tensor) -> None:
        right = right @ self._projection(f"{name}/cols", shape[1], self.rank, right)
        sketched = (tensor.float().unflatten(-1, (self.num_sketches, self.rank)) for tensor in (left, right))
        self._add(name, prompts, torch.einsum("btmr,btms->bmrs", *sketched))

    def _add(self, name: str, prompts: list[int], sketches: Tensor) -> None:
        if name not in self._sketches:
            shape = (max(1, self.num_prompts), self.num_sketches, self.rank**2)
            self._sketches[name] = torch.zeros(shape, device=sketches.device)
        where = torch.tensor(prompts, device=sketches.device)
        self._sketches[name].index_add_(0, where, sketches.reshape(len(prompts), self.num_sketches, -1))

    def _projection(self, name: str, size: int, rank: int, like: Tensor) -> Tensor:
        """`(size, M·rank)` of ±1/√rank in the dtype and on the device of `like`. Large, so made anew at each use."""
        generator = torch.Generator(like.device).manual_seed(zlib.crc32(f"{self.seed}/{name}".encode()))
        columns = self.num_sketches * rank
        # Bit by bit, of whole words: PyTorch draws one number of one bit as slowly as one of 32.
        drawn = (size, -(-columns // 32))
        words = torch.randint(-(2**31), 2**31, drawn, generator=generator, device=like.device, dtype=torch.int32)
        each_bit = torch.arange(8, dtype=torch.uint8, device=like.device)
        bits = (words.view(torch.uint8).unsqueeze(-1) >> each_bit).bitwise_and_(1).flatten(1)[:, :columns]
        return bits.to(like.dtype).mul_(2).sub_(1).div_(rank**0.5)
