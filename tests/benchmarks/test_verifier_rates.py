"""The published rates of wrong verdicts are those that the benchmark prints."""

import subprocess
import sys
from pathlib import Path


ROOT = Path(__file__).parents[2]


def test_the_page_has_the_rates_of_the_benchmark():
    command = [sys.executable, ROOT / "benchmarks" / "verifier" / "run.py"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout
    assert printed.count("accuracy_reward") == 2
    assert printed in (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
