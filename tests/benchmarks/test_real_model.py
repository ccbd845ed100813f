"""What is published of a pretrained model follows from the measured numbers."""

import json
from pathlib import Path

import torch

import conflict
import outcome
from conflict import FOLDER


ROWS = json.loads((FOLDER / "conflict.json").read_text())
OUTCOMES = json.loads((FOLDER / "outcome.json").read_text())
PAGE = (Path(__file__).parents[2] / "docs" / "real-model.md").read_text()


def test_the_tables_follow_from_the_numbers():
    tables = f"{conflict.table(ROWS)}\n{conflict.kinds_table(ROWS)}"
    assert (FOLDER / "conflict.md").read_text() == tables
    assert (FOLDER / "outcome.md").read_text() == outcome.table(OUTCOMES)


def test_the_page_has_the_tables_and_no_others():
    published = [line for line in PAGE.splitlines() if line.startswith("|")]
    measured = conflict.table(ROWS) + conflict.kinds_table(ROWS) + outcome.table(OUTCOMES)
    assert published == measured.splitlines()


def test_between_kinds_is_the_mean_over_pairs_of_different_prompts():
    gram_NN = torch.tensor([[2.0, 1.0, -1.0], [1.0, 6.0, -2.0], [-1.0, -2.0, 9.0]])
    between = conflict.between_kinds(gram_NN, ["a", "a", "b"])
    assert between["a, a"] == 0.25
    assert between["a, b"] == -0.25


def test_what_is_decided_is_what_the_intervals_say():
    for row in ROWS:
        ends = zip(row["ks"], row["inner_product_low"], row["inner_product_high"], strict=True)
        signs = {f"{k:g}": "+" if low > 0 else "−" if high < 0 else "?" for k, low, high in ends}
        assert row["decided"] == {k: signs[k] for k in row["decided"]}
