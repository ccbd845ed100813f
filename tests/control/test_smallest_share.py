import pytest

from passk_trl.control.smallest_share import smallest_share


@pytest.mark.parametrize("margin", [0.0, 0.3])
@pytest.mark.parametrize("inner", [-2.0, -0.1, 0.05])
def test_the_smallest_share_meets_the_margin_exactly(inner, margin):
    norm = 0.7
    share = smallest_share(inner, norm, margin)
    reached = (1 - share) * inner + share * norm
    if inner >= margin * norm:
        assert share == 0
    else:
        assert 0 < share < 1
        assert reached == pytest.approx(margin * norm)


def test_without_a_measurable_pass1_gradient_nothing_is_mixed():
    assert smallest_share(-1.0, 0.0) == 0
    assert smallest_share(-1.0, -0.1) == 0
