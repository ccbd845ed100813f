"""The change of each parameter in an optimiser's step: whole under every engine, and with the right inner products."""

import pytest
import torch
from transformers import TrainerCallback

import engines
import tiny
from engine_runs import SHARES, build, everywhere
from passk_trl.distributed.displacement import Displacement
from passk_trl.distributed.engine import reset_engine
from passk_trl.distributed.ranks import gather_list
from passk_trl.gradients import gradient_rows, gram_matrix


def test_only_trainable_parameters_are_remembered():
    model = tiny.policy()
    model.model.norm.weight.requires_grad_(False)
    displacement = Displacement(model)
    with torch.no_grad():
        model.model.embed_tokens.weight[2, 3] += 0.5
    change = displacement.of("model.embed_tokens.weight")
    assert change.nonzero().tolist() == [[2, 3]]
    torch.testing.assert_close(change[2, 3], torch.tensor(0.5))
    with pytest.raises(KeyError):
        displacement.of("model.norm.weight")


class MeasureStep(TrainerCallback):
    def on_step_begin(self, args, state, control, **kwargs):
        model = self.trainer.accelerator.unwrap_model(self.trainer.model_wrapped)
        self.before, self.displacement = engines.whole(model), Displacement(model)

    def on_step_end(self, args, state, control, **kwargs):
        model = self.trainer.accelerator.unwrap_model(self.trainer.model_wrapped)
        after = engines.whole(model)
        moved = {name: after[name] - self.before[name] for name in after}
        self.exact = all(torch.equal(self.displacement.of(name), moved[name]) for name in moved)
        self.norm = sum(float(change.square().sum()) for change in moved.values()) ** 0.5
        share = SHARES[self.trainer.accelerator.process_index % len(SHARES)]
        gram = gram_matrix(model, share, pad_token_id=0, step=self.displacement.of)
        reset_engine(self.trainer)
        rows = gradient_rows(model, share, pad_token_id=0).rows
        reset_engine(self.trainer)
        expected = sum(kept[:, 0].double() @ moved[name].double().flatten() for name, kept in rows.items())
        self.products, self.expected = gram.step_MN[0], torch.tensor(gather_list(expected.tolist()))


def step_under(engine: str, output_dir) -> tuple:
    measure = MeasureStep()
    trainer = measure.trainer = build(engine, False, output_dir, measure, max_steps=2)
    trainer.train()
    engines.check_running(engine, trainer)
    return measure.exact, measure.norm, measure.products, measure.expected


@pytest.mark.parametrize("engine", ["single", "ddp", "fsdp2", "zero2", "zero3"])
def test_the_optimisers_step_is_measured_whole(engine, tmp_path):
    for exact, norm, products, expected in everywhere(step_under, engine, tmp_path, tmp_path):
        assert exact
        assert norm > 0
        assert (products - expected).norm() < 1e-5 * expected.norm()
