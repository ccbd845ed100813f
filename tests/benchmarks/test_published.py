"""The published results of the mitigation benchmark follow from its runs."""

import json
from pathlib import Path

import pytest

from run import FOLDER, RESULTS, STEPS, methods
from summary import write_summary


PAGE = Path(__file__).parents[2] / "docs" / "mitigation.md"
RUNS = [json.loads(line) for line in RESULTS.read_text().splitlines()]


@pytest.mark.parametrize("steps", sorted({run["steps"] for run in RUNS}))
def test_the_results_follow_from_the_runs(steps, tmp_path):
    suffix = "" if steps == STEPS else f"_{steps}_steps"
    published = (FOLDER / f"results{suffix}.md").read_text()
    command = published.split("`")[1]
    runs = [run for run in RUNS if run["steps"] == steps]
    assert write_summary(runs, list(methods()), tmp_path, command, suffix) == published


def test_the_page_has_only_rows_of_the_results():
    rows = [line for line in PAGE.read_text().split("## Measured")[1].split("## ")[0].splitlines() if line[:2] == "| "]
    published = {line for path in FOLDER.glob("results*.md") for line in path.read_text().splitlines()}
    assert len(rows) > 10
    assert [row for row in rows if row not in published] == []
