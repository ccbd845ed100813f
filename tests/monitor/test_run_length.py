"""Whether a run is long enough for an alarm: said before it starts, and true of a real ride."""

import logging
import math

import pytest

import tiny
import trainers
from passk_trl import ConflictMonitor
from passk_trl.monitor.run_length import RunLength, alarm_warnings, run_length
from passk_trl.monitor.window import FEWEST_OF_LOOK


SCHEDULES = {
    "plain": {},
    "several iterations": {"num_iterations": 2, "max_steps": 40},
    "several generations in a step": {"gradient_accumulation_steps": 4, "steps_per_generation": 2},
    "epochs": {"max_steps": -1, "num_train_epochs": 1.5},
    "epochs of several iterations": {"max_steps": -1, "num_train_epochs": 2, "num_iterations": 3},
    "epochs whose last step is a part": {
        "max_steps": -1,
        "num_train_epochs": 1.5,
        "gradient_accumulation_steps": 6,
        "steps_per_generation": 2,
    },
    "batches larger than the first block": {"max_steps": 2, "gradient_accumulation_steps": 26},
}


def ride(**options) -> ConflictMonitor:
    return ConflictMonitor(ride=True, **{"every": 1, **options})


def too_short(monitor, args, run, is_exact=False) -> list[str]:
    return [each for each in alarm_warnings(monitor.settings, args, run, is_exact) if each.startswith("no alarm")]


@pytest.mark.parametrize("gram", ["exact", "sketch"])
@pytest.mark.parametrize("options", SCHEDULES.values(), ids=SCHEDULES)
def test_the_first_look_of_a_real_ride_comes_when_it_is_foretold(options, gram, tmp_path):
    monitor = ride(window=26, gram=gram)
    trainer = trainers.build(tmp_path, parts={"callbacks": [monitor]}, **{"max_steps": 30, "pass_at_k": 4, **options})
    trainer.train()
    run = run_length(trainer.args, 1, len(trainer.train_dataset))
    assert run.steps == trainer.state.max_steps
    looks = [record.step for record in monitor.records if math.isfinite(record.looks[26][0])]
    assert looks
    for steps in range(1, run.steps + 1):
        comes = bool(looks) and looks[0] <= steps
        assert bool(too_short(monitor, trainer.args, run._replace(steps=steps), gram == "exact")) != comes


def test_only_the_prompts_up_to_the_last_report_and_after_a_resume_count():
    args = tiny.training_args("out", pass_at_k=4)
    enough = RunLength(steps=8, prompts=16)
    for window in (1024, 2048, 8192):  # whose first block is large enough for a look
        assert too_short(ride(window=window), args, enough) == []
    (said,) = too_short(ride(), args, enough._replace(steps=7))
    assert said == (
        "no alarm can come: up to the last report, at step 7, this run trains on 112 prompts, and with window=2048 "
        "the alarm first looks at 128; train longer."
    )
    (said,) = too_short(ride(every=5), args, enough)
    assert "at step 5, this run trains on 80 prompts, and" in said
    assert said.endswith("; train longer, or set every to a number that divides 8.")
    (said,) = too_short(ride(), args, enough._replace(done=3))
    assert "80 prompts after step 3, and" in said


def test_a_small_first_block_comes_before_the_first_look():
    args, window = tiny.training_args("out", pass_at_k=4), 512
    assert too_short(ride(window=window), args, RunLength(steps=8, prompts=16), is_exact=True) == []
    assert "first looks at 192;" in too_short(ride(window=window), args, RunLength(steps=11, prompts=16))[0]
    assert too_short(ride(window=window), args, RunLength(steps=12, prompts=16)) == []


def test_a_first_block_whose_last_batch_reaches_the_first_look_is_looked_at():
    args, window = tiny.training_args("out", pass_at_k=4), 512  # a first block of 64, and a look at 128
    assert too_short(ride(window=window), args, RunLength(steps=1, prompts=128)) == []
    assert "first looks at 381;" in too_short(ride(window=window), args, RunLength(steps=2, prompts=127))[0]
    assert too_short(ride(window=window), args, RunLength(steps=2, prompts=127), is_exact=True) == []


def test_only_what_helps_is_offered():
    args = tiny.training_args("out", pass_at_k=4)

    def offered(run, is_exact=False, **options):
        return too_short(ride(**options), args, run, is_exact)[0].partition("; ")[2]

    every = "set every to a number that divides 9"
    assert offered(RunLength(steps=7, prompts=16), every=5) == "train longer."  # not even all steps are enough
    assert offered(RunLength(steps=9, prompts=16), every=5) == f"train longer, or {every}."
    # A window of 1,000 has a first block of 125 prompts and first looks at 250; one of 1,024 looks at 128 at once.
    assert offered(RunLength(steps=16, prompts=16), window=1000) == "train longer, or set window to 1024."
    assert offered(RunLength(steps=15, prompts=16), is_exact=True, window=250) == (
        "train longer, or set window to 1024."
    )
    assert offered(RunLength(steps=1, prompts=128), window=4000) == "train longer, or set window to 4096."
    assert offered(RunLength(steps=7, prompts=16), window=1000) == "train longer."
    of_all = RunLength(steps=25, prompts=16)
    assert offered(of_all, window=1000, every=20) == (
        "train longer, set every to a number that divides 25, or set window to 1024."
    )


def test_a_monitor_that_never_reports_says_so():
    args, run = tiny.training_args("out"), RunLength(steps=6, prompts=16)
    questions = tiny.questions(64)
    said = [
        "every=7 is more than the 6 steps of this run, so it makes no report and raises no alarm; "
        "set every to 6 or less."
    ]
    for monitor in (ride(every=7), ConflictMonitor(questions, every=7)):
        assert alarm_warnings(monitor.settings, args, run, False) == said
    for monitor in (ConflictMonitor(questions, every=6), ConflictMonitor(questions, every=7, at_start=True)):
        assert alarm_warnings(monitor.settings, args, run, False) == []


def test_a_window_below_what_was_simulated_warns():
    args = tiny.training_args("out", pass_at_k=4)
    (said,) = alarm_warnings(ride(window=FEWEST_OF_LOOK - 1).settings, args, None, False)
    assert said.startswith("window=127 is so small that the alarm may come in more than 5% of runs")
    assert alarm_warnings(ride(window=FEWEST_OF_LOOK).settings, args, None, False) == []
    of_pass1 = tiny.training_args("out", pass_at_k=1)  # which has no alarm
    assert alarm_warnings(ride(window=8).settings, of_pass1, None, False) == []


def test_it_is_said_when_training_begins(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        trainers.build(tmp_path, parts={"callbacks": [ride(window=100)]}, pass_at_k=4).train()
    said = [record.getMessage() for record in caplog.records if record.name == "passk_trl.monitor.run_length"]
    assert [each.split()[0] for each in said] == ["no", "window=100"]
