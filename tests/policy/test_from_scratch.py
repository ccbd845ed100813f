"""The start policy: its tokenizer, its chat template, its cache, and how good and how imperfect it is."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from passk_trl.policy import build_policy, build_tokenizer, cached_policy, demonstration
from passk_trl.policy import from_scratch as policy
from passk_trl.tasks import ambiguous_arithmetic


@pytest.fixture
def short(monkeypatch):
    """A build of a few steps, for what does not depend on how well the policy is trained."""
    monkeypatch.setattr(policy, "QUESTIONS", 64)


def weights(path):
    return AutoModelForCausalLM.from_pretrained(path).state_dict()


def success_probabilities(path, rows):
    """Probability of the right rule and the right answer, exactly: only one completion says them."""
    tokenizer, model = AutoTokenizer.from_pretrained(path), AutoModelForCausalLM.from_pretrained(path)
    probabilities = []
    for row in rows:
        prompt = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=True)[
            "input_ids"
        ]
        completion = tokenizer(demonstration(row) + tokenizer.eos_token)["input_ids"]
        with torch.no_grad():
            logits = model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
        probabilities.append(logits.log_softmax(-1)[range(len(completion)), completion].sum().exp())
    return torch.stack(probabilities).double()


@pytest.mark.parametrize("text", ["Combine 57 and 23.", r"Difference \boxed{34}", "Naïve text,\n 3.14 and 数!"])
def test_tokenizer_encodes_any_text_and_back(text):
    tokenizer = build_tokenizer()
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_digits_are_single_tokens_and_a_completion_is_at_most_eight():
    tokenizer = build_tokenizer()
    longest = demonstration({"rule": "difference", "answer": 157}) + tokenizer.eos_token
    assert tokenizer.tokenize(longest) == ["Difference", "Ġ", r"\boxed{", "1", "5", "7", "}", "<|im_end|>"]


def test_skipping_special_tokens_keeps_the_answer():
    tokenizer = build_tokenizer()
    ids = tokenizer(r"Sum \boxed{80}<|im_end|><|endoftext|>")["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == r"Sum \boxed{80}"


def test_chat_template_prompt_is_a_prefix_of_the_conversation_and_marks_the_answer():
    tokenizer = build_tokenizer()
    question = [{"role": "user", "content": "Take 57 and 23."}]
    turns = [*question, {"role": "assistant", "content": r"Sum \boxed{80}"}]
    prompt = tokenizer.apply_chat_template(question, add_generation_prompt=True, tokenize=False)
    assert prompt == "<|im_start|>user\nTake 57 and 23.<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.apply_chat_template(turns, tokenize=False) == prompt + "Sum \\boxed{80}<|im_end|>\n"
    encoded = tokenizer.apply_chat_template(turns, return_dict=True, return_assistant_tokens_mask=True)
    answer = [token for token, mine in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if mine]
    assert tokenizer.decode(answer) == r"Sum \boxed{80}<|im_end|>"


def test_a_demonstration_can_be_wrong_by_ten_and_lack_the_box():
    row = {"rule": "difference", "answer": 34}
    assert demonstration(row) == r"Difference \boxed{34}"
    assert demonstration(row, slip=True) == r"Difference \boxed{44}"
    assert demonstration({"rule": "sum", "answer": 80}, slip=True) == r"Sum \boxed{70}"
    assert demonstration(row, boxed=False) == "Difference 34"


def test_saved_policy_is_what_trainers_expect(policy_path):
    tokenizer, model = AutoTokenizer.from_pretrained(policy_path), AutoModelForCausalLM.from_pretrained(policy_path)
    text = r"<|im_start|>user Set 57 against 23.<|im_end|> Sum \boxed{80}"
    assert tokenizer(text)["input_ids"] == build_tokenizer()(text)["input_ids"]
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")
    assert model.config.pad_token_id is None
    assert model.get_input_embeddings().padding_idx is None
    assert model.config.hidden_size // model.config.num_attention_heads == 32  # the least that vLLM takes on a CPU
    assert 50_000 < model.num_parameters() < 300_000
    generation = GenerationConfig.from_pretrained(policy_path)
    assert (generation.eos_token_id, generation.pad_token_id) == (tokenizer.eos_token_id, tokenizer.pad_token_id)


def test_policy_is_good_but_imperfect(policy_path):
    rows = ambiguous_arithmetic(200, split="test").to_list()
    p = success_probabilities(policy_path, rows)
    minority = torch.tensor([row["rule"] == "difference" for row in rows])
    assert 0.35 < p.mean() < 0.65
    assert 0.75 < (1 - (1 - p) ** 8).mean() < 0.92
    assert p[~minority].mean() > 0.5
    assert 0.02 < p[minority].mean() < 0.2


def test_policy_ends_its_turn(policy_path):
    tokenizer, model = AutoTokenizer.from_pretrained(policy_path), AutoModelForCausalLM.from_pretrained(policy_path)
    question = [{"role": "user", "content": "Work out 57 and 23."}]
    inputs = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_dict=True, return_tensors="pt")
    torch.manual_seed(0)
    sampled = model.generate(**inputs, do_sample=True, top_k=0, num_return_sequences=64, max_new_tokens=8)
    ended = (sampled[:, inputs["input_ids"].shape[1] :] == tokenizer.eos_token_id).any(1)
    assert ended.double().mean() > 0.9


@pytest.mark.usefixtures("short")
def test_same_seed_same_weights_other_seed_others(tmp_path):
    first, again, other = (
        weights(build_policy(tmp_path / name, seed, progress=False))
        for name, seed in (("first", 0), ("again", 0), ("other", 1))
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["model.embed_tokens.weight"], other["model.embed_tokens.weight"])


@pytest.mark.usefixtures("short")
def test_build_leaves_random_state_and_threads_alone(tmp_path):
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    build_policy(tmp_path / "policy", progress=False)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


@pytest.mark.usefixtures("short")
def test_build_refuses_a_folder_that_exists(tmp_path):
    with pytest.raises(FileExistsError, match="set path to a folder that does not"):
        build_policy(tmp_path)


@pytest.mark.usefixtures("short")
def test_cache_builds_once_and_ignores_what_a_killed_build_left(tmp_path, monkeypatch):
    (tmp_path / ".building-killed" / "policy").mkdir(parents=True)
    path = cached_policy(cache_dir=tmp_path, progress=False)
    assert (path / "model.safetensors").is_file()
    monkeypatch.setattr(policy, "build_policy", lambda *_: pytest.fail("built again"))
    assert cached_policy(cache_dir=tmp_path) == path


def test_cache_folder_follows_seed_code_and_xdg(tmp_path, monkeypatch):
    monkeypatch.setattr(policy, "build_policy", lambda path, *_: path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = cached_policy()
    assert path.parent == tmp_path / "passk-trl"
    assert cached_policy(seed=1) != path
    assert cached_policy(shown=replace(policy.AMBIGUOUS, epochs=12)) != path
    assert cached_policy(shown=replace(policy.AMBIGUOUS, slips={"sum": 0.04, "difference": 0.4})) != path


@pytest.mark.parametrize("name", ["arithmetic", "minority", "splits"])
def test_cache_folder_follows_the_code_of_the_task(tmp_path, monkeypatch, name):
    used = {thing.__module__ for thing in vars(policy.tasks).values() if hasattr(thing, "__module__")}
    ours = {module.rpartition(".")[2] for module in used if module.startswith("passk_trl.")}
    assert ours == {"arithmetic", "minority", "splits"}  # those of this test
    monkeypatch.setattr(policy, "build_policy", lambda path, *_: path)
    path = cached_policy(cache_dir=tmp_path)
    changed = tmp_path / "changed.py"
    changed.write_text("# other code\n")
    monkeypatch.setattr(f"passk_trl.tasks.{name}.__file__", str(changed))
    assert cached_policy(cache_dir=tmp_path) != path


@pytest.mark.usefixtures("short")
def test_a_build_that_finishes_second_keeps_the_first(tmp_path, monkeypatch):
    path, train = tmp_path / "policy", policy._train

    def train_while_another_finishes(*arguments):
        train(*arguments)
        path.mkdir()
        (path / "config.json").write_text("the first")

    monkeypatch.setattr(policy, "_train", train_while_another_finishes)
    assert build_policy(path, progress=False) == path
    assert [file.name for file in tmp_path.iterdir()] == ["policy"]
    assert (path / "config.json").read_text() == "the first"


def test_a_killed_build_leaves_no_policy(tmp_path):
    code = f"""
import os
from passk_trl.policy import from_scratch as policy
policy.QUESTIONS = 64
policy.PreTrainedTokenizerFast.save_pretrained = lambda *_: os.kill(os.getpid(), 9)  # the model is saved by then
policy.build_policy({str(tmp_path / "policy")!r}, progress=False)
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == -9
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".building-")
    assert (left / "policy" / "model.safetensors").is_file()
