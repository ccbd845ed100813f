"""Communication between ranks: uneven shares, failures on one rank, and groups that accelerate does not know."""

import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import save_file

from passk_trl.distributed.ranks import (
    AnotherRankFailed,
    cpu_group,
    failing_together,
    gather_list,
    gather_rows,
    is_last_rank,
    largest,
    num_ranks,
    on_first_rank,
)
from ranks import run_ranks


CPU = torch.device("cpu")


def start() -> int:
    """A process group made without accelerate, as a script without a trainer makes one."""
    dist.init_process_group("gloo")
    return dist.get_rank()


def gather_all() -> tuple:
    rank = start()
    rows = [gather_rows(torch.full((n, 2, 3), float(rank))) for n in (rank + 1, 2 * rank, 0)]
    half = gather_rows(torch.full((rank, 2), rank + 0.5, dtype=torch.bfloat16))
    lists = gather_list([(rank, [i]) for i in range(rank)]), gather_list([rank])
    return [each.shape for each in rows], rows[0][:, 0, 0].tolist(), half.tolist(), lists, largest(-rank, CPU)


def test_ranks_may_give_different_numbers_of_rows_and_items():
    shapes = [(6, 2, 3), (6, 2, 3), (0, 2, 3)]
    expected = (shapes, [0, 1, 1, 2, 2, 2], [[1.5] * 2, [2.5] * 2, [2.5] * 2])
    lists = [(1, [0]), (2, [0]), (2, [1])], [0, 1, 2]
    assert run_ranks(gather_all, world_size=3) == [(*expected, lists, 0)] * 3


def which_is_last() -> tuple[int, bool]:
    start()
    return num_ranks(), is_last_rank()


def test_the_last_rank_knows_that_it_is():
    assert run_ranks(which_is_last) == [(2, False), (2, True)]
    assert (num_ranks(), is_last_rank()) == (1, True)


def test_one_process_gets_back_what_it_gave():
    rows = torch.ones(2, 3)
    assert gather_rows(rows) is rows
    assert gather_list([1, 2]) == [1, 2]
    assert largest(7, CPU) == 7
    assert on_first_rank(lambda: "answer") == "answer"


def read_on_first_rank(path: Path) -> tuple[str, str]:
    rank = start()
    calls = []

    def read() -> str:
        calls.append(rank)
        return path.read_text()

    answer = on_first_rank(read)
    assert calls == ([0] if rank == 0 else [])
    with pytest.raises(OSError, match="not_there") as error:
        on_first_rank(path.with_name("not_there").read_text)
    return answer, type(error.value).__name__


def test_the_first_rank_answers_for_all_and_its_error_is_raised_on_all(tmp_path):
    path = tmp_path / "settings"
    path.write_text("of the first rank")
    assert run_ranks(read_on_first_rank, path) == [("of the first rank", "FileNotFoundError")] * 2


def save_on_first_rank(path: Path) -> str:
    start()
    try:
        on_first_rank(lambda: save_file({"rows": torch.ones(3)}, path))
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def test_an_error_that_only_a_library_knows_reaches_all_ranks(tmp_path):
    of_first, of_other = run_ranks(save_on_first_rank, tmp_path / "no_folder" / "rows.safetensors")
    assert of_first.startswith("SafetensorError")
    assert of_other.startswith("RuntimeError: rank 0 failed:\nTraceback")
    assert "SafetensorError" in of_other


def fail_where_gpus_bring_nothing_over() -> tuple | None:
    """torch's fake group, which sends nothing, stands for that of the GPUs in the moment that their memory is full."""
    rank = int(os.environ["RANK"])
    store = dist.TCPStore("127.0.0.1", int(os.environ["MASTER_PORT"]), 2, is_master=rank == 0)
    dist.init_process_group("fake", store=store, rank=rank, world_size=2)
    try:
        with failing_together():
            if rank == 1:
                raise torch.OutOfMemoryError("no memory left")
    except torch.OutOfMemoryError:
        return on_first_rank(lambda: "answer"), gather_list([rank])
    finally:
        dist.monitored_barrier(cpu_group())  # the store is rank 0's


def test_ranks_learn_of_failures_without_the_memory_of_a_gpu():
    assert run_ranks(fail_where_gpus_bring_nothing_over) == [("answer", [0, 1])] * 2


def fail_on_last_rank(failures: list[type[Exception] | None]) -> list[tuple[str, str]]:
    rank = start()
    raised = []
    for failure in failures:
        try:
            with failing_together():
                if rank == 1 and failure is not None:
                    raise failure("the reason")
        except Exception as error:
            raised.append((type(error).__name__, str(error)))
        else:
            raised.append(("", ""))
    return raised


def test_all_ranks_raise_when_one_fails():
    failures = [None, torch.OutOfMemoryError, KeyError, AnotherRankFailed, None]
    first, last = run_ranks(fail_on_last_rank, failures)
    assert [name for name, _ in first] == ["", "OutOfMemoryError", "RuntimeError", "", ""]
    assert [name for name, _ in last] == ["", "OutOfMemoryError", "KeyError", "", ""]
    assert first[1][1].startswith("rank 1: ")
    assert first[2][1].startswith("rank 1 failed:\nTraceback")
    assert all("the reason" in text for _, text in first[1:3])


def fail_differently() -> str:
    rank = start()
    try:
        with failing_together():
            raise (ZeroDivisionError if rank == 1 else torch.OutOfMemoryError)("the reason")
    except Exception as error:
        return type(error).__name__


def test_memory_that_ran_out_does_not_hide_another_error():
    assert run_ranks(fail_differently) == ["RuntimeError", "ZeroDivisionError"]


def test_one_process_raises_its_own_error():
    with pytest.raises(KeyError), failing_together():
        raise KeyError("the reason")
    with pytest.raises(torch.OutOfMemoryError), failing_together():
        raise torch.OutOfMemoryError("no memory left")
