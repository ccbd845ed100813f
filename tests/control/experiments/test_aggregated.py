import pytest
import torch

from passk_trl.control import Aggregated
from passk_trl.control.experiments.aggregated import AGGREGATORS
from passk_trl.control.two_gradients import nearest_gram, two_gradients
from situations import report, rewards, situation


@pytest.mark.parametrize("aggregator", ["UPGrad", "PCGrad", "MGDA"])
def test_an_aggregator_of_torchjd_gives_pass1_a_share_in_a_conflict(aggregator):
    batch = rewards([1, 8, 15])
    conflicting, free = (
        Aggregated(aggregator, probes=1).decide(situation(batch, [report(c)])).figures["share"] for c in (True, False)
    )
    assert 0 < conflicting <= 1
    assert 0 <= free <= 1
    gram = nearest_gram(two_gradients([report(True)], 8))
    assert gram[0, 1] < 0
    against_both = gram @ torch.tensor([conflicting, 1 - conflicting]).double()
    # None of the three works against either gradient, except for the 1e-4 of the trace that TorchJD adds.
    assert (against_both > -1e-4 * gram.trace()).all()


@pytest.mark.parametrize("aggregator", AGGREGATORS)
@pytest.mark.parametrize("noise", [0.01, 0.5, 3.0])
def test_a_share_is_from_0_to_1(aggregator, noise):
    """AlignedMTL may weigh a gradient negatively."""
    decision = Aggregated(aggregator).decide(situation(rewards([1, 8, 15]), [report(True, noise)]))
    assert 0 <= decision.figures["share"] <= 1


def test_an_unknown_aggregator_is_refused():
    with pytest.raises(ValueError, match=r"aggregator='UpGrad' is unknown: set one of .*UPGrad"):
        Aggregated("UpGrad")
