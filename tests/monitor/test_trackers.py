"""Figures in a tracker: TensorBoard's event file is read back."""

import io

import numpy as np
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter
from trl import GRPOConfig, GRPOTrainer

import tiny
from passk_trl import ConflictMonitor, PassKGRPOTrainer
from passk_trl.monitor.trackers import TrackerFigures


def trained(output_dir, report_to):
    monitor = ConflictMonitor(tiny.questions(), every=2, num_prompts=12, num_rollouts=8, at_start=True)
    trainer = PassKGRPOTrainer(
        model=tiny.policy(),
        reward_funcs=tiny.starts_low,
        args=tiny.training_args(output_dir, pass_at_k=4, max_steps=4, report_to=report_to),
        train_dataset=tiny.questions(),
        processing_class=tiny.tokenizer(),
        callbacks=[monitor],
    )
    trainer.train()
    return trainer, monitor


def test_tensorboard_has_metrics_and_figures_of_each_probe(tmp_path):
    _, monitor = trained(tmp_path, ["tensorboard"])
    [events] = tmp_path.rglob("events.out.tfevents.*")
    logged = EventAccumulator(str(events), size_guidance={"images": 0}).Reload()
    assert set(logged.Tags()["images"]) == {"conflict/cosine_over_k", "conflict/agreement"}
    for tag in logged.Tags()["images"]:
        images = logged.Images(tag)
        assert [image.step for image in images] == monitor.steps == [0, 2, 4]
        pixels = np.asarray(Image.open(io.BytesIO(images[-1].encoded_image_string)))
        assert pixels.shape[2] == 3
        assert min(pixels.shape[:2]) > 300
        assert pixels.std() > 10  # something is drawn
    cosines = {event.step: event.value for event in logged.Scalars("train/conflict/cosine@1")}
    assert cosines[4] == np.float32(monitor.report.cosine[0])


def test_a_tracker_that_fails_does_not_end_the_training(tmp_path, monkeypatch, caplog):
    def fails(_writer, _name, _pixels, step, **kwargs):
        raise OSError({0: "disk full", 2: "no such folder", 4: "disk full"}[step])

    monkeypatch.setattr(SummaryWriter, "add_image", fails)
    trainer, monitor = trained(tmp_path, ["tensorboard"])
    assert (trainer.state.global_step, monitor.steps) == (4, [0, 2, 4])
    said = [each.getMessage() for each in caplog.records if "could not be logged" in each.getMessage()]
    assert said == [f"step {step}: the figures could not be logged; training goes on." for step in (0, 2)]
    assert "disk full" in caplog.text
    assert "no such folder" in caplog.text


def test_without_a_tracker_nothing_is_drawn(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("passk_trl.monitor.trackers.read_run", lambda directory: 1 / 0)
    trained(tmp_path, [])
    assert "the figures could not be logged" not in caplog.text


def kinds_of_callbacks(trainer):
    return [type(callback) for callback in trainer.callback_handler.callbacks]


def test_figures_come_once_after_all_monitors(tmp_path):
    trainer, _ = trained(tmp_path, [])
    for _ in range(2):
        kinds = kinds_of_callbacks(trainer)
        assert kinds.count(TrackerFigures) == 1
        assert kinds[-1] is TrackerFigures
        ConflictMonitor(tiny.questions(), num_prompts=12).attach(trainer)
    assert kinds_of_callbacks(trainer)[-2:] == [ConflictMonitor, TrackerFigures]


def test_a_plain_trainer_gets_figures_and_a_resumed_run_draws_new_probes_only(tmp_path, monkeypatch):
    steps = []
    monkeypatch.setattr("passk_trl.monitor.trackers._log_figures", lambda trainer, step: steps.append(step))

    def train(max_steps, **resume):
        options = {"max_steps": max_steps, "save_strategy": "steps", "save_steps": 2}
        trainer = GRPOTrainer(
            model=tiny.policy(),
            reward_funcs=tiny.starts_low,
            args=tiny.training_args(tmp_path, GRPOConfig, **options),
            train_dataset=tiny.questions(),
            processing_class=tiny.tokenizer(),
        )
        ConflictMonitor(tiny.questions(), every=2, num_prompts=12, num_rollouts=8, at_start=True).attach(trainer)
        trainer.train(**resume)
        return [entry["conflict/overhead"] for entry in trainer.state.log_history if "conflict/overhead" in entry]

    overheads = train(2)
    assert steps == [0, 2]
    train(4, resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert steps == [0, 2, 4]
    assert all(0 < overhead < 1 for overhead in overheads)


def test_the_seconds_of_figures_count_as_overhead(tmp_path):
    trainer, monitor = trained(tmp_path, ["tensorboard"])
    [figures] = [each for each in trainer.callback_handler.callbacks if isinstance(each, TrackerFigures)]
    assert figures.seconds > 0
    assert monitor._figure_seconds == figures.seconds
