"""A probe of the required size shows the conflict that it is meant for."""

import math
import statistics

import pytest
import torch

from bandit_world import WORLD
from passk_trl.interference import measure_interference, required_probe_size


def test_a_probe_of_the_required_size_shows_the_conflict():
    """
    At k = 8 the world's cosine is −.42. A first probe of 200 prompts says how many prompts show it four times in five.
    Probes of that size show it at least about as often, because the bound on the error is conservative.
    """
    k, n, generator = 8, 16, torch.Generator().manual_seed(0)
    norms_squared = [gradient @ gradient for gradient in (WORLD.pass_at_k_gradient(1), WORLD.pass_at_k_gradient(k))]
    cosine = WORLD.inner_product([k]).item() / math.sqrt(math.prod(norms_squared))
    assert cosine == pytest.approx(-0.42, abs=0.005)
    sizes = []
    for _ in range(9):
        first = measure_interference(*WORLD.probe(200, n, generator), n, [1, k])
        sizes.append(required_probe_size(first, k, cosine, power=0.8))
    size = sorted(sizes)[4]

    def share_seen(num_prompts: int, draws: int) -> float:
        probes = (WORLD.probe(num_prompts, n, generator) for _ in range(draws))
        return sum(measure_interference(*probe, n, [k]).in_conflict(k) for probe in probes) / draws

    assert 0.7 < share_seen(size, draws=100) < 0.95
    assert share_seen(size // 4, draws=50) < 0.5


def test_the_required_size_grows_with_what_is_asked():
    report = measure_interference(*WORLD.probe(200, 16, torch.Generator().manual_seed(0)), 16, [1, 8])
    size = required_probe_size(report, 8, cosine=0.4)
    assert required_probe_size(report, 8, cosine=-0.2) == pytest.approx(4 * size, abs=4)
    assert required_probe_size(report, 8, cosine=0.4, power=0.95) > size


def test_the_error_of_sketches_is_not_divided_by_more_prompts():
    """A large first probe of sketches asks for about as many prompts as one of whole gradients."""
    generator, sizes = torch.Generator().manual_seed(0), {"sketched": [], "whole": []}
    for _ in range(9):
        whole = measure_interference(*WORLD.probe(1_000, 16, generator), 16, [1, 8])
        sketched = measure_interference(*WORLD.sketched_probe(1_000, 16, generator), 16, [1, 8])
        assert whole.sketch_se.abs().max() == 0
        assert (sketched.sketch_se > 0).all()
        sizes["whole"].append(required_probe_size(whole, 8, 0.8))
        sizes["sketched"].append(required_probe_size(sketched, 8, 0.8))
    assert statistics.median(sizes["sketched"]) == pytest.approx(statistics.median(sizes["whole"]), rel=0.5)


def test_a_cosine_that_sketches_hide_is_refused():
    probe = WORLD.sketched_probe(1_000, 16, torch.Generator().manual_seed(0))
    report = measure_interference(*probe, 16, [1, 8])
    with pytest.raises(ValueError, match=r"this probe's sketches alone hides a cosine of 0.02 at k=8"):
        required_probe_size(report, 8, 0.02)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 3}, "k=3 was not measured"),
        ({"cosine": 0}, "cosine=0 is out of range"),
        ({"cosine": 1.5}, "cosine=1.5 is out of range"),
        ({"power": 1.0}, "power=1.0 is out of range"),
        ({"report": measure_interference(-torch.ones(4, 4), [1, 2, 1, 2], 4)}, "first probe of more prompts"),
    ],
)
def test_refusals_of_a_required_size(change, message):
    report = measure_interference(*WORLD.probe(50, 16, torch.Generator().manual_seed(0)), 16, [1, 8])
    with pytest.raises(ValueError, match=message):
        required_probe_size(**{"report": report, "k": 1 if "report" in change else 8, "cosine": 0.5, **change})
