"""The quickstart shows what it is for: pass@8 up, pass@1 down, the conflict flagged before it happens."""

import re
from pathlib import Path

import pytest

from passk_trl.cli.train import main


RECIPES = Path(__file__).parent.parent / "recipes" / "quickstart"


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_training_for_pass_at_8_trades_pass_at_1_and_the_monitor_says_so_first(seed, policy_path, tmp_path, capsys):
    overrides = {
        "model_name_or_path": policy_path,
        "output_dir": tmp_path / "run",
        "max_steps": 40,
        "seed": seed,
        "disable_tqdm": True,
    }
    main(
        [
            "--config",
            str(RECIPES / "config_pass8.yaml"),
            *(str(x) for key in overrides for x in (f"--{key}", overrides[key])),
        ]
    )
    output = capsys.readouterr().out
    before = [float(value) for value in re.search(r"before +(.*)", output)[1].split()]
    after = [float(value) for value in re.search(r"trained for pass@8 +(.*)", output)[1].split()]
    assert after[0] < before[0] - 0.08  # pass@1
    assert after[-1] > before[-1] + 0.02  # pass@8
    assert re.search(r"step +0: k = [2-7]\.\d, pass@8 in conflict", output)
