"""Splits of questions."""

import pytest

from passk_trl.tasks.questions import SPLITS, of_split


def test_splits_share_no_question_and_have_all():
    questions = list(range(100))
    parts = [of_split(questions, split) for split in SPLITS]
    assert sorted(each for part in parts for each in part) == questions
    assert [len(part) for part in parts] == [70, 15, 15]


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="split is 'dev': set it to one of 'train', 'probe', 'test'"):
        of_split([1], "dev")
