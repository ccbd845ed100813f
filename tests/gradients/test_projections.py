"""Projections: determined by seed and name, and kept up to a size."""

import torch

from passk_trl.gradients import projections
from passk_trl.gradients.projections import Projections


def test_they_are_signs_determined_by_seed_and_name():
    like = torch.zeros((), dtype=torch.float32)
    drawn = Projections(3).of("w", "/rows", 40, 4, like)
    assert drawn.shape == (40, 14 * 4)
    assert set(drawn.unique().tolist()) == {-0.5, 0.5}
    assert torch.equal(drawn, Projections(3).of("w", "/rows", 40, 4, like))
    others = [Projections(4).of("w", "/rows", 40, 4, like), Projections(3).of("w", "/cols", 40, 4, like)]
    assert not any(torch.equal(drawn, other) for other in others)


def test_their_square_is_the_identity_on_average():
    like = torch.zeros((), dtype=torch.float64)
    draws = torch.stack([Projections(seed).of("w", "", 5, 4, like).unflatten(1, (14, 4)) for seed in range(400)])
    squares = torch.einsum("simr,sjmr->smij", draws, draws).flatten(0, 1)
    error = squares.std(dim=0) / len(squares) ** 0.5
    assert ((squares.mean(dim=0) - torch.eye(5)).abs() <= 4.5 * error + 1e-12).all()


def test_those_that_are_kept_are_those_that_would_be_drawn_again(monkeypatch):
    def drawn_twice() -> tuple[list[torch.Tensor], int]:
        made, names = Projections(3), []
        draw = made._drawn
        monkeypatch.setattr(made, "_drawn", lambda name, *others: names.append(name) or draw(name, *others))
        both = []
        for name in ("w", "w", "other", "w"):
            both.append(made.of(name, "/rows", 40, 4, torch.zeros(())))
        return [each for i, each in enumerate(both) if i != 2], names.count("w/rows")

    kept, draws = drawn_twice()
    assert draws == 1
    monkeypatch.setattr(projections, "PROJECTION_BYTES", 0)
    again, draws = drawn_twice()
    assert draws == 2  # another parameter's came between
    assert all(torch.equal(each, kept[0]) for each in [*kept, *again])


def test_they_are_kept_up_to_a_size(monkeypatch):
    monkeypatch.setattr(projections, "PROJECTION_BYTES", most := 20_000)
    made = Projections(0)
    for name in "abc":
        for side in ("/rows", "/cols"):
            made.of(name, side, 40, 4, torch.zeros(()))
    sizes = [kept.nbytes for kept in made._kept.values()]
    assert len(sizes) == most // (40 * 14 * 4 * 4)
    assert made._bytes == sum(sizes) <= most
