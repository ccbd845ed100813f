"""The page's comparison: its script runs on both populations, and prints what the page shows, to the digit."""

from pathlib import Path

import pytest
import torch

import plugin_versus_unbiased as page


TEXT = (Path(__file__).parents[2] / "docs" / "plugin-versus-unbiased.md").read_text()


def test_the_policys_probes_are_unbiased_for_its_exact_inner_products(policy_path):
    world = page.policy_world(num_prompts=60, replicates=2, num_rollouts=8)
    gram_NN, correct_N = world.probe(120, 8)  # the whole pool
    report = page.measure_interference(gram_NN, correct_N, 8, [1, 2, 4])
    for k, estimate, error in zip((1, 2, 4), report.inner_product, report.inner_product_se, strict=True):
        assert abs(float(estimate) - world.inner_product(k, 1)) < 4 * float(error)
    assert world.inner_product(1, 1) > 0


def test_a_row_shows_the_bias_of_the_plugin():
    torch.manual_seed(0)
    cells = page.compare(page.bandit_world(0.4), 8, num_prompts=16, num_rollouts=16, draws=40).split(" | ")
    truth, plugin, unbiased = (float(cells[i].split(" ± ")[0]) for i in (4, 5, 8))
    assert truth == pytest.approx(-0.19)
    assert plugin > 0 > truth
    assert abs(unbiased - truth) < abs(plugin - truth)


@pytest.mark.slow
def test_the_page_shows_what_the_script_prints():
    """The bandit's rows: they do not depend on the machine."""
    rows = 0
    for p_hard in (0.4, 0.2):
        world = page.bandit_world(p_hard)
        for num_rollouts in (8, 16, 32):
            for num_prompts in (16, 64, 256):
                assert f"| {page.compare(world, 8, num_prompts, num_rollouts, draws=400)} |" in TEXT
                rows += 1
    assert rows == sum(line.startswith("| bandit") for line in TEXT.split("## How many")[0].splitlines())
