"""A resumed run goes on from its newest complete checkpoint, and ends as if it had never stopped."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import tiny
from passk_trl.cli.resume import checkpoint_to_resume, has_ended
from passk_trl.cli.train import main
from passk_trl.records import read_records
from small_recipes import write_recipe


def recipe(directory: Path, model: str, **changes) -> str:
    return write_recipe(directory, model, **{"save_steps": 2, **changes})


@pytest.fixture(scope="module")
def ended(tmp_path_factory, model) -> Path:
    """The directory of a run that trained its four steps, with checkpoints after the second and the fourth."""
    directory = tmp_path_factory.mktemp("ended")
    main(["--config", recipe(directory, model)])
    return directory / "run"


@pytest.fixture
def run(ended, tmp_path) -> Path:
    return shutil.copytree(ended, tmp_path / "run")


def interrupted(run: Path) -> Path:
    """As after a kill in the third step."""
    shutil.rmtree(run / "checkpoint-4")
    for name in ("model.safetensors", "trainer_state.json"):
        (run / name).unlink()
    return run


def steps(run: Path) -> int:
    return json.loads((run / "trainer_state.json").read_text())["global_step"]


def pass_at_k(run: Path) -> list[dict]:
    """Every evaluation of a run, by the trainer's log."""
    history = json.loads((run / "trainer_state.json").read_text())["log_history"]
    return [
        {key: value for key, value in entry.items() if key == "step" or "pass@" in key}
        for entry in history
        if "eval_loss" in entry
    ]


def refused(capsys, *args: str) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_:
        main(args)
    error = capsys.readouterr().err
    assert (exit_.value.code, error.count("\n")) == (2, 1), error
    return error


@pytest.mark.parametrize("written", ["yaml", "command line"])
def test_a_resumed_run_ends_as_if_it_had_never_stopped(tmp_path, model, ended, run, written):
    interrupted(run)
    path = recipe(tmp_path, model, **({"resume_from_checkpoint": True} if written == "yaml" else {}))
    main(["--config", path, *(["--resume_from_checkpoint", "true"] if written == "command line" else [])])
    one, other = (load_file(each / "model.safetensors") for each in (run, ended))
    assert all(torch.equal(one[name], other[name]) for name in other)
    reports = [[record["report"] for record in read_records(each / "conflict.jsonl")] for each in (run, ended)]
    assert reports[0] == reports[1]
    assert pass_at_k(run) == pass_at_k(ended)


def test_a_half_written_checkpoint_is_skipped_with_a_word(run, caplog):
    (run / "checkpoint-4" / "trainer_state.json").unlink()
    weights = run / "checkpoint-2" / "model.safetensors"
    shutil.copytree(run / "checkpoint-2", run / "checkpoint-3")
    (run / "checkpoint-3" / "model.safetensors").write_bytes(weights.read_bytes()[:-100])
    args = tiny.training_args(run, resume_from_checkpoint="true")
    assert checkpoint_to_resume(args) == run / "checkpoint-2"
    assert "checkpoint-4 is not complete and is skipped: it has no trainer_state.json that can be read" in caplog.text
    assert "checkpoint-3 is not complete and is skipped: model.safetensors cannot be read" in caplog.text


@pytest.mark.parametrize(
    ("file", "content", "missing"),
    [
        ("trainer_state.json", b'{"global_step": ', "it has no trainer_state.json that can be read"),
        ("optimizer.pt", b"PK", "optimizer.pt cannot be read"),
        ("model.safetensors", None, "it has no weights"),
    ],
)
def test_a_named_checkpoint_must_be_complete(run, file, content, missing):
    path = run / "checkpoint-4" / file
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=f"checkpoint-4' is not complete: {missing}; set another, or true for"):
        checkpoint_to_resume(tiny.training_args(run, resume_from_checkpoint=str(run / "checkpoint-4")))


def test_a_checkpoint_that_does_not_exist(tmp_path, model, run, capsys):
    path = recipe(tmp_path, model)
    error = refused(capsys, "--config", path, "--resume_from_checkpoint", str(run / "checkpoint-5"))
    assert f"checkpoint-5' does not exist; set one of {run / 'checkpoint-2'}, {run / 'checkpoint-4'}, or true" in error
    error = refused(capsys, "--config", path, "--resume_from_checkpoint", str(run))
    assert f"is the directory of a run; did you mean '{run / 'checkpoint-4'}'?" in error


def test_with_nothing_to_resume_training_begins(tmp_path, model, caplog):
    main(["--config", recipe(tmp_path, model, resume_from_checkpoint=True, max_steps=1)])
    assert "run has no checkpoint to resume from: training begins at step 0." in caplog.text
    assert steps(tmp_path / "run") == 1
    assert checkpoint_to_resume(tiny.training_args(tmp_path, resume_from_checkpoint="false")) is None


def test_a_run_that_has_ended_is_not_trained_again(tmp_path, model, run, capsys):
    before = (run / "model.safetensors").stat()
    main(["--config", recipe(tmp_path, model, resume_from_checkpoint=True)])
    output = capsys.readouterr().out
    assert f"The run in {run} has ended: nothing is left to train." in output
    assert "trained for pass@4" in output
    assert (steps(run), (run / "model.safetensors").stat()) == (4, before)


def test_a_run_that_was_killed_before_its_last_save_trains_no_step_more(tmp_path, model, ended, run, capsys):
    for name in ("model.safetensors", "trainer_state.json"):
        (run / name).unlink()
    main(["--config", recipe(tmp_path, model, resume_from_checkpoint=True)])
    assert "trained for pass@4" in capsys.readouterr().out
    one, other = (load_file(each / "model.safetensors") for each in (run, ended))
    assert steps(run) == 4
    assert all(torch.equal(one[name], other[name]) for name in other)


def test_a_run_that_has_ended_can_be_made_longer(tmp_path, model, run):
    main(["--config", recipe(tmp_path, model, resume_from_checkpoint=True, max_steps=5)])
    assert steps(run) == 5


def test_a_run_ends_with_its_epochs(run):
    epochs = json.loads((run / "trainer_state.json").read_text())["epoch"]
    assert has_ended(tiny.training_args(run, max_steps=-1, num_train_epochs=epochs))
    assert not has_ended(tiny.training_args(run, max_steps=-1, num_train_epochs=2 * epochs))


def test_a_shorter_run_without_checkpoints_is_not_begun_anew(tmp_path, model, run, capsys):
    for name in ("checkpoint-2", "checkpoint-4"):
        shutil.rmtree(run / name)
    error = refused(capsys, "--config", recipe(tmp_path, model, resume_from_checkpoint=True, max_steps=9))
    assert "holds a run that ended before this one would, and no checkpoint to go on from" in error


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pass_at_k": 2}, "pass_at_k=4, not 2; set pass_at_k as it was"),
        ({"pass_at_k": 1, "objective": "maxrl"}, "pass_at_k=4, not 1"),
        ({"dataset_name": "tiny.other_splits"}, "dataset_name='tiny.splits', not 'tiny.other_splits'"),
    ],
)
def test_another_run_is_not_continued_by_mistake(tmp_path, model, run, change, message, capsys):
    error = refused(capsys, "--config", recipe(tmp_path, model, resume_from_checkpoint=True, **change))
    assert f"resume_from_checkpoint would continue a run with {message}" in error


def test_another_k_can_be_continued_with_on_purpose(tmp_path, model, run):
    interrupted(run)
    changes = {"resume_from_checkpoint": True, "pass_at_k": 2, "overwrite_output_dir": True}
    main(["--config", recipe(tmp_path, model, **changes)])
    assert steps(run) == 4


def test_a_new_run_is_never_resumed_from_the_checkpoints_of_an_earlier_one(tmp_path, model, run, caplog):
    main(["--config", recipe(tmp_path, model, max_steps=2)])
    assert [path.name for path in run.glob("checkpoint-*")] == ["checkpoint-2"]
    [earlier] = run.glob("earlier-*")
    assert {path.name for path in earlier.iterdir()} == {"checkpoint-2", "checkpoint-4", "trainer_state.json"}
    assert "checkpoint-2, checkpoint-4, trainer_state.json of an earlier run moved to earlier-" in caplog.text


def test_what_was_trained_after_the_named_checkpoint_is_set_aside(tmp_path, model, run):
    main(["--config", recipe(tmp_path, model, resume_from_checkpoint=str(run / "checkpoint-2"), max_steps=3)])
    assert [path.name for path in run.glob("earlier-*/*")] == ["checkpoint-4"]
    assert steps(run) == 3


def test_a_run_that_has_ended_needs_no_checkpoint(tmp_path, model, run, capsys, caplog):
    for name in ("checkpoint-2", "checkpoint-4"):
        shutil.rmtree(run / name)
    main(["--config", recipe(tmp_path, model, resume_from_checkpoint=True)])
    assert "has ended: nothing is left to train." in capsys.readouterr().out
    assert "no checkpoint to resume from" not in caplog.text
