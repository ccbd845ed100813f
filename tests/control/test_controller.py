"""Controllers in real training: what they decide is trained, logged, restored, and the same on every rank."""

import pytest
from transformers import TrainerCallback

import engines
import tiny
from controlled import PROBE, build, logged, weights
from passk_trl import ConflictMonitor, PassKGRPOTrainer
from passk_trl.control import (
    Annealed,
    Controller,
    DifficultyWeights,
    FixedMix,
    Governor,
    Guard,
    GuardedMix,
    InterferenceWeights,
    Mix,
)
from ranks import run_ranks


SAVING = {"save_strategy": "steps", "save_steps": 1, "save_total_limit": 1}


def trained(*args, **options) -> PassKGRPOTrainer:
    trainer = build(*args, **options)
    trainer.train()
    return trainer


def test_what_a_controller_decides_is_trained_and_logged(tmp_path):
    annealed = trained(tmp_path / "annealed", Annealed())
    assert logged(annealed, "control/k") == [4, 3, 2, 1]
    all_pass1 = trained(tmp_path / "mix", FixedMix(1.0))
    assert weights(all_pass1) == weights(trained(tmp_path / "pass1", pass_at_k=1)) != weights(annealed)


class KillAtStep3(TrainerCallback):
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
def test_a_killed_and_resumed_run_decides_like_an_uninterrupted_one(controller, tmp_path):
    def trainer(name: str, *others):
        callbacks = [ConflictMonitor(tiny.questions(), **PROBE), controller(), *others]
        return build(tmp_path / name, *callbacks, **SAVING)

    whole = trainer("whole")
    whole.train()
    with pytest.raises(KeyboardInterrupt):
        trainer("parts", KillAtStep3()).train()
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


class Recorder(TrainerCallback):
    """Records what a controller decided on this rank; the log has the first rank's only."""

    def __init__(self, controller: Controller):
        self.figures: list[dict[str, float]] = []
        decide = controller.decide

        def decide_and_record(now):
            decision = decide(now)
            self.figures.append(decision.figures | {"sum": decision.advantages_PG.abs().sum().item()})
            return decision

        controller.decide = decide_and_record


def train_controlled(engine: str, output_dir) -> dict[str, list[dict[str, float]]]:
    weighing, mixing = InterferenceWeights(), Mix(margin=0.9, probes=1)
    recorders = {"weighing": Recorder(weighing), "mixing": Recorder(mixing)}
    for name, controller in (("weighing", weighing), ("mixing", mixing)):
        monitors = [ConflictMonitor(tiny.questions(), **PROBE)] if controller is mixing else []
        trainer = build(output_dir / name, *monitors, controller, engine=engine, max_steps=3)
        trainer.train()
        engines.check_running(engine, trainer)
    return {name: recorder.figures for name, recorder in recorders.items()}


def test_all_ranks_decide_the_same(tmp_path):
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


def test_a_controller_that_acts_on_probes_needs_a_monitor(tmp_path):
    with pytest.raises(ValueError, match="Governor acts on probes; add a ConflictMonitor"):
        build(tmp_path, Governor()).train()
