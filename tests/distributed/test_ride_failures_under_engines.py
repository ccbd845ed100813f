"""A rank that fails alone in a ride leaves no other waiting, and training as it was."""

import logging
import os
from unittest import mock

import pytest
import torch

from engine_runs import everywhere, train_with
from passk_trl import ConflictMonitor
from passk_trl.gradients import own_pass, training_pass
from passk_trl.gradients.causal_lm import Head
from passk_trl.gradients.of_trainer import TrainedGradients
from passk_trl.gradients.training_pass import TrainingPass
from passk_trl.monitor import ridden_batch, rider, sketches, window
from passk_trl.monitor.ridden_batch import RiddenBatch
from passk_trl.monitor.window import Block


# Where the second rank fails, one place in each step, in the order of a ride.
PLACES = [
    (rider, "carries_gradient"),
    (TrainedGradients, "row_shape"),  # of the batch
    (own_pass, "split_pixel_values_by_grid"),
    (own_pass, "_rows_of"),
    (own_pass, "_log_probs"),
    (RiddenBatch, "add"),  # of the pass of its own
    (TrainingPass, "begin"),
    (Head, "output_gradient"),
    (ridden_batch, "factors"),  # in the backward pass
    (training_pass, "check_has_rows"),
    (TrainingPass, "end"),
    (TrainedGradients, "note_formed"),
    (RiddenBatch, "share"),
    (Block, "_rows"),
    (window, "_pair_sums"),
    (sketches, "sketch_variances"),
    (rider, "report_of_pairs"),
]
STEPS = range(2, 2 + len(PLACES))  # the first and the last step go well


def failing(monitor: ConflictMonitor, step: int, function, error: Exception):
    """The function, which raises once in a step."""
    counted = 0 if function.__name__ == "report_of_pairs" else 1  # a report is made when the step has been counted
    in_training = function.__name__ != "_log_probs"  # and not in a pass of the monitor's own
    errors = [error]

    def fails(*args, **kwargs):
        trainer = monitor.trainer
        if errors and trainer.state.global_step + counted == step and trainer.model.training == in_training:
            raise errors.pop()
        return function(*args, **kwargs)

    return fails


def train(engine: str, output_dir, rides: bool, out_of_memory: bool) -> tuple:
    monitors = [ConflictMonitor(ride=True, window=8, every=1, gram="sketch")] if rides else []
    messages: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: messages.append(record.getMessage())
    logging.getLogger("passk_trl").addHandler(handler)
    error = torch.OutOfMemoryError if out_of_memory else ZeroDivisionError
    with mock.patch.object(ridden_batch, "_SHARE", 1.0):
        if rides and os.environ["RANK"] == "1":
            for step, (owner, name) in zip(STEPS, PLACES, strict=True):
                setattr(owner, name, failing(monitors[0], step, getattr(owner, name), error("on one rank")))
        size = {"per_device_train_batch_size": 16, "max_steps": STEPS.stop}
        options = {"pass_at_k": 4, "learning_rate": 1e-4, **size}  # so that some prompts ride, and others do not
        _, state = train_with(monitors, engine, False, output_dir, **options)
    return state, [(record.step, record.first_step) for each in monitors for record in each.records], messages


@pytest.mark.parametrize(
    ("engine", "out_of_memory"),
    [
        ("ddp", True),
        pytest.param("ddp", False, marks=pytest.mark.slow),
        ("fsdp2", False),
        pytest.param("zero3", True, marks=pytest.mark.slow),
    ],
)
def test_training_goes_on_as_without_a_ride_and_the_log_says_what_is_lost(engine, out_of_memory, tmp_path):
    riding = everywhere(train, engine, tmp_path, tmp_path / "riding", True, out_of_memory)
    alone = everywhere(train, engine, tmp_path, tmp_path / "alone", False, out_of_memory)
    for (state, _, _), (state_alone, _, _) in zip(riding, alone, strict=True):
        assert state == state_alone
    (_, reports, messages), (_, of_second_rank, silent) = riding
    assert reports == of_second_rank
    step_of = {name: step for step, (_, name) in zip(STEPS, PLACES, strict=True)}
    measured = [1, step_of["sketch_variances"], step_of["report_of_pairs"], STEPS.stop]
    if out_of_memory:  # a smaller pass of its own does not need so much
        measured[1:1] = [step_of["_rows_of"], step_of["_log_probs"]]
    steps = [step for step in range(1, STEPS.stop + 1) if step != step_of["report_of_pairs"]]
    assert reports == [(step, max(each for each in measured if each <= step)) for step in steps]
    lost = dict.fromkeys(step_of, "its prompts are not measured")
    lost |= dict.fromkeys(["_rows", "_pair_sums"], "the block of prompts that it adds to is not measured")
    lost |= {"sketch_variances": "sketches keep their sizes", "report_of_pairs": "its report failed"}
    if out_of_memory:  # which says the same everywhere, and is logged once for each loss
        said = ["carries_gradient", "_rows", "sketch_variances", "report_of_pairs"]
    else:
        said = list(step_of)
    assert messages == [f"step {step_of[name]}: {lost[name]}; training goes on." for name in said]
    assert silent == []
