"""What a run directory is read into, while the run is going and after it."""

import json

import pytest

from passk_trl.reports.run import read_run
from runs import record, write_arguments, write_probes, write_state


START = {1: 0.5, 2: 0.6, 4: 0.7, 8: 0.75}
END = {1: 0.4, 2: 0.6, 4: 0.8, 8: 0.9}


@pytest.fixture
def going(tmp_path):
    """A run after three probes, without a checkpoint, started by a plain script."""
    write_probes(tmp_path / "run", [record(0, False), record(10, True), record(20, True)])
    return tmp_path / "run"


def test_a_run_that_is_over_is_read_as_it_was_written(going):
    write_state(going, {0: START, 20: END})
    write_arguments(going, 4)
    run = read_run(going)
    assert (run.name, run.training_k, run.ks, run.shown_k) == ("pass@4", 4, [1, 2, 4], 4)
    assert run.evaluated == {0: START, 20: END}
    assert list(run.probes) == [0, 10, 20]
    assert (run.steps, run.notes) == ((20, 20), ())


def test_a_run_that_is_going_is_read_from_its_probes_alone(going):
    run = read_run(going)
    assert (run.name, run.training_k, list(run.probes), run.evaluated) == ("pass@4", 4, [0, 10, 20], {})
    assert run.notes == ("There is no trainer state yet, so no evaluation is shown. The first checkpoint writes one.",)


def test_the_latest_state_counts(going):
    write_state(going / "checkpoint-8", {0: START}, step=8)
    write_state(going / "checkpoint-16", {0: START, 16: END}, step=16)
    (going / "checkpoint-of-mine").mkdir()
    assert read_run(going).evaluated == {0: START, 16: END}
    write_state(going, {0: START}, step=12)  # of the run that checkpoint-16 resumed
    assert read_run(going).steps == (16, 20)
    write_state(going, {0: START, 20: END}, step=20)
    assert read_run(going).evaluated == {0: START, 20: END}


def test_a_checkpoint_that_is_being_written_is_left_out_and_said(going):
    write_state(going, {0: START}, step=12)
    write_state(going / "checkpoint-16", {0: START}, step=16)
    half = (going / "checkpoint-16" / "trainer_state.json").read_text()[:50]
    (going / "checkpoint-16" / "trainer_state.json").write_text(half)
    run = read_run(going)
    assert run.steps == (12, 20)
    assert run.notes == ("checkpoint-16/trainer_state.json cannot be read and is left out.",)


def test_corrupt_lines_are_counted(going):
    with (going / "conflict.jsonl").open("a") as file:
        file.write('{"step": 30, "rep\n[]\n' + json.dumps(record(40, True)) + "\n")
    run = read_run(going)
    assert list(run.probes) == [0, 10, 20, 40]
    assert run.notes[0] == "Lines of conflict.jsonl that are not a record, and were skipped: 2."


def test_a_run_for_another_objective_is_called_by_it(going):
    write_arguments(going, 1, objective="majority@7")
    run = read_run(going)
    assert run.name == "majority@7"
    assert run.shown_k == 4  # where 1 is trained for, half the rollouts


def test_the_probe_shown_is_the_first_in_conflict(going):
    run = read_run(going)
    assert run.shown_probe.step == 10
    assert [each.step for each in run.chosen_probes] == [10, 20]
    write_probes(going, [record(0, False), record(10, False)])
    assert [each.step for each in read_run(going).chosen_probes] == [10]


def test_a_forecast_is_set_beside_the_change_until_the_next_probe(going):
    worse = record(20, True)
    worse["report"]["num_correct"] = [3] * 12 + [1] * 4  # pass@1 from 0.6875 to 0.3125
    write_probes(going, [record(0, False), record(10, True), worse])
    at_10, at_20 = read_run(going).forecast_outcomes
    assert (at_10.step, at_10.measured.step, at_20.measured) == (10, 20, None)
    assert at_10.change == record(10, True)["forecast"]["change"][0]
    assert at_10.measured.change == pytest.approx(-0.375 / 10)
    margins = [read_run(going).probes[step].pass_at(1)[1] for step in (10, 20)]
    assert at_10.measured.margin == pytest.approx((margins[0] ** 2 + margins[1] ** 2) ** 0.5 / 10)


def test_a_run_for_another_objective_is_in_conflict_where_that_objective_is(going):
    records = [record(0, True), record(10, True)]
    against = {"inner_product": -5.0, "inner_product_low": -6.0, "inner_product_high": -4.0}
    along = {"inner_product": 1.0, "inner_product_low": -0.5, "inner_product_high": 2.0}
    rest = {"name": "majority@7", "norm_squared": 1.0, "cosine": None, "cosine_low": None, "cosine_high": None}
    for each, measured in zip(records, (along, against), strict=True):
        each["objectives"] = [{**rest, **measured}]
    write_probes(going, records)
    write_arguments(going, 1, objective="majority@7")
    run = read_run(going)
    assert [run.in_conflict(each) for each in run.probes.values()] == [False, True]


@pytest.mark.parametrize("there", [True, False])
def test_a_directory_that_is_no_run_is_refused(tmp_path, there):
    directory = tmp_path if there else tmp_path / "absent"
    message = (
        r"neither conflict\.jsonl nor trainer_state\.json: give the output_dir"
        if there
        else "is not a directory: give"
    )
    with pytest.raises(FileNotFoundError, match=message):
        read_run(directory)
