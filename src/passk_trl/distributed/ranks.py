"""What the ranks of a distributed run tell each other. In a single process, each of these is the identity."""

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def num_ranks() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def is_last_rank() -> bool:
    return num_ranks() == 1 or dist.get_rank() == num_ranks() - 1


class AnotherRankFailed(Exception):
    """This rank left a pass for no reason of its own."""


@contextmanager
def failing_together() -> Iterator[None]:
    """
    A part of the work that one rank may fail in while the others finish it. At its end all ranks learn of failures.

    Raises:
        `torch.OutOfMemoryError`: on every rank, if that is all that went wrong.
        `RuntimeError`: on the other ranks, if one raised anything else; that one raises what it raised.
    """
    failure: Exception | None = None
    try:
        yield
    except AnotherRankFailed:
        pass
    except Exception as error:
        failure = error.with_traceback(None) if isinstance(error, torch.OutOfMemoryError) else error
    told = "".join(traceback.format_exception(failure)) if failure is not None else None
    outcomes = gather_list([(isinstance(failure, torch.OutOfMemoryError), told)])
    failed = [(rank, out_of_memory, text) for rank, (out_of_memory, text) in enumerate(outcomes) if text is not None]
    if not failed:
        return
    if all(out_of_memory for _, out_of_memory, _ in failed):
        raise torch.OutOfMemoryError(f"rank {failed[0][0]}: {failed[0][2]}") from None
    if failure is not None and not isinstance(failure, torch.OutOfMemoryError):
        raise failure
    rank, _, text = next(entry for entry in failed if not entry[1])
    raise RuntimeError(f"rank {rank} failed:\n{text}")


def gather_list(items: list) -> list:
    """All ranks' items in one list, in the order of ranks."""
    if num_ranks() == 1:
        return items
    parts: list[list] = [[]] * num_ranks()
    dist.all_gather_object(parts, items)
    return [item for part in parts for item in part]


def on_first_rank(ask: Callable[[], Any]) -> Any:
    """
    What the first rank finds, told to all: another node may not see its disk.

    Raises:
        `ValueError` or `OSError`: on all ranks, if the first one met it.
    """
    answer, error = None, None
    if num_ranks() == 1 or dist.get_rank() == 0:
        try:
            answer = ask()
        except (ValueError, OSError) as failure:
            error = failure
    answer, error = gather_list([(answer, error)])[0]
    if error is not None:
        raise error
    return answer


def largest(value: int, device: torch.device) -> int:
    """The largest of all ranks' values."""
    if num_ranks() == 1:
        return value
    values = torch.tensor(value, device=device)
    dist.all_reduce(values, op=dist.ReduceOp.MAX)
    return int(values)


def gather_rows(rows: Tensor) -> Tensor:
    """All ranks' rows, `(n_rank, …)` each, as one tensor in the order of ranks; ranks may hold different numbers."""
    if num_ranks() == 1:
        return rows
    most = largest(rows.size(0), rows.device)
    padded = rows.new_full((most + 1, *rows.shape[1:]), rows.size(0))  # the last row tells how many are real
    padded[: rows.size(0)] = rows
    gathered = [torch.empty_like(padded) for _ in range(num_ranks())]
    dist.all_gather(gathered, padded.contiguous())
    return torch.cat([part[: int(part[-1].flatten()[0])] for part in gathered])
