"""What a run directory is read into, and what is told of it."""

import json

import pytest
import torch

from passk_trl.interference import measure_interference
from passk_trl.report import draw, read_run, shown_probe, write_report


def interference(opposed: int):
    """16 prompts, 12 easy and 4 hard; with `opposed` the hard ones' gradients oppose the rest."""
    noise = 0.1 * torch.randn(16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sign = torch.tensor([1.0] * 12 + [-1.0 if opposed else 1.0] * 4, dtype=torch.float64)
    return measure_interference(sign[:, None] * sign + (noise + noise.T) / 2, [7] * 12 + [1] * 4, 8)


def write_run(directory, k, before, after, probes=()):
    directory.mkdir()
    entries = [
        {"step": step, **{f"eval_passk/pass@{j}": value for j, value in values.items()}}
        for step, values in (before, after)
    ]
    (directory / "trainer_state.json").write_text(json.dumps({"log_history": [{"step": 5, "loss": 1.0}, *entries]}))
    (directory / "training_args.json").write_text(json.dumps({"pass_at_k": k}))
    if probes:
        lines = [json.dumps({"step": step, "report": report.to_dict()}) + "\n" for step, report in probes]
        (directory / "conflict.jsonl").write_text("".join(lines))
    return directory


@pytest.fixture
def runs(tmp_path):
    probes = [(0, interference(opposed=False)), (10, interference(opposed=True)), (20, interference(opposed=True))]
    start = (0, {1: 0.5, 2: 0.6, 4: 0.7, 8: 0.75})
    pass4 = write_run(tmp_path / "pass4", 4, start, (20, {1: 0.4, 2: 0.6, 4: 0.8, 8: 0.9}), probes)
    pass1 = write_run(tmp_path / "pass1", 1, start, (20, {1: 0.6, 2: 0.65, 4: 0.68, 8: 0.7}))
    return pass4, pass1


def test_a_run_is_read_as_it_was_written(runs):
    run = read_run(runs[0])
    assert (run.name, run.training_k, run.ks) == ("pass@4", 4, [1, 2, 4])
    assert run.evaluated == {0: {1: 0.5, 2: 0.6, 4: 0.7, 8: 0.75}, 20: {1: 0.4, 2: 0.6, 4: 0.8, 8: 0.9}}
    assert list(run.probes) == [0, 10, 20]
    assert read_run(runs[1]).probes == {}


def test_a_run_for_another_objective_is_called_by_it(runs):
    (runs[1] / "training_args.json").write_text(json.dumps({"pass_at_k": 1, "objective": "majority@7"}))
    assert read_run(runs[1]).name == "majority@7"


def test_the_probe_shown_is_the_first_in_conflict(runs):
    step, report = shown_probe(read_run(runs[0]))
    assert step == 10
    assert report.in_conflict(4)


def test_the_text_has_each_figure_where_it_belongs(runs):
    text = write_report(runs[0], beside=[runs[1], runs[0].parent / "absent"])
    lines = {line.split("  ")[0]: line for line in text.splitlines()}
    assert lines["before"].split()[1:] == ["0.500", "0.600", "0.700"]
    assert lines["trained for pass@4"].split()[3:] == ["0.400", "0.600", "0.800"]
    assert lines["trained for pass@1"].split()[3:] == ["0.600", "0.650", "0.680"]
    assert f"(no run in {runs[0].parent / 'absent'} to set beside it)" in text
    assert "conflict at step 10: 16 prompts x 8 rollouts, 95% intervals" in text
    at_4 = next(line for line in text.splitlines() if line.split()[:1] == ["4"])
    report = read_run(runs[0]).probes[10]
    assert float(at_4.split()[1]) == pytest.approx(report.inner_product[3].item(), rel=0.01)
    assert at_4.endswith("conflict")
    assert "step    0: nowhere" in text
    assert f"step   10: k = {report.onset:.1f}, pass@4 in conflict" in text
    assert (runs[0] / "conflict.png").read_bytes().startswith(b"\x89PNG")


def test_the_figure_shows_cosine_with_error_bars_and_pass_at_k_of_both_runs(runs):
    run, other = map(read_run, runs)
    left, right = draw(run, [other]).axes
    assert left.get_xlabel() == "k"
    assert len(left.containers) == 2  # of the probe shown and of the last
    assert [line.get_label() for line in right.get_lines()] == [
        "pass@1, trained for pass@4",
        "pass@4, trained for pass@4",
        "pass@1, trained for pass@1",
        "pass@4, trained for pass@1",
    ]
    assert right.get_lines()[1].get_ydata().tolist() == [0.7, 0.8]


def test_a_run_without_evaluation_says_how_to_get_one(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "trainer_state.json").write_text('{"log_history": []}')
    (run / "training_args.json").write_text('{"pass_at_k": 4}')
    assert "set eval_strategy and eval_on_start" in write_report(run)


def test_a_directory_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"trainer_state\.json"):
        read_run(tmp_path)
