"""Sharding never changes the answer, the monitor never disturbs training: in real processes, under every engine."""

import random
import re

import numpy as np
import pytest
import torch
from peft import LoraConfig
from transformers import TrainerCallback

import engines
import tiny
from passk_trl import ConflictMonitor, PassKGRPOTrainer
from passk_trl.gradients import ScoredRollouts, gram_matrix
from passk_trl.monitor import read_records
from ranks import run_ranks


PROBE = {"every": 2, "num_prompts": 11, "num_rollouts": 8, "at_start": True}  # 11: one rank has a prompt less
VOCABULARY = 3 + len(tiny.CHARACTERS)


def build(engine: str, lora: bool, output_dir, *callbacks, **options) -> PassKGRPOTrainer:
    arguments = engines.arguments(engine)
    size = {"per_device_train_batch_size": 8 // engines.world_size(engine)}
    policy = tiny.policy()
    if lora:
        adapter = LoraConfig(r=4, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False)
    return PassKGRPOTrainer(
        policy,
        tiny.starts_low,
        tiny.training_args(output_dir, **{"pass_at_k": 4, "max_steps": 4, **arguments, **size, **options}),
        tiny.questions(),
        processing_class=tiny.tokenizer(),
        peft_config=adapter if lora else None,
        callbacks=list(callbacks),
    )


def everywhere(function, engine: str, directory, *args) -> list:
    return run_ranks(
        function,
        engine,
        *args,
        world_size=engines.world_size(engine),
        environment=engines.environment(engine, directory),
    )


def every_engine(test):
    parametrized = pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])(test)
    return pytest.mark.parametrize("engine", engines.ENGINES)(parametrized)


# (a) The Gram matrix is that of one process and plain parameter gradients. -----


def rollouts(prompts: int, per_prompt: int, longest: int, seed: int) -> ScoredRollouts:
    generator = torch.Generator().manual_seed(seed)

    def tokens(least: int, most: int) -> list[int]:
        length = int(torch.randint(least, most + 1, (1,), generator=generator))
        return torch.randint(0, VOCABULARY, (length,), generator=generator).tolist()

    success_NG = torch.randint(0, 2, (prompts, per_prompt), generator=generator)
    completions = [[tokens(1, longest) for _ in range(per_prompt)] for _ in range(prompts)]
    return ScoredRollouts([tokens(2, 6) for _ in range(prompts)], completions, success_NG)


# Ranks hold different numbers of prompts, of rollouts, and of tokens.
SHARES = [rollouts(prompts=5, per_prompt=4, longest=9, seed=0), rollouts(prompts=2, per_prompt=6, longest=4, seed=1)]


class MeasureGram(TrainerCallback):
    """Measures at the end of a step, when the engine holds the model."""

    def on_step_end(self, args, state, control, **kwargs):
        trainer = self.trainer
        model = trainer.accelerator.unwrap_model(trainer.model_wrapped)
        share = SHARES[trainer.accelerator.process_index]
        self.gram = gram_matrix(model, share, pad_token_id=0, temperature=0.7, batch_size=2)


def gram_under(engine: str, lora: bool, output_dir) -> tuple[torch.Tensor, float]:
    measure = MeasureGram()
    # A learning rate of zero, so that the weights are known.
    trainer = measure.trainer = build(engine, lora, output_dir, measure, max_steps=1, learning_rate=0.0)
    trainer.train()
    engines.check_running(engine, trainer)
    return measure.gram.gram_NN, measure.gram.coverage.fraction


def reference_gram(lora: bool, output_dir) -> torch.Tensor:
    """Parameter gradients of one process, all prompts' rows put together by hand."""
    model = build("single", lora, output_dir).model
    rows = []
    for share in SHARES:
        for i in range(share.num_prompts):
            one = ScoredRollouts([share.prompt_ids[i]], [share.completion_ids[i]], share.success_NG[i : i + 1])
            rows.append(gradient_of(model, one))
    return torch.stack(rows) @ torch.stack(rows).T


def gradient_of(model, one: ScoredRollouts) -> torch.Tensor:
    trained = [p for p in model.parameters() if p.requires_grad]
    total = 0
    for completion, weight in zip(one.completion_ids[0], one.score_weights_NG[0], strict=True):
        ids = torch.tensor([one.prompt_ids[0] + completion])
        log_probs = (model(ids).logits[0, -len(completion) - 1 : -1] / 0.7).log_softmax(-1)
        total = total + weight * log_probs.gather(-1, torch.tensor(completion)[:, None]).sum()
    return torch.cat([g.flatten().double() for g in torch.autograd.grad(total, trained)])


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("engine", [engine for engine in engines.ENGINES if engine != "single"])
def test_the_gram_matrix_is_that_of_one_process(engine, lora, tmp_path):
    expected_NN = run_ranks(reference_gram, lora, tmp_path, world_size=1)[0]
    for gram_NN, coverage in everywhere(gram_under, engine, tmp_path, lora, tmp_path):
        assert coverage == 1
        assert (gram_NN - expected_NN).norm() / expected_NN.norm() < 1e-5


# (b) Training is bit-identical with and without the monitor. -----


def train(engine: str, lora: bool, output_dir, watched: bool) -> tuple:
    monitors = [ConflictMonitor(tiny.questions(), **PROBE)] if watched else []
    trainer = build(engine, lora, output_dir, *monitors, save_strategy="steps", save_steps=3)
    trainer.train()
    engines.check_running(engine, trainer)
    ours_or_clock = re.compile(r"conflict/|passk/|.*(time|per_second)")
    history = [{k: v for k, v in e.items() if not ours_or_clock.match(k)} for e in trainer.state.log_history]
    weights = [engines.local_values(p) for p in trainer.model.parameters()]
    optimizer = engines.optimizer_state(engine, trainer)
    streams = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    return [monitor.steps for monitor in monitors], (weights, optimizer, streams, history)


@every_engine
def test_training_is_bit_identical_with_and_without_the_monitor(engine, lora, tmp_path):
    watched = everywhere(train, engine, tmp_path, lora, tmp_path / "watched", True)
    alone = everywhere(train, engine, tmp_path, lora, tmp_path / "alone", False)
    for (steps, state), (_, state_alone) in zip(watched, alone, strict=True):
        assert steps == [[0, 2, 4]]
        for of_watched, of_alone in zip(state, state_alone, strict=True):
            assert of_watched == of_alone
        weights, optimizer, *_ = state
        assert any(any(values) for values in weights)
        assert any(any(values) for values in optimizer)
    assert [len(record["rows"]) for record in read_records(tmp_path / "watched" / "conflict.jsonl")] == [11] * 3


# (c) A run that is killed and resumed has the reports of one that was not. -----


class Kill(TrainerCallback):
    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == 3:
            raise KeyboardInterrupt


def train_and_kill(engine: str, lora: bool, output_dir) -> None:
    trainer = build(engine, lora, output_dir, ConflictMonitor(tiny.questions(), **PROBE), Kill(), **SAVING)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()


def resume(engine: str, lora: bool, output_dir) -> None:
    trainer = build(engine, lora, output_dir, ConflictMonitor(tiny.questions(), **PROBE), **SAVING)
    trainer.train(resume_from_checkpoint=True)
    engines.check_running(engine, trainer)


def train_through(engine: str, lora: bool, output_dir) -> None:
    build(engine, lora, output_dir, ConflictMonitor(tiny.questions(), **PROBE), **SAVING).train()


SAVING = {"save_strategy": "steps", "save_steps": 1, "save_total_limit": 1}


@every_engine
def test_a_killed_and_resumed_run_has_the_reports_of_one_that_was_not(engine, lora, tmp_path):
    everywhere(train_through, engine, tmp_path, lora, tmp_path / "whole")
    everywhere(train_and_kill, engine, tmp_path, lora, tmp_path / "parts")
    assert [record["step"] for record in read_records(tmp_path / "parts" / "conflict.jsonl")] == [0, 2]
    everywhere(resume, engine, tmp_path, lora, tmp_path / "parts")
    reports = {}
    for directory in ("whole", "parts"):
        records = read_records(tmp_path / directory / "conflict.jsonl")
        reports[directory] = [(record["step"], record["rows"], record["report"]) for record in records]
    assert [step for step, *_ in reports["whole"]] == [0, 2, 4]
    assert reports["parts"] == reports["whole"]
