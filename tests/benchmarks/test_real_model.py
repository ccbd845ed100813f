"""The published conflict of a pretrained model follows from the measured numbers."""

import json
from pathlib import Path

from conflict import FOLDER, table


ROWS = json.loads((FOLDER / "conflict.json").read_text())
PAGE = Path(__file__).parents[2] / "docs" / "real-model.md"


def test_the_table_follows_from_the_numbers():
    assert (FOLDER / "conflict.md").read_text() == table(ROWS)


def test_the_page_has_the_table():
    published = [line for line in PAGE.read_text().splitlines() if line.startswith("|")]
    assert published == table(ROWS).splitlines()


def test_what_is_decided_is_what_the_intervals_say():
    for row in ROWS:
        ends = zip(row["ks"], row["inner_product_low"], row["inner_product_high"], strict=True)
        signs = {f"{k:g}": "+" if low > 0 else "−" if high < 0 else "?" for k, low, high in ends}
        assert row["decided"] == {k: signs[k] for k in row["decided"]}
