"""The page on objectives: its script runs, and page and script have the same objectives."""

from pathlib import Path

import objectives
from passk_trl.objectives import objective_from


PAGE = (Path(__file__).parents[2] / "docs" / "objectives.md").read_text()


def test_the_script_measures_and_draws_every_objective(tmp_path, capsys, policy_path):
    objectives.main(["--num_prompts", "32", "--num_rollouts", "18", "--picture", str(tmp_path / "objectives.png")])
    printed = capsys.readouterr().out
    assert all(f"| `{name}` |" in printed for name in objectives.SHOWN)
    assert (tmp_path / "objectives.png").stat().st_size > 10_000


def test_the_page_has_a_row_for_every_objective_and_the_computed_biases():
    assert all(f"| `{name}` |" in PAGE for name in objectives.SHOWN)
    assert objectives.bias_table() in PAGE
    for name in objectives.SHOWN:
        kind = "unbiased" if objectives.is_unbiased(name) else "plugged in"
        assert f"| {objectives.SHOWN[name]} | `{name}` | {kind} |" in PAGE
        assert objective_from(name).attempts < 32
