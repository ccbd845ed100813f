"""The report command: a run in, a page out, and what is no run named in a line."""

import pytest

from passk_trl.cli import main as passk_trl
from passk_trl.cli.report import main
from runs import record, write_arguments, write_probes, write_state


@pytest.fixture
def run(tmp_path):
    write_probes(tmp_path / "run", [record(0, False), record(10, True)])
    return tmp_path / "run"


def test_the_command_writes_the_page_of_a_run_that_is_going(run, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["passk-trl", "report", str(run)])
    passk_trl()
    assert f"page: {run / 'report.html'}" in capsys.readouterr().out
    assert (run / "report.html").exists()


def test_other_runs_and_another_place_can_be_chosen(run, tmp_path, capsys):
    for name in ("run", "other"):
        write_state(tmp_path / name, {0: {1: 0.5, 4: 0.7}, 20: {1: 0.4, 4: 0.8}})
    write_arguments(tmp_path / "other", 1)
    page = tmp_path / "page.html"
    main([str(run), "--beside", str(tmp_path / "other"), str(tmp_path / "absent"), "--output", str(page)])
    text = capsys.readouterr().out
    assert "trained for pass@1" in text
    assert f"(no run in {tmp_path / 'absent'} to compare with)" in text
    assert page.exists()
    assert not (run / "report.html").exists()


@pytest.mark.parametrize("place", ["absent", "empty", "file"])
def test_what_is_no_run_ends_in_one_line_and_status_2(tmp_path, place, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as ended:
        main([str(tmp_path / place)])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert re_one_line(error), error
    assert str(tmp_path / place) in error
    assert "give the output_dir of a run" in error


def re_one_line(error: str) -> bool:
    return error.startswith("passk-trl report: ") and error.count("\n") == 1
