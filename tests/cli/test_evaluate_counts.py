"""Counts in, the verdict out: without a model, without TRL, and with one line for each mistake."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import passk_trl.cli
from passk_trl.cli import evaluate
from passk_trl.cli.evaluate_counts import main


@pytest.fixture
def files(tmp_path, monkeypatch) -> list[str]:
    """Counts of a base policy and of a trained one, which solves fewer prompts but these more often."""
    rng = np.random.default_rng(0)
    base = rng.beta(0.6, 1.2, size=80)
    trained = np.where(np.arange(80) % 4 == 0, 0.0, np.where(base > 0.1, 0.97, base))
    for name, rates in (("base", base), ("trained", trained)):
        lines = [{"id": i, "n": 16, "c": int(c)} for i, c in enumerate(rng.binomial(16, rates))]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    monkeypatch.chdir(tmp_path)
    return ["base.jsonl", "trained.jsonl"]


def test_the_second_file_gains_and_loses_against_the_first(files, capsys):
    main(["--counts", *files])
    output = capsys.readouterr().out
    assert "`trained.jsonl`, against `base.jsonl`." in output
    assert "- **pass@k**: gain at k = 1" in output
    content = json.loads(Path("evaluation/evaluation.json").read_text())
    assert content["models"] == ["trained.jsonl", "base.jsonl"]
    counts = {
        name: [json.loads(line)["c"] for line in Path(f"{name}.jsonl").read_text().splitlines()]
        for name in ("base", "trained")
    }
    difference = (sum(counts["trained"]) - sum(counts["base"])) / (80 * 16)
    assert content["overall"]["pass_at_k"]["difference"]["value"][0] == pytest.approx(difference)
    assert {path.name for path in Path("evaluation").iterdir()} == {
        "evaluation.json",
        "evaluation.md",
        "evaluation.png",
    }
    assert output.startswith(Path("evaluation/evaluation.md").read_text())


def test_its_options(files, capsys):
    main(["--counts", files[1], "--ks", "2", "3", "--confidence", "0.8", "--output_dir", "there/report"])
    content = json.loads(Path("there/report/evaluation.json").read_text())
    assert (content["models"], content["ks"], content["about"]["confidence"]) == (["trained.jsonl"], [2, 3], 0.8)
    assert "80% bands" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["passk-trl", "module"])
def test_it_is_the_evaluate_command(files, command, monkeypatch, capsys):
    if command == "passk-trl":
        monkeypatch.setattr(sys, "argv", ["passk-trl", "evaluate", "--counts", *files])
        passk_trl.cli.main()
    else:
        evaluate.main(["--counts", *files])
    assert "loss at" in capsys.readouterr().out


def test_the_help_says_which_file_is_compared_with(capsys):
    with pytest.raises(SystemExit):
        main(["--counts", "--help"])
    help_text = " ".join(capsys.readouterr().out.split())
    assert "the first is the one compared with (as --against is for checkpoints)" in help_text
    with pytest.raises(SystemExit):
        evaluate.main(["--help"])
    assert "passk-trl evaluate --counts base.jsonl trained.jsonl" in capsys.readouterr().out


def test_the_command_waits_for_no_framework(files):
    heavy = {"accelerate", "datasets", "transformers", "trl"}
    program = (
        f"import sys, passk_trl.cli; passk_trl.cli.main(); sys.exit(str(sorted({heavy} & sys.modules.keys()) or ''))"
    )
    command = [sys.executable, "-c", program, "evaluate", "--counts", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
    assert "evaluation/evaluation.md" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["base.jsonl", "base.jsonl", "base.jsonl"], "3 files are given after --counts; give one, or two to compare."),
        (["absent.jsonl"], "No such file or directory: 'absent.jsonl'"),
        (["base.jsonl", "wrong.jsonl"], "wrong.jsonl, line 1: c=3 is more than n=2"),
        ([], "0 files are given after --counts; give one, or two to compare."),
        (["base.jsonl", "--ks", "17"], "pass@17 has no unbiased estimate from 16 rollouts of a prompt: set ks "),
        (["base.jsonl", "--confidence", "95"], "confidence=95.0 is not between 0 and 1"),
        (["base.jsonl", "--output_dir", "base.jsonl"], "base.jsonl"),
    ],
)  # fmt: skip
def test_mistakes_end_in_one_line_and_status_2(files, arguments, message, capsys):
    Path("wrong.jsonl").write_text('{"id": 0, "n": 2, "c": 3}\n')
    with pytest.raises(SystemExit) as ended:
        main(["--counts", *arguments])
    assert ended.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("passk-trl evaluate --counts: ")
    assert message in line
