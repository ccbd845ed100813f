"""A model card says what was trained, with what result, and credits each idea to those who had it."""

import pytest
from huggingface_hub import ModelCard

import tiny
from passk_trl import ConflictMonitor
from passk_trl.reports import model_card
from passk_trl.reports.page import verdict
from passk_trl.reports.run import run_so_far
from watched import trained


SAVED = {"save_strategy": "steps", "save_steps": 2, "max_steps": 2, "reward_funcs": tiny.starts_low}


def test_the_card_has_what_was_trained_and_measured(tmp_path):
    policy = tiny.policy()
    policy.config.name_or_path = "some/base"
    monitor = ConflictMonitor(tiny.questions(), every=2, num_prompts=12, num_rollouts=8)
    trainer = trained(tmp_path, monitor, policy=policy, **SAVED)
    card = ModelCard.load(tmp_path / "README.md")
    assert "pass-at-k" in card.data.tags
    assert "a method introduced in" not in card.text
    assert "- base model: `some/base`\n- objective: pass@4, with the advantages of `weighted_loo`\n" in card.text
    assert "- k = 4, with n = 8 rollouts of each prompt\n" in card.text
    run = run_so_far("pass@4", 4, trainer.state.log_history, monitor.records)
    assert f"- conflict: {verdict(run)}\n" in card.text
    credit = card.text.split("### Pass@k")[1].split("### Framework versions")[0]
    gradient, diagnosis = credit.split("2505.15201")[0], credit.split("2602.21189")[0].split("2107.03374")[-1]
    assert "policy gradient of pass@k with unbiased weights" in gradient
    assert "can lower pass@1" in diagnosis
    assert "TRL: " in card.text.split("### Framework versions")[1]


def test_the_card_has_pass_at_k_before_and_after(tmp_path):
    trainer = trained(tmp_path, **{**SAVED, "max_steps": 1, "save_strategy": "no"})
    for step, values in {0: (0.25, 0.5), 8: (0.3, 0.75)}.items():
        trainer.state.log_history.append(
            {"step": step, "eval_passk/pass@1": values[0], "eval_passk/pass@4": values[1]}
        )
    trainer.create_model_card()
    text = (tmp_path / "README.md").read_text()
    assert "| held-out prompts | pass@1 | pass@4 |\n" in text
    assert "| before training | 0.250 | 0.500 |\n| after step 8 | 0.300 | 0.750 |\n" in text
    assert "No report was recorded" in text


@pytest.mark.parametrize("options", [{"objective": "maxrl"}, {"pass_at_k": 1}])
def test_the_gradient_of_pass_at_k_is_credited_where_it_is_trained(tmp_path, options):
    trained(tmp_path, **{**SAVED, "pass_at_k": 1, **options})
    text = (tmp_path / "README.md").read_text()
    assert f"- objective: {options.get('objective', 'pass@1')}" in text
    assert "2505.15201" not in text
    assert "2602.21189" in text


def test_where_the_base_model_is_on_this_machine_is_not_told(tmp_path):
    policy = tiny.policy()
    (tmp_path / "base").mkdir()
    policy.config.name_or_path = str(tmp_path / "base")
    trained(tmp_path / "run", policy=policy, **SAVED)
    text = (tmp_path / "run" / "README.md").read_text()
    assert "- base model: `base`" in text
    assert str(tmp_path) not in text


def test_a_card_that_fails_does_not_end_training(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(model_card, "add_to_model_card", lambda *args: 1 / 0)
    trained(tmp_path, **SAVED)
    assert "has no part about pass@k in its model card; training goes on." in caplog.text
