"""A rank that fails inside a probe leaves no other waiting, and training as it was."""

import os

import pytest
import torch
from transformers import TrainerCallback

import engines
import tiny
from engine_runs import PROBE, SHARES, build, everywhere, train_with
from passk_trl import ConflictMonitor
from passk_trl.gradients.of_trainer import gram_of_trained


def fails_on_one_rank_in_probes(completions, from_probe, **kwargs):
    if any(from_probe) and os.environ.get("RANK") == "1":
        raise ZeroDivisionError("the verifier gave up")
    return tiny.starts_low(completions)


def train_with_a_failing_reward(engine: str, output_dir) -> tuple[int, list]:
    monitor = ConflictMonitor(tiny.questions().map(lambda row: {"from_probe": True}), **PROBE)
    trainer = build(engine, False, output_dir, monitor)
    trainer.reward_funcs = [fails_on_one_rank_in_probes]
    trainer.train_dataset = trainer.train_dataset.map(lambda row: {"from_probe": False})
    trainer.train()
    engines.check_running(engine, trainer)
    return trainer.state.global_step, monitor.steps


@pytest.mark.parametrize("engine", ["ddp", "fsdp2", "zero3"])
def test_a_reward_that_raises_on_one_rank_skips_the_probe_on_all(engine, tmp_path):
    assert everywhere(train_with_a_failing_reward, engine, tmp_path, tmp_path) == [(4, [])] * 2


def train_unevenly(engine: str, output_dir) -> tuple[int, list[int], set[int]]:
    monitor = ConflictMonitor(tiny.questions(), **PROBE)
    trainer = build(engine, False, output_dir, monitor)
    if os.environ["RANK"] == "1":
        trainer.generation_config.max_new_tokens = 1
    longest: set[int] = set()
    generate = trainer._generate_single_turn

    def generate_and_note(*args, **kwargs):
        answer = generate(*args, **kwargs)
        longest.add(max(map(len, answer[0])))
        return answer

    trainer._generate_single_turn = generate_and_note
    trainer.train()
    engines.check_running(engine, trainer)
    return trainer.state.global_step, monitor.steps, longest


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ddp", "fsdp2", "zero3"])
def test_a_rank_whose_rollouts_all_end_early_is_not_left_behind(engine, tmp_path):
    ranks = everywhere(train_unevenly, engine, tmp_path, tmp_path)
    assert ranks == [(4, [0, 2, 4], {4}), (4, [0, 2, 4], {1})]


class LittleMemory(TrainerCallback):
    """Rank 1 has memory for one prompt at a time, rank 0 for all."""

    def on_train_begin(self, args, state, control, model, **kwargs):
        self.sizes: list[int] = []
        if os.environ.get("RANK") == "1":
            model.model.layers[0].mlp.register_forward_hook(self.limited)

    def limited(self, module, inputs, output):
        rows = len(inputs[0])
        if torch.is_grad_enabled() and not module.training:  # in a probe's gradients, or the rehearsal's few rollouts
            self.sizes.append(rows // PROBE["num_rollouts"])
            if self.sizes[-1] > 1:
                raise torch.OutOfMemoryError("no memory left")


def train_with_little_memory(engine: str, output_dir) -> tuple[list[int], list[dict]]:
    little = LittleMemory()
    monitor = ConflictMonitor(tiny.questions(), **PROBE)
    build(engine, False, output_dir, little, monitor, max_steps=1).train()
    return little.sizes, [report.to_dict() for report in monitor.reports]


@pytest.mark.parametrize("engine", ["ddp", "fsdp2", "zero3"])
def test_a_rank_that_runs_out_of_memory_halves_its_batches_with_all_that_share_its_passes(engine, tmp_path):
    (_, reports), (sizes, _) = everywhere(train_with_little_memory, engine, tmp_path, tmp_path)
    assert next(filter(None, sizes)) > 1  # after the rehearsal
    empty = [] if engine == "ddp" else [0]  # one batch, during the other rank's sixth prompt
    assert sizes[-5 - len(empty) :] == [1] * 5 + empty  # after its own 5 of the 11 prompts
    assert len(reports) == 1


class MemoryForHalfAPrompt(TrainerCallback):
    """Rank 1 has memory for half of a prompt's rollouts at a time, rank 0 for all."""

    def on_train_begin(self, args, state, control, model, **kwargs):
        self.sizes: list[int] = []
        if os.environ.get("RANK") == "1":
            model.model.layers[0].mlp.experts.register_forward_pre_hook(self.limited)
            model.model.layers[0].self_attn.register_forward_pre_hook(self.note_rows, with_kwargs=True)

    def note_rows(self, module, inputs, named_inputs):
        self.rows = len(next(iter((*inputs, *named_inputs.values()))))

    def limited(self, module, inputs):
        if torch.is_grad_enabled() and not module.training:  # in a probe's gradients, or the rehearsal's few rollouts
            self.sizes.append(self.rows)
            if self.rows > PROBE["num_rollouts"] // 2:
                raise torch.OutOfMemoryError("no memory left")


def train_experts(engine: str, output_dir, limited: bool) -> tuple[list[int], list[dict]]:
    little = MemoryForHalfAPrompt()
    monitor = ConflictMonitor(tiny.questions(), **PROBE)
    callbacks = [little, monitor] if limited else [monitor]
    build(engine, False, output_dir, *callbacks, max_steps=1, policy="qwen3_moe").train()
    return little.sizes if limited else [], [report.to_dict() for report in monitor.reports]


@pytest.mark.parametrize("engine", ["fsdp2", "zero3"])
def test_a_rank_without_memory_for_the_experts_of_a_prompt_measures_parts_of_it(engine, tmp_path):
    (_, reports), (sizes, _) = everywhere(train_experts, engine, tmp_path, tmp_path / "limited", True)
    (_, expected), _ = everywhere(train_experts, engine, tmp_path, tmp_path / "free", False)
    assert max(sizes) > PROBE["num_rollouts"] // 2 >= max(sizes[-10:]) > 0
    assert [report["num_correct"] for report in reports] == [report["num_correct"] for report in expected]
    for measured, free in zip(reports, expected, strict=True):
        assert measured["inner_product"] == pytest.approx(free["inner_product"], rel=1e-4)


class NoMemory(ConflictMonitor):
    """Rank 1 runs out of memory in the middle of generation in the first probe, of the forward pass in the second,
    of the backward pass in the third; not in the fourth."""

    def _measure(self, seed):
        self.failing_in = ("generation", "forward", "backward", None)[self.trainer.state.global_step // 2]
        if os.environ["RANK"] != "1" or self.failing_in is None:
            return super()._measure(seed)
        mlp = self.trainer.accelerator.unwrap_model(self.trainer.model_wrapped).model.layers[1].mlp
        handle = (mlp.experts if hasattr(mlp, "experts") else mlp.up_proj).register_forward_hook(self.fail)
        try:
            return super()._measure(seed)
        finally:
            handle.remove()

    def fail(self, module, inputs, output):
        in_generation = not torch.is_grad_enabled()
        if in_generation == (self.failing_in == "generation"):
            if self.failing_in != "backward":
                self.run_out()
            output.register_hook(self.run_out)

    def run_out(self, *_):
        raise torch.OutOfMemoryError("no memory left")


def train_without_memory(engine: str, policy: str | None, output_dir) -> tuple:
    monitor = NoMemory(tiny.questions(), **PROBE)
    return train_with([monitor], engine, False, output_dir, max_steps=6, policy=policy)


def train_alone(engine: str, policy: str | None, output_dir) -> tuple:
    return train_with([], engine, False, output_dir, max_steps=6, policy=policy)


@pytest.mark.parametrize("policy", [None, "qwen3_moe"], ids=["dense", "experts"])
@pytest.mark.parametrize("engine", ["fsdp2", "zero3"])
def test_a_rank_without_memory_in_a_pass_that_all_share_leaves_none_waiting_and_training_as_it_was(
    engine, policy, tmp_path
):
    failing = everywhere(train_without_memory, engine, tmp_path, policy, tmp_path / "failing")
    alone = everywhere(train_alone, engine, tmp_path, policy, tmp_path / "alone")
    for (steps, state), (_, state_alone) in zip(failing, alone, strict=True):
        assert steps == [[6]]
        assert state == state_alone


class NoMemoryForTheSurvey(TrainerCallback):
    """Rank 1 runs out of memory in the first, small forward pass of a measurement after the first step."""

    def __init__(self):
        self.outcomes: list[str] = []

    def on_step_end(self, args, state, control, **kwargs):
        model = self.trainer.accelerator.unwrap_model(self.trainer.model_wrapped)
        if os.environ["RANK"] == "1" and state.global_step == 1:
            handle = model.model.layers[1].mlp.register_forward_hook(self.run_out)
        try:
            gram_of_trained(self.trainer, SHARES[args.process_index], batch_size=2)
            self.outcomes.append("measured")
        except Exception as error:
            self.outcomes.append(type(error).__name__)
        if os.environ["RANK"] == "1" and state.global_step == 1:
            handle.remove()

    def run_out(self, *_):
        raise torch.OutOfMemoryError("no memory left")


def train_without_memory_for_the_survey(engine: str, output_dir) -> list[str]:
    survey = NoMemoryForTheSurvey()
    trainer = survey.trainer = build(engine, False, output_dir, survey, max_steps=2)
    trainer.train()
    return survey.outcomes


@pytest.mark.parametrize("engine", ["ddp", "fsdp2", "zero3"])
def test_a_rank_without_memory_before_its_first_prompt_leaves_none_waiting(engine, tmp_path):
    ranks = everywhere(train_without_memory_for_the_survey, engine, tmp_path, tmp_path)
    assert [outcomes[1] for outcomes in ranks] == ["measured"] * 2
    assert "measured" not in [outcomes[0] for outcomes in ranks]


def train_with_nothing_to_score_on_one_rank(engine: str, output_dir) -> list[list[int]]:
    def scores_rank_0(completions, **kwargs):
        return [None] * len(completions) if os.environ.get("RANK") == "1" else tiny.starts_low(completions)

    monitor = ConflictMonitor(tiny.questions(), **PROBE)
    build(engine, False, output_dir, monitor, max_steps=1).train()  # makes the engine
    trainer = monitor.trainer
    trainer.reward_funcs = [scores_rank_0]
    monitor._probe(trainer.state)
    return [report.num_correct.tolist() for report in monitor.reports]


def test_a_rank_without_a_prompt_to_measure_runs_empty_batches(tmp_path):
    first, second = everywhere(train_with_nothing_to_score_on_one_rank, "zero3", tmp_path, tmp_path)
    assert first == second
    assert [len(counts) for counts in first] == [11, 6]
