"""Keeps per-prompt gradients until their inner products are taken: whole, or as random sketches.

Both stores receive the factors of a layer's gradient and add their product, so that a parameter with two roles (tied
embeddings) gets the sum of both. `prompts` are the rows to add to, one for each of the B rows of the factors, and may
repeat.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from passk_trl.distributed.ranks import gather_list, gather_rows

from .projections import Projections


class Segment(NamedTuple):
    """A run of rows that belong to one prompt and to one block of a tensor, such as one expert."""

    prompt: int
    block: int
    start: int
    end: int


# Places of rows, and a number for each.
Weights = tuple[Tensor, Tensor]

# "auto" keeps the whole gradients of all prompts if they need at most this many bytes, else sketches.
_EXACT_BYTES = 2**30

# So many numbers of each prompt's gradient are exchanged between ranks at a time.
_COLUMNS_AT_A_TIME = 2**16


def fit_exactly(num_prompts: int, num_parameters: int) -> bool:
    """Whether the whole gradients of so many prompts, in float32, fit into 1 GiB. `"auto"` keeps them if so."""
    return 4 * num_prompts * num_parameters <= _EXACT_BYTES


class Store(Protocol):
    """
    A place to which gradients are added. All names and shapes are given at its making, in one order on all ranks: a
    gradient may be formed on one rank alone, and ranks exchange their rows parameter by parameter.

    A tensor of more than two dimensions is taken as the matrix of its last: experts `(E, out, in)` have E·out rows.
    """

    def add_outer(self, name: str, prompts: list[int], left: Tensor, right: Tensor) -> None:
        """Add Σ_t left_t right_tᵀ to a matrix's gradients. `left` is `(B, T, rows)`, `right` `(B, T, cols)`."""

    def add_selected(self, name: str, prompts: list[int], rows: Tensor, right: Tensor) -> None:
        """Add Σ_t onehot(rows_t) right_tᵀ to a matrix's gradients. `rows` is `(B, T)`, `right` `(B, T, cols)`."""

    def add_vector(self, name: str, prompts: list[int], vector: Tensor) -> None:
        """Add a vector's gradients, `(B, size)`."""

    def add_to_blocks(self, name: str, segments: list[Segment], left: Tensor, right: Tensor) -> None:
        """
        Add Σ_t left_t right_tᵀ to blocks of a tensor `(blocks, rows, cols)`: for each segment over its run of the rows
        of `left` `(S, rows)` and `right` `(S, cols)`. The segments hold all rows, in order.
        """

    def weigh(self, weights: Weights | None) -> None:
        """
        From here on, of the rows that factors have only these count, each times a number. `prompts` are theirs. So
        what is large is not copied, but what is made of it. Blocks know no such rows. With `None` all count.
        """

    def forget(self, prompts: list[int]) -> None:
        """Set the gradients of these prompts back to zero."""

    def formed(self) -> set[str]:
        """The names to which anything was added, on any rank. All ranks must call this together."""

    def gram(self) -> Tensor:
        """Inner products of the gradients of all ranks' prompts: M independent estimates, `(M, N, N)` in float64."""

    def rows(self) -> dict[str, Tensor]:
        """The numbers kept of this rank's prompts, to be saved: parameter → `(n_rank, M, numbers)` in float32."""


def add_whole(store: Store, name: str, prompts: list[int], gradient: Tensor) -> None:
    """Adds the whole gradient of a parameter, in the parameter's shape, for one prompt."""
    if gradient.is_sparse:
        gradient = gradient.to_dense()
    if gradient.is_complex():
        gradient = torch.view_as_real(gradient)
    if gradient.dim() < 2:
        store.add_vector(name, prompts, gradient.reshape(1, -1))
    else:
        matrix = gradient.flatten(0, -2)
        store.add_selected(name, prompts, torch.arange(len(matrix), device=matrix.device)[None], matrix[None])


def rows_by_prompt(segments: list[Segment], device: torch.device) -> dict[int, Tensor]:
    """Prompt → the rows that its segments have, `(rows,)`."""
    rows: dict[int, list[Tensor]] = {}
    for segment in segments:
        rows.setdefault(segment.prompt, []).append(torch.arange(segment.start, segment.end, device=device))
    return {prompt: torch.cat(parts) for prompt, parts in rows.items()}


def _rows_by_block(segments: list[Segment]) -> Iterator[tuple[int, int, int]]:
    """Each block with the start and the end of its rows. A block's segments follow one another."""
    for block, group in groupby(segments, key=lambda segment: segment.block):
        runs = list(group)
        yield block, runs[0].start, runs[-1].end


def _runs(prompts: list[int]) -> Iterator[tuple[int, slice]]:
    """Each prompt with the rows that follow one another and are its own."""
    end = 0
    for prompt, run in groupby(prompts):
        start, end = end, end + len(list(run))
        yield prompt, slice(start, end)


def _with_range(factor: Tensor) -> Tensor:
    """A factor of which a sum does not overflow: float16 ends at 65504."""
    return factor.float() if factor.dtype == torch.float16 else factor


def gram_of_rows(rows: dict[str, Tensor]) -> Tensor:
    """Inner products `(M, N, N)` in float64 of saved rows of N prompts, parameter → `(N, M, numbers)`."""
    gram_MNN = torch.zeros((), dtype=torch.float64)
    for kept in rows.values():
        for columns in kept.split(_COLUMNS_AT_A_TIME, dim=2):
            gram_MNN = gram_MNN + torch.einsum("imd,jmd->mij", columns, columns).double().cpu()
    return gram_MNN


def _as_matrix(shape: torch.Size) -> torch.Size:
    """`(rows, cols)` of a tensor taken as the matrix of its last dimension; a vector's own `(size,)`."""
    return torch.Size([shape[:-1].numel(), shape[-1]]) if len(shape) > 1 else torch.Size([shape.numel()])


class _RowsOfPrompts(ABC):
    """What both stores share: rows of numbers for each parameter, made when first added to."""

    def __init__(self, num_prompts: int, shapes: dict[str, torch.Size]):
        self.num_prompts = num_prompts
        self.shapes = {name: _as_matrix(shape) for name, shape in shapes.items()}
        self._kept: dict[str, Tensor] = {}  # parameter → (prompts, …), in float32
        self._weights: Weights | None = None

    def weigh(self, weights: Weights | None) -> None:
        self._weights = weights

    def _counted(self, rows: Tensor) -> Tensor:
        """The rows that count."""
        return rows if self._weights is None else rows.index_select(0, self._weights[0])

    def _assert_all_count(self) -> None:
        assert self._weights is None, "rows of blocks cannot be weighed"

    def _weighed(self, rows: Tensor) -> Tensor:
        """The rows that count, times their factors, in float32."""
        counted = self._counted(rows).float()
        if self._weights is not None:  # then it is a copy
            counted *= self._weights[1].view(-1, *[1] * (rows.dim() - 1))
        return counted

    def _of(self, name: str, device: torch.device) -> Tensor:
        if name not in self._kept:
            # At least one row: a rank without prompts takes part in every gathering.
            shape = (max(1, self.num_prompts), *self._row_shape(name))
            self._kept[name] = torch.zeros(shape, device=device, dtype=torch.float32)
        return self._kept[name]

    @abstractmethod
    def _row_shape(self, name: str) -> tuple[int, ...]:
        """Shape of what is kept of one prompt."""

    def forget(self, prompts: list[int]) -> None:
        for kept in self._kept.values():
            kept[prompts] = 0

    def formed(self) -> set[str]:
        return set(gather_list(sorted(self._kept)))

    def _formed_in_order(self) -> list[tuple[str, Tensor]]:
        """What any rank has added to, in the order of all ranks; zero where this rank has added nothing."""
        formed = self.formed()
        return [(name, self._of(name, self._device)[: self.num_prompts]) for name in self.shapes if name in formed]

    def _all(self) -> list[tuple[str, Tensor]]:
        """The rows of every parameter, zero where nothing was added."""
        return [(name, self._of(name, self._device)[: self.num_prompts]) for name in self.shapes]

    @property
    def _device(self) -> torch.device:
        return next(iter(self._kept.values())).device if self._kept else torch.device("cpu")


class ExactStore(_RowsOfPrompts):
    """
    Keeps every prompt's whole gradient, in float32: prompts × parameters numbers. M = 1.

    Args:
        num_prompts (`int`):
            Prompts of this rank.
        shapes (`dict[str, torch.Size]`):
            Shape of every parameter.
    """

    def add_outer(self, name: str, prompts: list[int], left: Tensor, right: Tensor) -> None:
        kept, left, right = self._of(name, left.device), self._weighed(left), self._counted(right).float()
        if prompts == [prompt for prompt in range(len(kept)) for _ in range(len(prompts) // len(kept))]:
            left, right = (each.reshape(len(kept), -1, each.size(-1)) for each in (left, right))
            kept.baddbmm_(left.mT, right)  # all at once
            return
        for prompt, rows in _runs(prompts):
            kept[prompt].addmm_(left[rows].flatten(0, 1).T, right[rows].flatten(0, 1))

    def add_selected(self, name: str, prompts: list[int], rows: Tensor, right: Tensor) -> None:
        kept, rows, right = self._of(name, right.device), self._counted(rows), self._weighed(right)
        for prompt, run in _runs(prompts):
            kept[prompt].index_add_(0, rows[run].flatten(), right[run].flatten(0, 1))

    def add_vector(self, name: str, prompts: list[int], vector: Tensor) -> None:
        kept = self._of(name, vector.device)
        vector = self._weighed(vector)
        kept.index_add_(0, torch.tensor(prompts, device=vector.device), vector.view(-1, *kept.shape[1:]))

    def add_to_blocks(self, name: str, segments: list[Segment], left: Tensor, right: Tensor) -> None:
        self._assert_all_count()
        kept = self._of(name, left.device).unflatten(1, (-1, left.size(1)))  # (prompts, blocks, rows, cols)
        left, right = left.float(), right.float()
        for prompt, block, start, end in segments:
            kept[prompt, block].addmm_(left[start:end].T, right[start:end])

    def gram(self) -> Tensor:
        gram_NN = torch.zeros((), dtype=torch.float64)
        for _, gradients in self._formed_in_order():
            for columns in gradients.flatten(1).split(_COLUMNS_AT_A_TIME, dim=1):
                columns = gather_rows(columns)
                gram_NN = gram_NN + (columns @ columns.T).double().cpu()
        return gram_NN.unsqueeze(0)

    def rows(self) -> dict[str, Tensor]:
        return {name: gradients.flatten(1).unsqueeze(1) for name, gradients in self._all()}

    def _row_shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.shapes[name])


class SketchStore(_RowsOfPrompts):
    """
    Keeps M independent sketches Σ_t (R_b b_t)(R_a a_t)ᵀ of each layer's gradient Σ_t b_t a_tᵀ, of a size that does
    not grow with the layer.

    R has i.i.d. entries ±1/√r, so that E[RᵀR] is the identity and the inner product of two sketches is unbiased for
    that of the gradients. The error of one sketch is √(2/r) of the size of its factors, that of the mean of M is
    √(2/(r·M)), and less for a sum over tokens and layers. The spread of the M sketches gives the error bar. A vector
    is sketched to r² numbers. A parameter with several draws has as many sketches in each of the M.

    Args:
        num_prompts (`int`):
            Prompts of this rank.
        shapes (`dict[str, torch.Size]`):
            Shape of every parameter.
        projections ([`Projections`]):
            Of which M, r and the draws are taken; all ranks need the same.
    """

    def __init__(self, num_prompts: int, shapes: dict[str, torch.Size], projections: Projections):
        super().__init__(num_prompts, shapes)
        self.projections = projections
        self._num_sketches, self._rank = projections.num_sketches, projections.rank

    def add_outer(self, name: str, prompts: list[int], left: Tensor, right: Tensor) -> None:
        left, right = _with_range(left), _with_range(right)
        left, right = left @ self._of_rows(name, left), right @ self._of_cols(name, right)
        self._add_products(name, prompts, self._weighed(left), self._counted(right))

    def add_selected(self, name: str, prompts: list[int], rows: Tensor, right: Tensor) -> None:
        right = _with_range(right)
        left, right = self._of_rows(name, right)[self._counted(rows)], right @ self._of_cols(name, right)
        self._add_products(name, prompts, left, self._weighed(right))

    def add_vector(self, name: str, prompts: list[int], vector: Tensor) -> None:
        vector = self._weighed(vector)
        self._add(name, prompts, vector @ self.projections.of(name, "", vector.size(1), self._rank**2, vector))

    def add_to_blocks(self, name: str, segments: list[Segment], left: Tensor, right: Tensor) -> None:
        if not segments:
            return
        self._assert_all_count()
        each_block = self._of_rows(name, left).unflatten(0, (-1, left.size(1)))
        left = torch.cat([left[start:end] @ each_block[block] for block, start, end in _rows_by_block(segments)])
        right = right @ self._of_cols(name, right)
        for prompt, mine in rows_by_prompt(segments, left.device).items():
            self._add_products(name, [prompt], left[mine][None], right[mine][None])

    def gram(self) -> Tensor:
        gram_MNN = torch.zeros((), dtype=torch.float64)
        for _, sketches in self._formed_in_order():
            rows = gather_rows(sketches.flatten(1)).view(-1, *sketches.shape[1:])
            gram_MNN = gram_MNN + torch.einsum("imd,jmd->mij", rows, rows).double().cpu()
        return gram_MNN

    def rows(self) -> dict[str, Tensor]:
        return dict(self._all())

    def _row_shape(self, name: str) -> tuple[int, ...]:
        return (self._num_sketches, self.projections.numbers_of(name))

    def _of_rows(self, name: str, like: Tensor) -> Tensor:
        """The projections of a matrix's rows, `(rows, M·draws·r)`."""
        return self.projections.of(name, "/rows", self.shapes[name][0], self._rank, like)

    def _of_cols(self, name: str, like: Tensor) -> Tensor:
        """The projections of a matrix's columns, `(cols, M·draws·r)`."""
        return self.projections.of(name, "/cols", self.shapes[name][1], self._rank, like)

    def _add_products(self, name: str, prompts: list[int], left: Tensor, right: Tensor) -> None:
        sketched = (tensor.float().unflatten(-1, (-1, self._rank)) for tensor in (left, right))
        self._add(name, prompts, torch.einsum("btmr,btms->bmrs", *sketched))

    def _add(self, name: str, prompts: list[int], sketches: Tensor) -> None:
        kept = self._of(name, sketches.device)
        where = torch.tensor(prompts, device=sketches.device)
        # The inner product of such rows is the mean of those of the draws.
        mean = sketches.reshape(len(prompts), self._num_sketches, -1) / self.projections.draws_of(name) ** 0.5
        kept.index_add_(0, where, mean)
