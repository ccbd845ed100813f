"""An output directory keeps the settings of its run, and another run does not overwrite it by mistake."""

import json

import pytest
from trl import ModelConfig, ScriptArguments

import tiny
from passk_trl.cli.output_dir import check_output_dir, run_settings, write_settings


def settings_of(directory, **changes):
    arguments = tiny.training_args(directory, **{"pass_at_k": 2, **changes})
    settings = run_settings(ScriptArguments(dataset_name="data"), arguments, ModelConfig(model_name_or_path="model"))
    return arguments, settings | {"mitigation": None}


def test_settings_are_written_where_the_report_reads_them(tmp_path):
    arguments, settings = settings_of(tmp_path / "run")
    write_settings(arguments, settings)
    written = json.loads((tmp_path / "run" / "training_args.json").read_text())
    assert (written["pass_at_k"], written["model_name_or_path"], written["dataset_name"]) == (2, "model", "data")


def test_the_same_run_may_be_made_again_and_another_may_not(tmp_path):
    arguments, settings = settings_of(tmp_path)
    check_output_dir(arguments, settings, overwrite=False)  # nothing is there
    write_settings(arguments, settings)
    check_output_dir(arguments, settings, overwrite=False)
    check_output_dir(*settings_of(tmp_path, learning_rate=1e-3), overwrite=False)  # still the same run
    others, other_settings = settings_of(tmp_path, pass_at_k=4)
    with pytest.raises(ValueError, match="holds a run with pass_at_k=2, not 4"):
        check_output_dir(others, other_settings, overwrite=False)
    check_output_dir(others, other_settings, overwrite=True)


def test_settings_of_an_earlier_version_without_a_key_are_no_other_run(tmp_path):
    arguments, settings = settings_of(tmp_path)
    write_settings(arguments, {name: value for name, value in settings.items() if name != "mitigation"})
    check_output_dir(arguments, settings | {"mitigation": {"controller": "guard"}}, overwrite=False)


def test_a_file_that_is_not_json_is_named(tmp_path):
    (tmp_path / "training_args.json").write_text("{")
    with pytest.raises(ValueError, match=r"training_args\.json is not JSON"):
        check_output_dir(*settings_of(tmp_path), overwrite=False)
