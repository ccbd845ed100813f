"""What is published of riding and probing follows from the results."""

import json
import math
from pathlib import Path

from power_table import FOLDER, summary, table


RESULTS = json.loads((FOLDER / "results.json").read_text())
PAGE = (Path(__file__).parents[2] / "docs" / "reading-the-monitor.md").read_text()


def test_the_table_and_the_page_follow_from_the_results():
    assert (FOLDER / "results.md").read_text() == table(RESULTS)
    section = PAGE.split("### How small a conflict it decides")[1].split("\n## ")[0]
    assert [line for line in section.splitlines() if line.startswith("|")] == table(RESULTS).splitlines()


def test_runs_are_summed_up_by_their_medians():
    outcomes = [([2.0, 1.0, 1.0], 100), ([math.inf, 2.0, 1.0], 200), ([math.inf, 3.0, 4.0], math.inf)]
    found = summary("some", outcomes, 2.0)
    assert found == {
        "monitor": "some",
        "after": [None, 1.0, 0.5],
        "announced": [200, 100, None],
        "runs that announce": 2,
        "runs": 3,
    }
    cells = table({"smollm2": {"rows": [found]}}).splitlines()[-1]
    assert cells == "| SmolLM2 | some | – | 1.00 | 0.50 | 200 (100 to –) | 2 of 3 |"
