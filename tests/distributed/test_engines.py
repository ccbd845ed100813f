"""Sharding never changes the answer, the monitor never disturbs training: in real processes, under every engine."""

import os
import random
import re

import numpy as np
import pytest
import torch
from peft import LoraConfig
from torch.utils.flop_counter import FlopCounterMode
from transformers import TrainerCallback

import engines
import tiny
from passk_trl import ConflictMonitor, PassKGRPOTrainer
from passk_trl.distributed.displacement import Displacement
from passk_trl.distributed.engine import reset_engine
from passk_trl.distributed.ranks import gather_list
from passk_trl.gradients import ScoredRollouts, gradient_rows, gram_matrix
from passk_trl.records import read_records
from ranks import run_ranks


PROBE = {"every": 2, "num_prompts": 11, "num_rollouts": 8, "at_start": True}  # 11: one rank has a prompt less
VOCABULARY = 3 + len(tiny.CHARACTERS)


def build(engine: str, lora: bool, output_dir, *callbacks, **options) -> PassKGRPOTrainer:
    arguments = engines.arguments(engine)
    size = {"per_device_train_batch_size": 8 // engines.world_size(engine)}
    policy = tiny.policy(tie_word_embeddings=not lora)  # both kinds of head
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
        with FlopCounterMode(display=False) as counter:
            self.gram = gram_matrix(model, share, pad_token_id=0, temperature=0.7, batch_size=2)
        self.operations = counter.get_total_flops()


def gram_under(engine: str, lora: bool, output_dir) -> tuple[torch.Tensor, float, int]:
    measure = MeasureGram()
    # A learning rate of zero, so that the weights are known.
    trainer = measure.trainer = build(engine, lora, output_dir, measure, max_steps=1, learning_rate=0.0)
    trainer.train()
    engines.check_running(engine, trainer)
    return measure.gram.gram_NN, measure.gram.coverage.fraction, measure.operations


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
    for gram_NN, coverage, _ in everywhere(gram_under, engine, tmp_path, lora, tmp_path):
        assert coverage == 1
        assert (gram_NN - expected_NN).norm() / expected_NN.norm() < 1e-5


def test_zero3_multiplies_no_more_matrices_than_ddp(tmp_path):
    """Its linear layers are its own. On the rank with the most prompts, which keeps no other company."""
    counts = [everywhere(gram_under, e, tmp_path, False, tmp_path)[0][2] for e in ("ddp", "zero3")]
    assert counts[0] == counts[1] > 0


# What the optimiser's step did is told whole, and its product with the gradients is right. -----


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
def test_the_optimisers_step_is_told_whole(engine, tmp_path):
    for exact, norm, products, expected in everywhere(step_under, engine, tmp_path, tmp_path):
        assert exact
        assert norm > 0
        assert (products - expected).norm() < 1e-5 * expected.norm()


# (b) Training is bit-identical with and without the monitor. -----


class CheckAtRest(TrainerCallback):
    """After each step, and the probe at its end."""

    def on_step_end(self, args, state, control, **kwargs):
        engines.check_at_rest(self.trainer)


def train(engine: str, lora: bool, output_dir, watched: bool, bf16: bool = False) -> tuple:
    monitors = [ConflictMonitor(tiny.questions(), **PROBE)] if watched else []
    return train_with(monitors, engine, lora, output_dir, bf16=bf16, save_strategy="steps", save_steps=3)


def train_with(monitors: list[ConflictMonitor], engine: str, lora: bool, output_dir, **options) -> tuple:
    """The steps that each monitor reported on, and the state that training ends in."""
    at_rest = CheckAtRest()
    trainer = build(engine, lora, output_dir, *monitors, at_rest, **options)
    at_rest.trainer = trainer
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


# FSDP2's CPU is one that transformers finds unfit for bfloat16, and refuses.
@pytest.mark.slow
@pytest.mark.parametrize("engine", [engine for engine in engines.ENGINES if engine != "fsdp2"])
def test_training_in_bfloat16_is_bit_identical_too(engine, tmp_path):
    watched = everywhere(train, engine, tmp_path, False, tmp_path / "watched", True, True)
    alone = everywhere(train, engine, tmp_path, False, tmp_path / "alone", False, True)
    for (steps, state), (_, state_alone) in zip(watched, alone, strict=True):
        assert steps == [[0, 2, 4]]
        assert state == state_alone


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
    build(engine, lora, output_dir, ConflictMonitor(tiny.questions(), **PROBE)).train()


SAVING = {"save_strategy": "steps", "save_steps": 3}  # just before the kill


PARTS = ("step", "rows", "report", "forecast")


@every_engine
def test_a_killed_and_resumed_run_has_the_reports_of_one_that_was_not(engine, lora, tmp_path):
    everywhere(train_through, engine, tmp_path, lora, tmp_path / "whole")
    everywhere(train_and_kill, engine, tmp_path, lora, tmp_path / "parts")
    assert [record["step"] for record in read_records(tmp_path / "parts" / "conflict.jsonl")] == [0, 2]
    everywhere(resume, engine, tmp_path, lora, tmp_path / "parts")
    reports = {}
    for directory in ("whole", "parts"):
        records = read_records(tmp_path / directory / "conflict.jsonl")
        reports[directory] = [[record.get(part) for part in PARTS] for record in records]
    assert [step for step, *_ in reports["whole"]] == [0, 2, 4]
    assert reports["parts"] == reports["whole"]


# (d) A rank that fails inside a probe leaves no other waiting. -----


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

    def generate_and_tell(*args, **kwargs):
        answer = generate(*args, **kwargs)
        longest.add(max(map(len, answer[0])))
        return answer

    trainer._generate_single_turn = generate_and_tell
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
        if torch.is_grad_enabled() and not module.training:  # in a probe's gradients
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
    assert sizes[0] > 1
    company = [] if engine == "ddp" else [0]  # for the other rank's sixth
    assert sizes[-5 - len(company) :] == [1] * 5 + company  # after its own 5 of the 11 prompts
    assert len(reports) == 1


class NoMemory(ConflictMonitor):
    """Rank 1 runs out of memory in the middle of generation in the first probe, of the forward pass in the second,
    of the backward pass in the third; not in the fourth."""

    def _measure(self, seed):
        self.failing_in = ("generation", "forward", "backward", None)[self.trainer.state.global_step // 2]
        if os.environ["RANK"] != "1" or self.failing_in is None:
            return super()._measure(seed)
        layer = self.trainer.accelerator.unwrap_model(self.trainer.model_wrapped).model.layers[1].mlp.up_proj
        handle = layer.register_forward_hook(self.fail)
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


def train_without_memory(engine: str, lora: bool, output_dir) -> tuple:
    monitor = NoMemory(tiny.questions(), **PROBE)
    return train_with([monitor], engine, lora, output_dir, max_steps=6)


def train_alone(engine: str, lora: bool, output_dir) -> tuple:
    return train_with([], engine, lora, output_dir, max_steps=6)


@pytest.mark.parametrize("engine", ["fsdp2", "zero3"])
def test_a_rank_without_memory_in_a_pass_that_all_share_leaves_none_waiting_and_training_as_it_was(engine, tmp_path):
    failing = everywhere(train_without_memory, engine, tmp_path, False, tmp_path / "failing")
    alone = everywhere(train_alone, engine, tmp_path, False, tmp_path / "alone")
    for (steps, state), (_, state_alone) in zip(failing, alone, strict=True):
        assert steps == [[6]]
        assert state == state_alone


def train_with_nothing_to_score_on_one_rank(engine: str, output_dir) -> list[list[int]]:
    def scores_rank_0(completions, **kwargs):
        return [None] * len(completions) if os.environ.get("RANK") == "1" else tiny.starts_low(completions)

    monitor = ConflictMonitor(tiny.questions(), **PROBE)
    build(engine, False, output_dir, monitor, max_steps=1).train()  # makes the engine
    trainer = monitor.trainer
    trainer.reward_funcs = [scores_rank_0]
    monitor._probe(trainer.state)
    return [report.num_correct.tolist() for report in monitor.reports]


def test_a_rank_without_a_prompt_to_measure_keeps_the_others_company(tmp_path):
    first, second = everywhere(train_with_nothing_to_score_on_one_rank, "zero3", tmp_path, tmp_path)
    assert first == second
    assert [len(counts) for counts in first] == [11, 6]
