"""Keeps per-prompt gradients until their inner products are taken: whole, or as random sketches.

Both stores receive the factors of a layer's gradient and add their product, so that a parameter with two roles (tied
embeddings) gets the sum of both. `prompts` are the B rows to add to; each prompt's factors are one row.
"""

import zlib
from typing import Protocol

import torch
from torch import Tensor

from passk_trl.distributed.ranks import gather_rows


# "auto" keeps the whole gradients of all prompts if they need at most this many bytes, else sketches.
_EXACT_BYTES = 2**30

# So many numbers of each prompt's gradient are exchanged between ranks at a time.
_COLUMNS_AT_A_TIME = 2**16


def fit_exactly(num_prompts: int, num_parameters: int) -> bool:
    """Whether the whole gradients of so many prompts, in float32, fit into 1 GiB. `"auto"` keeps them if so."""
    return 4 * num_prompts * num_parameters <= _EXACT_BYTES


class Store(Protocol):
    """A place to which a layer's rule adds gradients."""

    def add_outer(self, name: str, shape: torch.Size, prompts: list[int], left: Tensor, right: Tensor) -> None:
        """Add Σ_t left_t right_tᵀ to a matrix's gradients. `left` is `(B, T, rows)`, `right` `(B, T, cols)`."""

    def add_selected(self, name: str, shape: torch.Size, prompts: list[int], rows: Tensor, right: Tensor) -> None:
        """Add Σ_t onehot(rows_t) right_tᵀ to a matrix's gradients. `rows` is `(B, T)`, `right` `(B, T, cols)`."""

    def add_vector(self, name: str, prompts: list[int], vector: Tensor) -> None:
        """Add a vector's gradients, `(B, size)`."""

    def forget(self, prompts: list[int]) -> None:
        """Set the gradients of these prompts back to zero."""

    def gram(self) -> Tensor:
        """Inner products of the gradients of all ranks' prompts: M independent estimates, `(M, N, N)` in float64."""

    def rows(self) -> dict[str, Tensor]:
        """The numbers kept of this rank's prompts, to be saved: parameter → `(n_rank, M, numbers)` in float32."""


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
            # At least one row: a rank without prompts must know all names, to take part in every gathering.
            self._gradients[name] = gradients.new_zeros(max(1, self.num_prompts), *gradients.shape[1:])
        self._gradients[name].index_add_(0, torch.tensor(prompts, device=gradients.device), gradients)


class SketchStore:
    """
    Keeps M independent sketches Σ_t (R_b b_t)(R_a a_t)ᵀ of each layer's gradient Σ_t b_t a_tᵀ, of the same size for
    every layer.

    R has i.i.d. entries ±1/√r, so that E[RᵀR] is the identity and the inner product of two sketches is unbiased for
    that of the gradients. The error of one sketch is √(2/r) of the size of its factors, that of the mean of M is
    √(2/(r·M)), and less for a sum over tokens and layers. The spread of the M sketches gives the error bar. A vector
    is sketched to r² numbers.

    Args:
        num_prompts (`int`):
            Prompts of this rank.
        seed (`int`):
            Seed of the projections, the same on all ranks.
        num_sketches (`int`, *optional*, defaults to `8`):
            M.
        rank (`int`, *optional*, defaults to `4`):
            r. A layer takes M·r² numbers for each prompt.
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
        """
        `(size, M·rank)` numbers ±1/√rank in the dtype and on the device of `like`. They are too large to keep, so they
        are drawn again at each use.
        """
        generator = torch.Generator(like.device).manual_seed(zlib.crc32(f"{self.seed}/{name}".encode()))
        columns = self.num_sketches * rank
        # The bits of 32-bit words: PyTorch draws a number of one bit no faster than a whole word.
        drawn = (size, -(-columns // 32))
        words = torch.randint(-(2**31), 2**31, drawn, generator=generator, device=like.device, dtype=torch.int32)
        each_bit = torch.arange(8, dtype=torch.uint8, device=like.device)
        bits = (words.view(torch.uint8).unsqueeze(-1) >> each_bit).bitwise_and_(1).flatten(1)[:, :columns]
        return bits.to(like.dtype).mul_(2).sub_(1).div_(rank**0.5)
