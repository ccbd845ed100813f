"""Dates of two readings: seeded, disjoint between splits, and with as many of each reading as documented."""

import calendar
from itertools import combinations

import pytest

from passk_trl.rewards import short_answer_reward
from passk_trl.tasks import DATE_WORDINGS, SPLITS, ambiguous_date_splits, ambiguous_dates


def test_same_seed_same_rows_other_seed_others():
    assert ambiguous_dates(50, seed=3).to_list() == ambiguous_dates(50, seed=3).to_list()
    assert ambiguous_dates(50, seed=3)["date"][:] != ambiguous_dates(50, seed=4)["date"][:]


def test_a_machine_of_another_language_has_the_same_rows(monkeypatch):
    rows = ambiguous_dates(50).to_list()
    monkeypatch.setattr(calendar, "month_name", ["", *"ABCDEFGHIJKL"])
    assert ambiguous_dates(50).to_list() == rows


def test_no_question_repeats_and_no_split_shares_a_date():
    splits = ambiguous_date_splits()
    dates = {name: {*split["date"]} for name, split in splits.items()}
    assert all(dates[one].isdisjoint(dates[other]) for one, other in combinations(SPLITS, 2))
    questions = [row["prompt"][-1]["content"] for row in splits["train"]]
    assert len({*questions}) == len(questions)


def test_the_reading_says_which_number_is_the_month():
    for row in ambiguous_dates(200):
        first, second, _ = map(int, row["date"].split("/"))
        month, other = (second, first) if row["rule"] == "day first" else (first, second)
        names = [calendar.month_name[month], calendar.month_abbr[month], calendar.month_name[other], str(month)]
        assert short_answer_reward(names, [row["solution"]] * 4) == [1, 1, 0, 0]
        assert row["prompt"][-1]["content"].startswith(row["wording"].format(date=row["date"]))


def test_every_wording_has_both_readings_and_leans_as_documented():
    rows = ambiguous_dates(8000).to_list()
    for wording, lean in DATE_WORDINGS.items():
        rules = [row["rule"] for row in rows if row["wording"] == wording]
        assert rules.count("day first") / len(rules) == pytest.approx(0.25 * (1 + 0.3 * lean), abs=0.05)


@pytest.mark.parametrize(("share", "rule"), [(0, "month first"), (1, "day first")])
def test_minority_share_at_its_ends(share, rule):
    assert {*ambiguous_dates(50, minority_share=share, cue=0)["rule"]} == {rule}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"split": "validation"}, "'train', 'probe', 'test'"),
        ({"num_prompts": 0}, "between 1 and"),
        ({"minority_share": 0.9, "cue": 0.3}, "set minority_share between 0"),
        ({"cue": 1.5}, "cue between -1 and 1"),
    ],
)
def test_refuses_what_it_cannot_draw(settings, words):
    with pytest.raises(ValueError, match=words):
        ambiguous_dates(**{"num_prompts": 10, **settings})
