"""The report of an evaluation has the same numbers for a program and for a reader."""

import json

import numpy as np

from passk_trl.evaluation import EvaluationReport, evaluate_counts, write_evaluation
from passk_trl.evaluation.pass_at_k import Evaluation
from success_counts import N, drawn_counts, n


def test_a_program_and_a_reader_find_the_same(tmp_path):
    overall = Evaluation(N, [evaluate_counts(drawn_counts(np.random.default_rng(0), np.full(N, 0.5)), n, [1, 2])], [])
    about = {"dataset": "some/data", "num_rollouts": n, "confidence": 0.95}
    report = EvaluationReport(["my/model"], about, overall, "`level`", {"3": overall}, [], [7])
    text = write_evaluation(tmp_path, report)
    content = json.loads((tmp_path / "evaluation.json").read_text())
    assert content["overall"]["policies"][0][1]["value"] == overall.policies[0][1].value
    assert content["unscorable_rows"] == [7]
    first = overall.policies[0][0]
    assert f"| 1 | {first.value:.3f} [{first.low:.3f}, {first.high:.3f}] |" in text
    assert "## By `level`" in text
    assert text == (tmp_path / "evaluation.md").read_text() + f"\nreport: {tmp_path / 'evaluation.md'}"
