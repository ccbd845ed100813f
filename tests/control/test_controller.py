"""Controllers in real training: what they decide is trained, logged, restored, and the same on every rank."""

import pytest
from transformers import TrainerCallback

import engines
import tiny
from controlled import PROBE, RIDDEN, RIDE, build, logged, weights
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
from passk_trl.control.mixing import Mixing
from passk_trl.estimators import passk_advantages
from ranks import run_ranks


SAVING = {"save_strategy": "steps", "save_steps": 1, "save_total_limit": 1}


def trained(*args, resume: bool = False, **options) -> PassKGRPOTrainer:
    trainer = build(*args, **options)
    trainer.train(resume_from_checkpoint=resume)
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


CONTROLLERS = {
    "guard": lambda: Guard(horizon=1, rate=3.0),
    "governor": lambda: Governor(False),
    "mix": lambda: Mix(0.9, 1),
    "guarded_mix": lambda: GuardedMix(floor=1.0, horizon=1, gain=0.1, probes=1),
    "difficulty_weights": lambda: DifficultyWeights(bins=2, probes=1),
}
RIDING = ["mix", "guarded_mix", "difficulty_weights"]


@pytest.mark.parametrize(
    ("name", "rides"), [*((name, False) for name in CONTROLLERS), *((name, True) for name in RIDING)]
)
def test_a_killed_and_resumed_run_decides_like_an_uninterrupted_one(name, rides, tmp_path):
    def trainer(folder: str, *others):
        # The window of a ride is empty after a resume, and this one is full again after a batch.
        monitor = ConflictMonitor(**RIDE) if rides else ConflictMonitor(tiny.questions(), **PROBE)
        callbacks = [monitor, CONTROLLERS[name](), *others]
        return build(tmp_path / folder, *callbacks, **SAVING, **(RIDDEN if rides else {}))

    whole = trainer("whole")
    whole.train()
    with pytest.raises(KeyboardInterrupt):
        trainer("parts", KillAtStep3()).train()
    resumed = trainer("parts")
    resumed.train(resume_from_checkpoint=True)
    names = ("control/share", "control/k", "control/correction", "control/moved", "control/blind")
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


def test_a_checkpoint_from_before_the_mean_weight_was_remembered_is_resumed(tmp_path):
    old = Guard(horizon=1)
    old.remembered = tuple(name for name in Guard.remembered if name not in Mixing.remembered)
    trained(tmp_path, old, max_steps=2, **SAVING)
    resumed = Guard(horizon=1)
    trained(tmp_path, resumed, max_steps=3, **SAVING, resume=True)
    assert (resumed.batches, resumed.learned_floor) == (3, old.learned_floor)
    assert (resumed.batches_weighed, old.batches_weighed) == (2, 3)  # learnt anew, from the start's 1


class BlindAtFirst(Controller):
    """Blind in the first two batches."""

    batches = 0

    def decide(self, now):
        self.batches += 1
        blind = "it is too early" if self.batches <= 2 else None
        return Decision(passk_advantages(now.rewards_PG, now.k), blind=blind)


def test_batches_in_which_a_controller_was_blind_are_logged(tmp_path):
    assert logged(trained(tmp_path / "blind", BlindAtFirst()), "control/blind") == [1, 1, 0, 0]
    assert logged(trained(tmp_path / "seeing", FixedMix()), "control/blind") == [0, 0, 0, 0]
    unprobed = [ConflictMonitor(tiny.questions(), **{**PROBE, "at_start": False, "every": 4}), Mix()]
    assert logged(trained(tmp_path / "unprobed", *unprobed), "control/blind") == [1, 1, 1, 1]


def test_a_controller_that_stays_blind_is_warned_of_once(caplog):
    mix = Mix()
    reasons = ["there is no report yet"] * 50 + [None] + ["the prompts are solved"] * 50
    for reason in reasons:
        mix.warn_of_blindness(reason)
    assert not caplog.messages
    for _ in range(60):
        mix.warn_of_blindness("the prompts are solved")
    assert caplog.messages == ["Mix was blind in more than 50 batches in a row: the prompts are solved."]


class Watching(Controller):
    """Trains pass@k, and keeps the reports that it sees."""

    def __init__(self):
        self.seen = []

    def decide(self, now):
        self.seen.append(list(now.reports))
        return Decision(passk_advantages(now.rewards_PG, now.k))


def test_of_a_ride_the_latest_report_is_seen_alone_since_reports_share_prompts(tmp_path):
    riding, probing, on_ride, on_probes = (
        ConflictMonitor(**RIDE),
        ConflictMonitor(every=1, num_prompts=8),
        Watching(),
        Watching(),
    )
    trained(tmp_path / "ride", riding, on_ride, **RIDDEN)
    trained(tmp_path / "probes", probing, on_probes, **RIDDEN)
    first, second, third, _ = riding.reports
    assert [list(map(id, seen)) for seen in on_ride.seen] == [[], [id(first)], [id(second)], [id(third)]]
    assert [len(seen) for seen in on_probes.seen] == [0, 1, 2, 3]


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
    controllers = {
        "weighing": InterferenceWeights(),
        "mixing": Mix(margin=0.9, probes=1),
        "guarding": Guard(floor=1.0, horizon=1, gain=0.1),
        "riding": Mix(margin=0.9),
    }
    monitors = {"mixing": [ConflictMonitor(tiny.questions(), **PROBE)], "riding": [ConflictMonitor(**RIDE)]}
    recorders = {name: Recorder(controller) for name, controller in controllers.items()}
    for name, controller in controllers.items():
        options = {"max_steps": 6, **RIDDEN} if name == "riding" else {"max_steps": 3}
        trainer = build(output_dir / name, *monitors.get(name, []), controller, engine=engine, **options)
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
    for name in ("mixing", "guarding", "riding"):
        assert len({figures["share"] for figures in first[name]}) > 1


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
    with pytest.raises(ValueError, match="Governor acts on reports; add a ConflictMonitor"):
        build(tmp_path, Governor()).train()
