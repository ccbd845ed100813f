"""The summary that the mitigation benchmark writes of its runs."""

import pytest

from summary import write_summary


COMMAND = "python benchmarks/mitigation/run.py"
METHODS = ["pass@8", "guard", "mix"]


def run(method: str, seed: int, pass1_change: float, passk_change: float, **changes) -> dict:
    return {
        "task": "ambiguous",
        "method": method,
        "seed": seed,
        "steps": 40,
        "commit": "abc",
        "seconds": 10.0,
        "pass1": [0.5, 0.5, 0.5 + pass1_change],
        "passk": [0.8, 0.8, 0.8 + passk_change],
        "reachable": 0.05,
        "decided": {},
        **changes,
    }


def test_the_kept_share_is_of_plain_trainings_gain_with_the_same_seeds(tmp_path):
    plain = [run("pass@8", 1, -0.2, 0.100), run("pass@8", 2, -0.1, 0.102), run("pass@8", 3, -0.1, 0.5)]
    guards = [run("guard", 1, 0.01, 0.095, seconds=11.0), run("guard", 2, 0.03, 0.0969, seconds=13.0)]
    mixes = [run("mix", 2, -0.03, 0.101), run("mix", 1, 0.01, 0.101)]
    text = write_summary([*plain, *guards, *mixes], METHODS, tmp_path, COMMAND)
    assert "seeds 1, 2, commit abc" in text  # only plain training has a third seed
    assert "| guard | **+0.020 ± 0.127, 95% ± 0%** |" in text
    assert "| mix | -0.010 ± 0.254, 100% ± 13% |" in text  # pass@1 is lower
    [line] = [line for line in text.splitlines() if line.startswith("| guard | 2")]
    assert line.split(" | ")[4:] == ["95% ± 0%", "1.20", "50% |"]
    assert (tmp_path / "results.md").read_text() == text
    assert (tmp_path / "mitigation.png").stat().st_size > 10_000


def test_runs_of_other_steps_do_not_overwrite_what_is_published(tmp_path):
    text = write_summary([run("pass@8", 1, 0.0, 0.1)], METHODS, tmp_path, COMMAND, suffix="_320_steps")
    assert "(mitigation_320_steps.png)" in text
    assert {path.name for path in tmp_path.iterdir()} == {"results_320_steps.md", "mitigation_320_steps.png"}


def test_it_names_the_commit_of_each_method(tmp_path):
    runs = [run("pass@8", 1, 0.0, 0.1), run("guard", 1, 0.0, 0.1, commit="def"), run("mix", 1, 0.0, 0.1, commit="def")]
    assert "commit abc (pass@8); commit def (guard, mix)." in write_summary(runs, METHODS, tmp_path, COMMAND)


def test_without_plain_training_the_kept_share_is_nan(tmp_path):
    text = write_summary([run("guard", 1, 0.01, 0.1)], METHODS, tmp_path, COMMAND)
    assert "| guard | +0.010, nan% |" in text


def test_runs_from_different_starts_are_not_mixed(tmp_path):
    other = run("guard", 1, 0.0, 0.1, passk=[0.7, 0.7, 0.8])
    with pytest.raises(ValueError, match="start from different policies"):
        write_summary([run("pass@8", 1, 0.0, 0.1), other], METHODS, tmp_path, COMMAND)
