"""The LM head's own gradient, by a pass of its own and on a ride."""

import pytest
import torch
from peft import LoraConfig
from transformers import Gemma2Config, Gemma2ForCausalLM, TrainerCallback

import tiny
from passk_trl import ConflictMonitor, PassKGRPOTrainer
from passk_trl.gradients import gram_matrix
from passk_trl.monitor.ridden_batch import RiddenBatch
from policies import GROUPED, qwen, relative_error, rollouts


def test_logits_in_blocks_are_the_same(monkeypatch):
    model, data = qwen(), rollouts()
    whole = gram_matrix(model, data, 0).gram_NN
    monkeypatch.setattr("passk_trl.gradients.head_gradients._LOGITS_AT_A_TIME", 0)
    for tokens in (3, 70):  # parts of a prompt; a few prompts
        monkeypatch.setattr("passk_trl.gradients.head_gradients._FEWEST_TOKENS_AT_A_TIME", tokens)
        assert relative_error(gram_matrix(model, data, 0).gram_NN, whole) < 1e-5


def gemma2():
    torch.manual_seed(0)
    vocabulary = tiny.policy().config.vocab_size
    shape = {**GROUPED, "vocab_size": vocabulary, "head_dim": 8, "eos_token_id": 1, "pad_token_id": 0}
    return Gemma2ForCausalLM(Gemma2Config(**shape, final_logit_softcapping=2.0, attn_implementation="eager"))


POLICIES = {
    "tied": tiny.policy,
    "untied": lambda: tiny.policy(tie_word_embeddings=False),
    "capped": gemma2,
}


class FirstGradient(TrainerCallback):
    """Keeps the gradient of the first step, before the optimizer takes it."""

    def on_pre_optimizer_step(self, args, state, control, model, **kwargs):
        if state.global_step == 0:
            self.of = {name: p.grad.flatten().clone() for name, p in model.named_parameters() if p.grad is not None}


def build(output_dir, policy, *callbacks, peft=None):
    # For pass@1 each advantage is in proportion to the weight of the rollout's score, and so is the loss's gradient.
    args = tiny.training_args(output_dir, pass_at_k=1, loss_type="dr_grpo", max_steps=1, temperature=0.8)
    dataset, tokenizer = tiny.questions(), tiny.tokenizer()
    return PassKGRPOTrainer(
        policy,
        tiny.starts_low,
        args,
        dataset,
        processing_class=tokenizer,
        callbacks=list(callbacks),
        peft_config=peft,
    )


@pytest.mark.parametrize("name", POLICIES)
def test_what_rides_adds_up_to_the_gradient_that_the_optimizer_gets(name, tmp_path, monkeypatch):
    rows, monitor, first = [], ConflictMonitor(ride=True, window=8, every=1), FirstGradient()
    share = RiddenBatch.share

    def keep(batch, rows_PMD, missed_P):
        rows.append(rows_PMD.sum(dim=(0, 1)))
        return share(batch, rows_PMD, missed_P)

    monkeypatch.setattr(RiddenBatch, "share", keep)
    build(tmp_path, POLICIES[name](), monitor, first).train()
    gradients = monitor._rider._gradients
    assert gradients.coverage.left_out == ()
    trained = -torch.cat([first.of[each] for each in gradients._shapes])
    factor = trained.norm() / rows[0].norm()
    assert torch.allclose(rows[0] * factor, trained, rtol=1e-3, atol=1e-4 * float(trained.abs().max()))
    of_head = "model.embed_tokens.weight" if name != "untied" else "lm_head.weight"
    assert first.of[of_head].norm() > 0.1 * trained.norm()


def test_a_wrapped_head_is_left_out(tmp_path):
    adapter = LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["lm_head"])
    monitor = ConflictMonitor(ride=True)
    build(tmp_path, tiny.policy(tie_word_embeddings=False), monitor, peft=adapter).train()
    gradients = monitor._rider._gradients
    assert any("lm_head" in name for name in gradients.coverage.left_out)
    assert not any("lm_head" in name for name in gradients._shapes)
