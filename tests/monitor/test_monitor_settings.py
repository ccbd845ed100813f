"""Arguments that are out of range are refused, in words that say what to set."""

import pytest

import tiny
from passk_trl import ConflictMonitor
from watched import PROBE, build


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"probe_dataset": tiny.questions(0)}, "probe_dataset has 0 rows, fewer than num_prompts=12; give more rows"),
        ({"probe_dataset": tiny.questions(11)}, "probe_dataset has 11 rows, fewer than num_prompts=12"),
        ({"probe_dataset": tiny.questions().rename_column("prompt", "question")}, "has no column 'prompt', only"),
        ({"num_prompts": 3}, "num_prompts=3 is too few for an error bar; set at least 8"),
        ({"num_rollouts": 1}, "num_rollouts=1 shows no k above 1; set at least 3"),
        ({"every": 0}, "every=0 is not a number of steps; set at least 1"),
        ({"gram": "magic"}, "gram='magic' is unknown; set 'auto', 'exact' or 'sketch'"),
        ({"probe_batch_size": 0}, "probe_batch_size=0 is not a number of prompts; set at least 1"),
        ({"confidence": 95}, "confidence=95 is not a level; set a number between 0 and 1"),
        ({"ks": []}, "ks is empty; set numbers from 1 to num_rollouts - 1, or leave it out"),
        ({"ks": [0.5, 2]}, r"ks=\[0.5, 2\] holds a k below 1; set numbers from 1"),
        ({"parameters": "("}, r"parameters='\(' is not a regular expression"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ConflictMonitor(**{"probe_dataset": tiny.questions(), **PROBE, **arguments})


def test_a_training_batch_of_too_few_prompts_is_refused(tmp_path):
    with pytest.raises(ValueError, match="num_prompts=64 is more than the 2 prompts of a training batch"):
        build(tmp_path, ConflictMonitor(None))
    with pytest.raises(ValueError, match="at_start=True finds no training batch before the first step"):
        ConflictMonitor(None, at_start=True)


def test_larger_k_than_rollouts_show_can_be_left_out(tmp_path):
    with pytest.raises(ValueError, match=r"not k=9; set num_generations to 10 or more, or ks to \[1, 2\]\."):
        build(tmp_path, ConflictMonitor(ride=True, ks=[1, 2, 9]))
