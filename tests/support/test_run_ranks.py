"""The helper of the distributed tests: it starts real ranks, and reports where one failed."""

import os
import time

import pytest
import torch

from ranks import run_ranks


def sum_over_ranks(value: int, variable: str) -> tuple[int, str]:
    torch.distributed.init_process_group("gloo")
    total = torch.tensor(value + torch.distributed.get_rank())
    torch.distributed.all_reduce(total)
    return total.item(), os.environ[variable]


def fail_on_one_rank() -> None:
    if os.environ["RANK"] == "1":
        raise KeyError("the reason")
    time.sleep(60)


def die_on_one_rank() -> None:
    if os.environ["RANK"] == "1":
        os._exit(7)
    time.sleep(60)


def test_ranks_work_together_and_answer_in_order():
    assert run_ranks(sum_over_ranks, 10, "COLOUR", environment={"COLOUR": "red"}) == [(21, "red")] * 2
    assert run_ranks(sum_over_ranks, 10, "RANK", world_size=3) == [(33, "0"), (33, "1"), (33, "2")]


def test_a_failure_on_one_rank_ends_all_with_its_traceback():
    began = time.monotonic()
    with pytest.raises(RuntimeError, match=r"(?s)rank 1 failed:.*in fail_on_one_rank.*the reason"):
        run_ranks(fail_on_one_rank)
    assert time.monotonic() - began < 55


def test_a_rank_that_dies_is_reported():
    with pytest.raises(RuntimeError, match="rank 1 died with exit code 7"):
        run_ranks(die_on_one_rank)


def test_ranks_that_hang_are_killed():
    with pytest.raises(RuntimeError, match=r"ranks \[0, 1\] did not finish within 1 s"):
        run_ranks(time.sleep, 60, timeout=1)
