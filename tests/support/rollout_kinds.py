"""Trainers whose rollouts are more than completions of a prompt: tools, an environment, a rollout function, images."""

import math
import random
from types import SimpleNamespace

import torch

import tiny
import vlm
from passk_trl import PassKGRPOTrainer


LENGTHS = {"max_completion_length": 10}

# A "+" ends a turn with a call of the tool; a "?" begins the next one.
_CALLS = {
    "defaults": {"role": "assistant"},
    "start_anchor": "?",
    "fields": {
        "tool_calls": {
            "open": "+",
            "repeats": True,
            "content": "text",
            "optional": True,
            "transform": {"type": "function", "function": {"name": "look", "arguments": {}}},
        },
        "content": {"content": "text", "optional": True},
    },
}

_CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['content'] }}{% for call in message['tool_calls'] or [] %}"
    "{{ call['function']['name'] }}{{ call['function']['arguments'] | tojson }}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}?{% endif %}"
)


def look() -> str:
    """Looks at the answer."""
    return "42-"


def ends_low(completions, **kwargs) -> list[float]:
    """1 where the policy's last message starts with a digit below 5 or a sign."""
    last = [completion[-1].get("content") or "" for completion in completions]
    return [float(text[:1] in tuple("01234-")) for text in last]


class Room:
    """An environment that shows each rollout another observation, and knows its reward."""

    def reset(self, **kwargs) -> str:
        self.looks = 0
        return "-" * random.randrange(3)

    def look(self) -> str:
        """Looks around."""
        self.looks += 1
        return "42"

    def get_reward(self) -> float:
        return float(self.looks > 0)


def uniform_rollouts(prompts, trainer) -> dict:
    """
    Tokens that have nothing to do with the policy, and in the middle some of an environment. Prompts may differ within
    a group.
    """
    tokens = len(tiny.CHARACTERS)
    prompt_ids = [[3 + random.randrange(tokens)] * random.randint(1, 3) for _ in prompts]
    lengths = [random.randint(4, 8) for _ in prompts]
    return {
        "prompt_ids": prompt_ids,
        "completion_ids": [[3 + random.randrange(tokens) for _ in range(length)] for length in lengths],
        "logprobs": [[-math.log(3 + tokens)] * length for length in lengths],
        "env_mask": [[1, 0, 0] + [1] * (length - 3) for length in lengths],
    }


def _calling_tools(output_dir, **options):
    policy = tiny.policy()
    tokenizer = tiny.tokenizer()
    tokenizer.response_template, tokenizer.chat_template = _CALLS, _CHAT_TEMPLATE
    policy.generation_config.eos_token_id = [1, tokenizer.convert_tokens_to_ids("+")]
    return _trainer(policy, tokenizer, output_dir, **options)


def with_tools(output_dir, **options):
    return _calling_tools(output_dir, parts={"tools": [look]}, reward_funcs=ends_low, **options)


def with_an_environment(output_dir, **options):
    return _calling_tools(output_dir, parts={"environment_factory": Room}, reward_funcs=[], **options)


def with_a_rollout_function(output_dir, policy=None, **options):
    policy = policy or tiny.policy()
    return _trainer(policy, tiny.tokenizer(), output_dir, parts={"rollout_func": uniform_rollouts}, **options)


def with_images(output_dir, **options):
    """Each second prompt has two of them. The vision tower trains too."""

    def several(row: dict, i: int) -> dict:
        return {"images": [row["image"]] * (1 + i % 2)}

    dataset = vlm.questions_with_images().map(several, with_indices=True, remove_columns="image")
    return _trainer(vlm.policy(tie_word_embeddings=False), vlm.processor(), output_dir, dataset, **options)


def corrected_as_of_vllm(output_dir, **options):
    """TRL's correction of what another engine sampled, at the level of rollouts, of which it masks some."""
    masking = {"vllm_importance_sampling_mode": "sequence_mask", "vllm_importance_sampling_clip_max": 1.05}
    trainer = with_a_rollout_function(output_dir, **masking, **options)
    trainer.use_vllm, trainer._last_loaded_step = True, -1
    trainer.vllm_generation = SimpleNamespace(sync_weights=lambda: None)
    return trainer


KINDS = {
    "tools": with_tools,
    "environment": with_an_environment,
    "rollout function": with_a_rollout_function,
    "images": with_images,
    "vLLM's correction": corrected_as_of_vllm,
}


def _trainer(policy, processor, output_dir, dataset=None, parts=None, reward_funcs=tiny.starts_low, **options):
    options = {"pass_at_k": 4, "max_steps": 3, "generation_batch_size": 64, **LENGTHS, **options}
    options.setdefault("gradient_accumulation_steps", 8)
    random.seed(0)
    torch.manual_seed(0)
    return PassKGRPOTrainer(
        policy,
        reward_funcs,
        tiny.training_args(output_dir, **options),
        tiny.questions() if dataset is None else dataset,
        processing_class=processor,
        **(parts or {}),
    )
