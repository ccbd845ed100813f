"""The published results of the mitigation benchmark follow from its runs."""

import json
from pathlib import Path

import pytest

from run import FOLDER, methods, suffix_of
from summary import write_summary


PAGE = Path(__file__).parents[2] / "docs" / "mitigation.md"
RUNS = [
    (path.stem.partition("_")[2] or None, json.loads(line))
    for path in FOLDER.glob("results*.jsonl")
    for line in path.read_text().splitlines()
]


@pytest.mark.parametrize(("name", "steps"), sorted({(name, run["steps"]) for name, run in RUNS}, key=str))
def test_the_results_follow_from_the_runs(name, steps, tmp_path):
    suffix = suffix_of(name, steps)
    published = (FOLDER / f"results{suffix}.md").read_text()
    command = published.split("`")[1]
    runs = [run for session, run in RUNS if (session, run["steps"]) == (name, steps)]
    assert write_summary(runs, list(methods()), tmp_path, command, suffix) == published


def test_the_page_has_only_rows_of_the_results():
    rows = [line for line in PAGE.read_text().split("## Measured")[1].split("## ")[0].splitlines() if line[:2] == "| "]
    published = {line for path in FOLDER.glob("results*.md") for line in path.read_text().splitlines()}
    assert len(rows) > 10
    assert [row for row in rows if row not in published] == []
