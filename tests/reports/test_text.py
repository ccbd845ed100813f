"""The text of a report has each number where it belongs."""

import subprocess
import sys

import pytest
import torch

from passk_trl.interference import measure_interference
from passk_trl.interference.forecasting import forecast
from passk_trl.reports.run import read_run
from passk_trl.reports.text import write_report
from passk_trl.reports.wording import onset_or_why_not
from runs import record, write_arguments, write_probes, write_state


START = {1: 0.5, 2: 0.6, 4: 0.7, 8: 0.75}


@pytest.fixture
def runs(tmp_path):
    pass4, pass1 = tmp_path / "pass4", tmp_path / "pass1"
    write_probes(pass4, [record(0, False), record(10, True), record(20, True)])
    for directory, k, end in (
        (pass4, 4, {1: 0.4, 2: 0.6, 4: 0.8, 8: 0.9}),
        (pass1, 1, {1: 0.6, 2: 0.65, 4: 0.68, 8: 0.7}),
    ):
        write_state(directory, {0: START, 20: end})
        write_arguments(directory, k)
    return pass4, pass1


def test_the_text_has_each_figure_where_it_belongs(runs):
    text = write_report(runs[0], beside=[runs[1], runs[0].parent / "absent"])
    lines = {line.split("  ")[0]: line for line in text.splitlines()}
    assert lines["before"].split()[1:] == ["0.500", "0.600", "0.700"]
    assert lines["trained for pass@4"].split()[3:] == ["0.400", "0.600", "0.800"]
    assert lines["trained for pass@1"].split()[3:] == ["0.600", "0.650", "0.680"]
    assert f"(no run in {runs[0].parent / 'absent'} to compare with)" in text
    why = "the first report with pass@4 in conflict"
    assert f"conflict at step 10, {why}: 16 prompts x 8 rollouts, 95% intervals" in text
    at_4 = next(line for line in text.splitlines() if line.split()[:1] == ["4"])
    report = read_run(runs[0]).probes[10].report
    assert float(at_4.split()[1]) == pytest.approx(report.inner_product[3].item(), rel=0.01)
    assert at_4.endswith("conflict")
    assert "     0  none                      no alarm\n" in text
    assert f"    10  {onset_or_why_not(report):<26}pass@4 in conflict\n" in text
    assert f"page: {runs[0] / 'report.html'}" in text


def test_without_an_alarm_the_table_is_of_the_latest_report(tmp_path):
    write_probes(tmp_path / "run", [record(0, False), record(10, False)])
    write_arguments(tmp_path / "run", 4)
    assert "conflict at step 10, the latest report: 16 prompts" in write_report(tmp_path / "run")


def test_an_alarm_that_stands_beside_a_report_without_an_onset_is_explained(tmp_path):
    write_probes(tmp_path / "run", [record(10, True), record(20, False)])
    write_arguments(tmp_path / "run", 4)
    text = write_report(tmp_path / "run")
    run = read_run(tmp_path / "run")
    assert run.probes[20].report.onset is None
    assert run.in_conflict(run.probes[20])
    assert "    20  none                      pass@4 in conflict\n" in text
    assert "An alarm stands until later reports show the opposite." in text
    assert (
        "At step 20, training for pass@4 works against pass@1, by all reports so far, since step 10. In the "
        "latest report alone, the measured pass@k gradient agrees with pass@1's up to k = 7."
    ) in text


def test_pass_hat_k_stands_beside_pass_at_k_in_the_text_and_on_the_page(runs):
    write_state(runs[0], {0: START, 20: START}, hat={0: {2: 0.31, 4: 0.21, 8: 0.1}, 20: {2: 0.32, 4: 0.22, 8: 0.1}})
    text = write_report(runs[0])
    lines = {line.split("  ")[0]: line.split() for line in text.splitlines()}
    assert lines["held-out prompts"][2:] == ["pass@1", "pass@2", "pass@4", "pass^2", "pass^4"]
    assert lines["before"][4:] == ["0.310", "0.210"]
    assert lines["trained for pass@4"][6:] == ["0.320", "0.220"]
    page = (runs[0] / "report.html").read_text()
    assert all(cell in page for cell in ("pass^2", "pass^4", "0.310", "0.220"))
    assert "pass^" not in write_report(runs[0], beside=[runs[1]])  # which did not log it


def test_the_page_and_the_figures_are_written_into_the_run(runs):
    write_report(runs[0])
    assert (runs[0] / "report.html").read_text().startswith("<!DOCTYPE html>")
    for name in ("conflict", "heat_map", "curve", "training", "agreement", "forecast"):
        assert (runs[0] / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_page_can_go_elsewhere_and_leaves_the_run_alone(runs, tmp_path):
    before = sorted(runs[0].iterdir())
    write_report(runs[0], output=tmp_path / "reports" / "mine.html")
    assert sorted(runs[0].iterdir()) == before
    assert {path.name for path in (tmp_path / "reports").iterdir()} > {"mine.html", "heat_map.png", "conflict.png"}


def test_a_run_without_evaluation_says_how_to_get_one(tmp_path):
    write_state(tmp_path / "run", {})
    write_arguments(tmp_path / "run", 4)
    text = write_report(tmp_path / "run")
    assert "set eval_strategy and eval_on_start" in text
    assert "No report was recorded" in (tmp_path / "run" / "report.html").read_text()


def test_what_could_not_be_read_is_said(runs):
    with (runs[0] / "conflict.jsonl").open("a") as file:
        file.write("nonsense\n")
    note = "Lines of conflict.jsonl that are not a record, and were skipped: 1."
    assert f"note: {note}" in write_report(runs[0])
    assert note in (runs[0] / "report.html").read_text()


def test_reading_a_run_does_not_wait_for_trl():
    heavy = {"accelerate", "datasets", "transformers", "trl"}
    program = f"import sys, passk_trl.cli.report; sys.exit(str(sorted({heavy} & sys.modules.keys()) or ''))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


def test_a_report_of_which_no_pair_of_prompts_tells_says_so(tmp_path):
    report = measure_interference(torch.zeros(16, 16), [0] * 16, 8)
    change = forecast(torch.zeros(16), [0] * 16, 8, report.ks)
    nothing = {**record(10, False), "report": report.to_dict(), "forecast": change.to_dict()}
    write_probes(tmp_path / "run", [nothing])
    write_arguments(tmp_path / "run", 4)
    text = write_report(tmp_path / "run")
    [at_4] = [line.split() for line in text.splitlines() if line.split()[:1] == ["4"]]
    assert at_4 == ["4", "–", "–", "–"]
    assert "    10  no pairs                  no alarm\n" in text
    assert "In the latest report alone, no two prompts with a gradient were measured, so it tells nothing." in text
    page = (tmp_path / "run" / "report.html").read_text()
    assert "nan" not in text + page.lower().split("<h2")[-1]
    assert "0.000 ± –" in page  # no rollout is correct, which does not say that none ever is
    assert read_run(tmp_path / "run").forecast_outcomes == []
