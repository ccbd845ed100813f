"""Each failure is in the log once, with its traceback, and none hides another."""

import logging
from types import SimpleNamespace

import pytest
from accelerate import Accelerator

from passk_trl.distributed.ranks import failing_together
from passk_trl.monitor.failures import Failures
from ranks import run_ranks


def logged(errors: list[Exception], message: str = "step %d: its report failed") -> list[str]:
    """What the log says of these errors, one at each step."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(f"{record.getMessage()}: {record.exc_info[1]}")
    logger = logging.getLogger("passk_trl.monitor.failures")
    logger.addHandler(handler)
    try:
        failures, trainer = Failures(), SimpleNamespace(accelerator=Accelerator(cpu=True))
        for step, error in enumerate(errors, start=1):
            failures.log(trainer, error, message, step)
    finally:
        logger.removeHandler(handler)
    return said


@pytest.mark.parametrize("texts", [["20 of 48 MiB", "7 of 48 MiB"], ["reward 0.5 at 0x7fa0", "reward -1e-05 at 0x1b"]])
def test_the_same_failure_is_logged_once(texts):
    assert logged([RuntimeError(text) for text in texts]) == [f"step 1: its report failed: {texts[0]}"]


def test_another_kind_or_another_text_is_another_failure():
    errors = [ValueError("no reward"), RuntimeError("no reward"), RuntimeError("no memory"), ValueError("no reward")]
    assert [line.split(":")[0] for line in logged(errors)] == ["step 1", "step 2", "step 3"]


def failing_on_rank_1() -> list[str]:
    """What the first rank, which itself has no failure, logs of three of the other's."""
    rank, errors = Accelerator(cpu=True).process_index, []
    for failure in (ZeroDivisionError("the verifier gave up"), KeyError("answer"), KeyError("answer")):
        try:
            with failing_together():
                if rank == 1:
                    raise failure
        except Exception as error:
            errors.append(error)
    return logged(errors)


def test_a_later_failure_of_another_rank_is_not_taken_for_the_first():
    of_first, of_second = run_ranks(failing_on_rank_1)
    assert [line.split(":")[0] for line in of_first] == ["step 1", "step 2"]
    assert "ZeroDivisionError: the verifier gave up" in of_first[0]
    assert "KeyError: 'answer'" in of_first[1]
    assert of_second == []
