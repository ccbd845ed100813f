"""Controllers in real training: what they decide is trained, logged, remembered, and the same on every rank."""

import pytest
import torch
from transformers import TrainerCallback

import engines
import tiny
from passk_trl import ConflictMonitor, PassKGRPOTrainer
from passk_trl.control import (
    Annealed,
    Controller,
    Decision,
    DifficultyWeights,
    FixedMix,
    Governor,
    Guard,
    GuardedMix,
    InterferenceWeights,
    Mix,
)
from passk_trl.control.batch_gram import batch_gram
from passk_trl.estimators import passk_advantages
from ranks import run_ranks


PROBE = {"every": 1, "num_prompts": 8, "num_rollouts": 8, "at_start": True}
SAVING = {"save_strategy": "steps", "save_steps": 1, "save_total_limit": 1}


def build(output_dir, *callbacks, engine: str = "single", **options) -> PassKGRPOTrainer:
    size = {"per_device_train_batch_size": 16 // engines.world_size(engine)}
    arguments = {"pass_at_k": 4, "max_steps": 4, **engines.arguments(engine), **size, **options}
    return PassKGRPOTrainer(
        tiny.policy(),
        tiny.starts_low,
        tiny.training_args(output_dir, **arguments),
        tiny.questions(),
        processing_class=tiny.tokenizer(),
        callbacks=list(callbacks),
    )


def weights(trainer) -> list:
    return [engines.local_values(p) for p in trainer.model.parameters()]


def logged(trainer, name: str) -> list[float]:
    return [entry[name] for entry in trainer.state.log_history if name in entry]


class AsEver(Controller):
    """Pass@k, after a look at the batch's Gram matrix."""

    def decide(self, now):
        gram_PP = now.gram()
        return Decision(passk_advantages(now.rewards_PG, now.k), {"trace": float(gram_PP.trace())})


def train_as_ever(output_dir, watched: bool) -> tuple[list, list[float]]:
    trainer = build(output_dir, *([AsEver()] if watched else []))
    trainer.train()
    return weights(trainer), logged(trainer, "control/trace")


def test_looking_at_the_gram_matrix_of_the_batch_does_not_disturb_training(tmp_path):
    (looked, traces), (alone, _) = (train_as_ever(tmp_path / str(watched), watched) for watched in (True, False))
    assert looked == alone
    assert len(traces) == 4
    assert max(traces) > 0


def trained(*args, **options) -> PassKGRPOTrainer:
    trainer = build(*args, **options)
    trainer.train()
    return trainer


def test_what_a_controller_decides_is_trained_and_logged(tmp_path):
    annealed = trained(tmp_path / "annealed", Annealed())
    assert logged(annealed, "control/k") == [4, 3, 2, 1]
    all_pass1 = trained(tmp_path / "mix", FixedMix(1.0))
    assert weights(all_pass1) == weights(trained(tmp_path / "pass1", pass_at_k=1)) != weights(annealed)


class Kill(TrainerCallback):
    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == 3:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    "controller",
    [
        lambda: Guard(horizon=1, rate=3.0),
        lambda: Governor(False),
        lambda: Mix(0.9, 1),
        lambda: GuardedMix(floor=1.0, horizon=1, gain=0.1, probes=1),
        lambda: DifficultyWeights(bins=2, probes=1),
    ],
    ids=["guard", "governor", "mix", "guarded_mix", "difficulty_weights"],
)
def test_a_killed_and_resumed_run_decides_as_one_that_was_not(controller, tmp_path):
    def trainer(name: str, *others):
        callbacks = [ConflictMonitor(tiny.questions(), **PROBE), controller(), *others]
        return build(tmp_path / name, *callbacks, **SAVING)

    whole = trainer("whole")
    whole.train()
    with pytest.raises(KeyboardInterrupt):
        trainer("parts", Kill()).train()
    resumed = trainer("parts")
    resumed.train(resume_from_checkpoint=True)
    names = ("control/share", "control/k", "control/correction", "control/moved")
    decided = [[logged(trainer, name) for name in names] for trainer in (whole, resumed)]
    assert decided[0] == decided[1]
    assert any(len(set(values)) > 1 for values in decided[0])
    assert weights(resumed) == weights(whole)


def test_a_checkpoint_that_remembers_something_else_is_refused(tmp_path):
    old = Guard(horizon=1)
    old.remembered = ("batches",)
    trained(tmp_path, old, **SAVING)
    with pytest.raises(ValueError, match=r"remembers batches, not integral, .* start anew"):
        build(tmp_path, Guard(horizon=1), **SAVING).train(resume_from_checkpoint=True)


class KeepsGram(Controller):
    def decide(self, now):
        self.gram_PP = now.gram()
        return Decision(passk_advantages(now.rewards_PG, now.k))


def gram_of_first_batch(engine: str, output_dir) -> tuple[torch.Tensor, dict, torch.Tensor]:
    """As a controller gets it under an engine, and the batch and rewards it is of."""
    keeps = KeepsGram()
    trainer = build(output_dir, keeps, engine=engine, max_steps=1, learning_rate=0.0, gradient_accumulation_steps=1)
    batches = []
    generate = trainer._generate_and_score_completions
    trainer._generate_and_score_completions = lambda inputs: batches.append(generate(inputs)) or batches[-1]
    trainer.train()
    engines.check_running(engine, trainer)
    rewards_PG = trainer._gathered_rewards.view(-1, 8).cpu()
    batch = {
        name: trainer.accelerator.gather(trainer.accelerator.pad_across_processes(batches[0][name], dim=1))
        for name in ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")
    }
    return keeps.gram_PP, {name: tensor.cpu() for name, tensor in batch.items()}, rewards_PG


def one_process(batch: dict, rewards_PG: torch.Tensor, output_dir) -> torch.Tensor:
    trainer = build(output_dir)
    return batch_gram(trainer, batch, rewards_PG)


@pytest.mark.parametrize("engine", ["ddp", "fsdp2", "zero3"])
def test_the_gram_matrix_of_a_batch_is_that_of_one_process(engine, tmp_path):
    ranks = run_ranks(
        gram_of_first_batch,
        *(engine, tmp_path / "run"),
        world_size=engines.world_size(engine),
        environment=engines.environment(engine, tmp_path),
    )
    (gram_PP, batch, rewards_PG), (other_PP, *_) = ranks
    assert torch.equal(gram_PP, other_PP)
    expected_PP = run_ranks(one_process, batch, rewards_PG, tmp_path / "one", world_size=1)[0]
    assert expected_PP.norm() > 0
    assert (gram_PP - expected_PP).norm() / expected_PP.norm() < 1e-5


class Notes(TrainerCallback):
    """What a controller decided, on each rank; the log is the first rank's."""

    def __init__(self, controller: Controller):
        self.figures: list[dict[str, float]] = []
        decide = controller.decide

        def decide_and_note(now):
            decision = decide(now)
            self.figures.append(decision.figures | {"sum": decision.advantages_PG.abs().sum().item()})
            return decision

        controller.decide = decide_and_note


def train_controlled(engine: str, output_dir) -> dict[str, list[dict[str, float]]]:
    weighing, mixing = InterferenceWeights(), Mix(margin=0.9, probes=1)
    notes = {"weighing": Notes(weighing), "mixing": Notes(mixing)}
    for name, controller in (("weighing", weighing), ("mixing", mixing)):
        monitors = [ConflictMonitor(tiny.questions(), **PROBE)] if controller is mixing else []
        trainer = build(output_dir / name, *monitors, controller, engine=engine, max_steps=3)
        trainer.train()
        engines.check_running(engine, trainer)
    return {name: note.figures for name, note in notes.items()}


def test_all_ranks_decide_alike(tmp_path):
    first, second = run_ranks(
        train_controlled,
        *("ddp", tmp_path),
        world_size=2,
        environment=engines.environment("ddp", tmp_path),
    )
    assert first == second
    assert max(figures["moved"] for figures in first["weighing"]) > 0
    assert len({figures["share"] for figures in first["mixing"]}) > 1


def test_a_controller_can_be_turned_on_at_a_resume(tmp_path):
    build(tmp_path, max_steps=2, **SAVING).train()
    controlled = build(tmp_path, Guard(horizon=1), max_steps=4, **SAVING)
    controlled.train(resume_from_checkpoint=True)
    assert len(logged(controlled, "control/share")) == 2


@pytest.mark.parametrize(
    ("callbacks", "options", "message"),
    [
        ([FixedMix(), Annealed()], {}, "FixedMix and Annealed would both decide"),
        ([FixedMix()], {"objective": "maxrl", "pass_at_k": 1}, "objective='maxrl' leaves FixedMix nothing to decide"),
        ([FixedMix()], {"advantage_estimator": "analytic"}, "advantage_estimator='analytic' leaves FixedMix nothing"),
        ([FixedMix()], {"restore_callback_states_from_checkpoint": True}, "would make another FixedMix"),
        ([FixedMix()], {"multi_objective_aggregation": "normalize_then_sum"}, "set 'sum_then_normalize'"),
    ],
)
def test_what_leaves_a_controller_nothing_to_decide_is_refused(callbacks, options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        build(tmp_path, *callbacks, **options)


def test_a_controller_that_acts_on_probes_wants_a_monitor(tmp_path):
    with pytest.raises(ValueError, match="Governor acts on probes; add a ConflictMonitor"):
        build(tmp_path, Governor()).train()
