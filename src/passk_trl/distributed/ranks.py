"""
Communication between the ranks of a distributed run. In a single process, each function returns its input.

These call torch.distributed, not accelerate's `gather_object`, `reduce`, `broadcast_object_list` and
`pad_across_processes`: where accelerate was not initialised (as when [`~passk_trl.gradients.gram_matrix`] is called
without a trainer), those silently return this rank's values alone. Their answers are the same elsewhere.

Objects go between CPUs: the group of the GPUs would put them into a GPU's memory, which may just have run out.
"""

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def num_ranks() -> int:
    """Number of ranks, 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def own_rank() -> int:
    """The number of this rank, 0 without a process group."""
    return dist.get_rank() if num_ranks() > 1 else 0


def is_last_rank() -> bool:
    """Whether this is the last rank, as a single process is."""
    return own_rank() == num_ranks() - 1


def cpu_group() -> dist.ProcessGroup:
    """A group of all ranks that communicates between CPUs. All ranks must call this together, the first time."""
    return _cpu_group_in(dist.group.WORLD)


@lru_cache(maxsize=1)
def _cpu_group_in(_world: dist.ProcessGroup) -> dist.ProcessGroup:
    # Training's own limit comes first, whatever it is: a rank may take its time to score or to generate.
    return dist.new_group(backend="gloo", timeout=timedelta(days=7))


class AnotherRankFailed(Exception):
    """This rank left a pass because another rank failed in it."""


@contextmanager
def failing_together() -> Iterator[None]:
    """
    Work that may fail on one rank while the others finish it. At its end, all ranks learn of all failures and raise.

    Raises:
        `torch.OutOfMemoryError`: on every rank, if all failures are of this kind.
        `RuntimeError`: on the other ranks, if one raised anything else; that one raises its own exception.
    """
    failure: Exception | None = None
    try:
        yield
    except AnotherRankFailed:
        pass
    except Exception as error:
        failure = without_tensors(error)
    description = "".join(traceback.format_exception(failure)) if failure is not None else None
    outcomes = gather_list([(isinstance(failure, torch.OutOfMemoryError), description)])
    failed = [(rank, out_of_memory, text) for rank, (out_of_memory, text) in enumerate(outcomes) if text is not None]
    if not failed:
        return
    if all(out_of_memory for _, out_of_memory, _ in failed):
        raise torch.OutOfMemoryError(f"rank {failed[0][0]}: {failed[0][2]}") from None
    if failure is not None and not isinstance(failure, torch.OutOfMemoryError):
        raise failure
    rank, _, text = next(entry for entry in failed if not entry[1])
    raise RuntimeError(f"rank {rank} failed:\n{text}")


def without_tensors(error: Exception) -> Exception:
    """The error. If memory ran out, it is without its traceback, whose frames would keep tensors."""
    return error.with_traceback(None) if isinstance(error, torch.OutOfMemoryError) else error


def gather_list(items: list) -> list:
    """The items of all ranks in one list, in the order of ranks. Ranks may give different numbers of items."""
    if num_ranks() == 1:
        return items
    parts: list[list] = [[]] * num_ranks()
    dist.all_gather_object(parts, items, group=cpu_group())
    return [item for part in parts for item in part]


def on_first_rank(function: Callable[[], Any]) -> Any:
    """
    Calls a function on the first rank alone and returns its answer on all: another node may not see the same disk.

    Raises:
        `ValueError` or `OSError`: on all ranks, if the function raises it.
        `RuntimeError`: on the other ranks, if it raises anything else, which the first rank raises.
    """
    answer, error = None, None
    if own_rank() == 0:
        try:
            answer = function()
        except Exception as failure:
            error = failure
    if num_ranks() > 1:
        broadcast = [answer, _to_send(error)]
        dist.broadcast_object_list(broadcast, group=cpu_group())
        answer, error = broadcast[0], error or broadcast[1]
    if error is not None:
        raise error
    return answer


def _to_send(error: Exception | None) -> Exception | None:
    """The error as other ranks are told it: one of a library need not survive pickling."""
    if error is None or isinstance(error, ValueError | OSError):
        return error
    return RuntimeError(f"rank 0 failed:\n{''.join(traceback.format_exception(error))}")


def largest(value: int, device: torch.device) -> int:
    """The largest of the values of all ranks, compared on this device."""
    if num_ranks() == 1:
        return value
    values = torch.tensor(value, device=device)
    dist.all_reduce(values, op=dist.ReduceOp.MAX)
    return int(values)


def sum_of_ranks(values: Tensor) -> Tensor:
    """
    Replaces the values of all ranks, which have one shape and are contiguous, by their sum, and returns it. No memory
    is taken, so that none can run out on one rank alone.
    """
    if num_ranks() > 1:
        dist.all_reduce(values)
    return values


def gather_rows(rows: Tensor) -> Tensor:
    """
    The rows of all ranks, `(n_rank, …)` each, as one tensor in the order of ranks. Ranks may give different numbers.
    """
    if num_ranks() == 1:
        return rows
    most = largest(rows.size(0), rows.device)
    padded = rows.new_full((most + 1, *rows.shape[1:]), rows.size(0))  # the last row holds the number of real rows
    padded[: rows.size(0)] = rows
    gathered = [torch.empty_like(padded) for _ in range(num_ranks())]
    # accelerate would need a third collective, which doubles the time for short rows.
    dist.all_gather(gathered, padded.contiguous())
    return torch.cat([part[: int(part[-1].flatten()[0])] for part in gathered])
