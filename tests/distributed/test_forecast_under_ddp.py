"""Weights that are used without calling their layer are forecast on all ranks, and no rank waits for another."""

from types import MethodType

import torch
from torch import nn
from torch.nn.functional import linear
from transformers import TrainerCallback

import engines
import tiny
from engine_runs import PROBE, SHARES, build, reference_rows
from passk_trl import ConflictMonitor
from passk_trl.distributed.displacement import Displacement
from passk_trl.distributed.ranks import gather_list
from passk_trl.gradients.of_trainer import gram_of_trained
from passk_trl.records import read_records
from ranks import run_ranks


def policy() -> nn.Module:
    """A Qwen2 with a fused MLP, an attention module of PyTorch and a head that nothing calls."""
    model = tiny.policy()
    for layer in model.model.layers:
        layer.mlp.forward = MethodType(fused, layer.mlp)
    model.model.layers[1].mlp.mixing = nn.MultiheadAttention(model.config.hidden_size, num_heads=2, batch_first=True)
    model.value_head = nn.Linear(model.config.hidden_size, 1)
    return model


def fused(mlp, x: torch.Tensor) -> torch.Tensor:
    gate, up = linear(x, torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight])).chunk(2, dim=-1)
    if hasattr(mlp, "mixing"):
        token = x.reshape(-1, 1, x.size(-1))  # by itself, so that padding changes nothing
        x = mlp.mixing(token, token, token, need_weights=False)[0].view_as(x)
        return x + mlp.down_proj(mlp.act_fn(gate) * up)
    return mlp.down_proj(mlp.act_fn(gate) * up)


class MeasureStep(TrainerCallback):
    """Measures each step's products with the gradients of all ranks' prompts, and forms them by autograd alone."""

    def __init__(self):
        self.products, self.expected = [], []

    def on_step_begin(self, args, state, control, **kwargs):
        model = self.trainer.accelerator.unwrap_model(self.trainer.model_wrapped)
        self.before, self.displacement = engines.whole(model), Displacement(model)

    def on_step_end(self, args, state, control, **kwargs):
        model = self.trainer.accelerator.unwrap_model(self.trainer.model_wrapped)
        share = SHARES[self.trainer.accelerator.process_index]
        self.products.append(gram_of_trained(self.trainer, share, step=self.displacement.of).step_MN[0])
        moved = [after - self.before[name] for name, after in engines.whole(model).items()]
        products = reference_rows(model, share) @ torch.cat([change.flatten() for change in moved]).double()
        self.expected.append(torch.tensor(gather_list(products.tolist())))


def train(engine: str, output_dir) -> tuple[list, list]:
    measure, monitor = MeasureStep(), ConflictMonitor(tiny.questions(), **PROBE)
    options = {"ddp_find_unused_parameters": True, "gradient_checkpointing": False}
    trainer = measure.trainer = build(engine, False, output_dir, measure, monitor, policy=policy(), **options)
    trainer.train()
    engines.check_running(engine, trainer)
    return measure.products, measure.expected


def test_weights_used_without_calling_their_layer_are_forecast_under_ddp(tmp_path):
    # A rank that gathers more often than the others waits for them forever.
    for products, expected in run_ranks(train, "ddp", tmp_path, timeout=60):
        assert len(products) == 4
        for measured, formed in zip(products, expected, strict=True):
            assert (measured - formed).norm() < 1e-5 * formed.norm()
    records = read_records(tmp_path / "conflict.jsonl")
    assert [record["step"] for record in records] == [0, 2, 4]
    assert [record.get("forecast") is not None for record in records] == [False, True, True]
