"""Nothing that is written or printed holds a secret: by its name, or by its look."""

import json
import logging
from dataclasses import replace
from types import SimpleNamespace

import pytest
import yaml
from accelerate import Accelerator

import tiny
from audits import audit_report
from evaluations import report as evaluation
from passk_trl import ConflictMonitor, files
from passk_trl.audit import write_audit
from passk_trl.cli.train import main
from passk_trl.evaluation import write_evaluation
from passk_trl.monitor.failures import Failures
from passk_trl.monitor.record_file import append_record
from passk_trl.records import read_records
from passk_trl.rollouts.blocks import RolloutBlocks
from passk_trl.withheld import is_secret, names_of_secrets, settings_without_secrets, text_without_secrets
from watched import trained


LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGH1234567890"
TOKEN = "hf_" + LETTERS[:34]
SECRETS = [
    TOKEN,
    f"sk-proj-{LETTERS[20:]}",
    f"glpat-{LETTERS[20:]}",
    f"ghp_{LETTERS[:36]}",
    "AKIA" + "ABCDEFGH12345678",
    f"xoxb-{LETTERS[34:]}",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_what_looks_like_a_secret_is_withheld(secret):
    for before, after in (("", ""), ("a ", " b"), ('{"a": "x\\n', '"}'), ("https://", "/b"), ("'", "'")):
        assert text_without_secrets(f"{before}{secret}{after}") == f"{before}(withheld){after}"
    for before in ("“", "中", "\x1b", "\b"):
        assert secret not in text_without_secrets(json.dumps(f"{before}{secret}"))


def test_the_user_and_the_password_of_an_address_are_withheld():
    assert text_without_secrets("http://me:pass@host:80/a") == "http://(withheld)@host:80/a"
    assert text_without_secrets("redis://:pass@host") == "redis://(withheld)@host"
    assert text_without_secrets(json.dumps("http://é:pässword@host")) == '"http://(withheld)@host"'


@pytest.mark.parametrize(
    "text",
    [
        "hf_hub_download",
        "risk-averse-and-well-behaved-policies",
        "sk-estimator-html-doc-link-container",
        "https://x.com:443?x=@y",
        "https://example.org:one,two@example.com",
        "a:b@c",
        "0" * 40,
        LETTERS,
    ],
)
def test_other_text_stays(text):
    assert text_without_secrets(text) == text


def test_a_setting_is_a_secret_by_its_name_too():
    forty_digits = "0123456789abcdef0123456789abcdef01234567"  # what a key of wandb looks like, and a commit
    for name in ("HF_TOKEN", "WANDB_API_KEY", "hub_token", "token", "AWS_SECRET_ACCESS_KEY", "db.password"):
        assert is_secret(name, forty_digits)
        assert not is_secret(name, None)
        assert not is_secret(name, True)
    for name in ("model_revision", "HF_TOKEN_PATH", "pad_token", "think_token", "stop_token", "max_new_tokens", "key"):
        assert not is_secret(name, forty_digits)
    settings = {"a": {"token": "x", "b": [TOKEN, 1]}, "c": f"see {TOKEN}", "d": 2}
    assert settings_without_secrets(settings) == {"a": {"b": ["(withheld)", 1]}, "d": 2}
    assert list(names_of_secrets(settings)) == ["a.token", "c"]


def recipe_with_secrets(directory) -> str:
    path = directory / "recipe.yaml"
    content = {
        "output_dir": str(directory),
        "use_cpu": True,
        "bf16": False,
        "hub_token": "my-own-token",
        "model_init_kwargs": {"token": "another-token", "low_cpu_mem_usage": True},
        "env": {
            "HF_TOKEN": "a-third-token",
            "WANDB_API_KEY": "0123456789abcdef" * 2,
            "MY_LEVEL": "3",
            "MY_OWN": TOKEN,
        },
    }
    path.write_text(yaml.safe_dump(content))
    return str(path)


def test_a_printed_recipe_names_secrets_and_leaves_them_out(tmp_path, monkeypatch, capsys):
    for name in ("HF_TOKEN", "WANDB_API_KEY", "MY_LEVEL", "MY_OWN"):
        monkeypatch.setenv(name, "")  # so that the recipe's values are undone
    with pytest.raises(SystemExit):
        main(["--config", recipe_with_secrets(tmp_path), "--print-config"])
    printed = capsys.readouterr().out
    assert not any(secret in printed for secret in ("my-own", "another", "a-third", "0123456789abcdef", TOKEN))
    again = yaml.safe_load(printed)
    assert again["env"] == {"MY_LEVEL": "3"}
    assert again["model_init_kwargs"] == {"low_cpu_mem_usage": True}
    names = ["env.HF_TOKEN", "env.MY_OWN", "env.WANDB_API_KEY", "hub_token", "model_init_kwargs.token"]
    first, _, listed = printed.splitlines()[0].partition(": ")
    assert first == "# left out, because they are secrets"
    assert sorted(listed.split(", ")) == names


@pytest.mark.parametrize(
    "mistake",
    [
        {"hub_token": ["my-own-token"]},
        {"env": "HF_TOKEN=my-own-token"},
        {"seed": TOKEN},
        {"dataset_name": f"./{TOKEN}"},
    ],
)
def test_a_mistake_is_told_without_the_secret(tmp_path, capsys, mistake):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({"output_dir": str(tmp_path), "use_cpu": True, "bf16": False, **mistake}))
    with pytest.raises(SystemExit):
        main(["--config", str(path), "--model_name_or_path", str(tmp_path / "none")])
    said = capsys.readouterr().err
    assert "my-own-token" not in said
    assert TOKEN not in said
    assert said.count("\n") == 1


def test_reports_and_records_hold_no_secret(tmp_path):
    texts = [f"use {TOKEN}"] * 16
    (tmp_path / "audit").mkdir()
    write_audit(
        tmp_path / "audit", replace(audit_report(), texts=texts, about={"model": f"https://me:{LETTERS}@host/m"})
    )
    said = write_evaluation(tmp_path / "evaluation", replace(evaluation(), models=[TOKEN, "b"]))
    monitor = ConflictMonitor(tiny.questions(), every=2, num_prompts=8, num_rollouts=5)
    trained(tmp_path / "run", monitor, reward_funcs=tiny.starts_low, max_steps=2)
    append_record(tmp_path / "run" / "conflict.jsonl", replace(monitor.records[0], texts={0: f"2+\n{TOKEN}"}))
    files.write(tmp_path / "any" / "file.txt", TOKEN)
    written = [path.read_text() for path in tmp_path.rglob("*") if path.suffix in (".md", ".json", ".jsonl", ".txt")]
    assert len(written) == 6
    assert not any(TOKEN in text or LETTERS in text for text in [said, *written])
    assert read_records(tmp_path / "run" / "conflict.jsonl")[-1]["texts"] == [[0, "2+\n(withheld)"]]


def test_the_settings_of_rollouts_are_kept_without_secrets_and_recognised_again(tmp_path):
    trainer = trained(tmp_path / "run", reward_funcs=tiny.starts_low, max_steps=1)
    for _ in range(2):  # the second time, they are compared with those on disk
        blocks = RolloutBlocks(
            trainer, tiny.questions(), tmp_path / "rollouts", 4, settings={"model": TOKEN, "token": "x"}
        )
    assert TOKEN not in (tmp_path / "rollouts" / "settings.json").read_text()
    assert json.loads((tmp_path / "rollouts" / "settings.json").read_text()) == json.loads(json.dumps(blocks.settings))


def test_a_failure_in_the_log_holds_no_secret(caplog):
    trainer = SimpleNamespace(accelerator=Accelerator(cpu=True))
    with caplog.at_level(logging.ERROR):
        Failures().log(trainer, RuntimeError(f"401 for {TOKEN}"), "step %d: its report failed", 3)
    assert TOKEN not in caplog.text
    assert "step 3: its report failed" in caplog.text
    assert "RuntimeError: 401 for (withheld)" in caplog.text
