"""Checks on a GPU that vLLM samples from the current policy in probes and in training, in either of its two modes.

    pip install 'passk-trl[vllm]'
    python examples/vllm_in_step.py colocate
    CUDA_VISIBLE_DEVICES=1 trl vllm-serve --model Qwen/Qwen2.5-0.5B-Instruct &
    CUDA_VISIBLE_DEVICES=0 python examples/vllm_in_step.py server

It trains for a few steps, with a learning rate large enough to move the policy far, and probes every second step.
For each call to vLLM it prints two distances between log-probabilities: from those that vLLM sampled by to the current
policy's, and from the current policy's to the start policy's. If vLLM is in step, the first distance is only rounding.
"""

import argparse
import sys
import tempfile
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig
from transformers import AutoModelForCausalLM
from trl import GRPOTrainer

from passk_trl import ConflictMonitor, PassKGRPOConfig, PassKGRPOTrainer
from passk_trl.gradients import ScoredRollouts
from passk_trl.gradients.causal_lm import CausalLM
from passk_trl.gradients.scored_rollouts import padded
from passk_trl.tasks import quickstart


@dataclass(frozen=True)
class Call:
    """
    A call to vLLM, with mean distances of log-probabilities over all tokens.

    Attributes:
        step (`int`): the training step.
        num_rollouts (`int`): rollouts for each prompt.
        from_policy (`float`): distance of vLLM's log-probabilities from the current policy's.
        from_start (`float`): distance of the current policy's log-probabilities from the start policy's.
    """

    step: int
    num_rollouts: int
    from_policy: float
    from_start: float


def watch_calls(trainer: GRPOTrainer, start: Any) -> list[Call]:
    """A list to which each call of the trainer to vLLM adds a [`Call`]. `start` is a copy of the start policy."""
    calls: list[Call] = []
    generate = trainer.vllm_generation.generate

    def generate_and_measure(
        prompts: list[list[int]], images: Any, num_generations: int, profiler: Any = None
    ) -> tuple:
        answer = generate(prompts, images, num_generations, profiler)
        _, completion_ids, log_probs, _ = answer
        sampled = torch.tensor([token[0] for completion in log_probs for token in completion])
        # A group needs two rollouts, so each completion is given twice. Equal ones get one row of the batch.
        rollouts = ScoredRollouts(prompts, [[ids, ids] for ids in completion_ids], torch.zeros(len(prompts), 2))
        batch = padded(
            rollouts, list(range(len(prompts))), trainer._tokenizer.pad_token_id, trainer.accelerator.device
        )
        kept = batch.attention_mask[:, -batch.completion_length :].bool()
        with torch.no_grad():
            current, *_ = trainer._get_per_token_logps_and_entropies(
                trainer.model, batch.input_ids, batch.attention_mask, batch.completion_length
            )
            at_start = CausalLM(start, trainer.temperature, nullcontext).log_probs(batch)
        current, at_start = (rows.view_as(kept)[kept].float().cpu() for rows in (current, at_start))
        distances = ((sampled - current).abs().mean(), (current - at_start).abs().mean())
        calls.append(Call(trainer.state.global_step, num_generations, *map(float, distances)))
        return answer

    trainer.vllm_generation.generate = generate_and_measure
    return calls


def is_in_step(calls: list[Call]) -> bool:
    """
    Whether the policy moved and vLLM followed it in each call.

    The policy moved if its distance from the start is over ten times the rounding. vLLM followed if it is within three
    times the rounding of the first call, or within a thousandth of the policy's distance from the start, since a call
    has few tokens and its rounding varies. One step behind would be a tenth of that distance or more.
    """
    rounding = calls[0].from_policy
    after_start = [call for call in calls if call.step > 0]
    return all(
        call.from_start > 10 * rounding and call.from_policy < max(3 * rounding, call.from_start / 1000)
        for call in after_start
    )


def ends_odd(completion_ids: list[list[int]], **kwargs: Any) -> list[float]:
    """A reward that any policy gets about half of the time, so that there is always something to learn."""
    return [float(ids[-1] % 2) for ids in completion_ids]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mode", choices=["colocate", "server"])
    parser.add_argument("--model", default="Qwen/Qwen2.5-0.5B-Instruct")
    parser.add_argument("--server-base-url", default="http://localhost:8000")
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--lora", action="store_true", help="train a LoRA adapter, which TRL merges for vLLM")
    options = parser.parse_args()
    mode = {"vllm_mode": "colocate", "vllm_gpu_memory_utilization": 0.3, "vllm_max_model_length": 256}
    if options.mode == "server":
        mode = {"vllm_mode": "server", "vllm_server_base_url": options.server_base_url}
    tasks = quickstart()
    with tempfile.TemporaryDirectory() as output_dir:
        trainer = PassKGRPOTrainer(
            options.model,
            ends_odd,
            PassKGRPOConfig(
                output_dir,
                pass_at_k=4,
                num_generations=8,
                per_device_train_batch_size=32,
                max_completion_length=32,
                max_steps=options.steps,
                learning_rate=options.learning_rate,
                lr_scheduler_type="constant",
                use_vllm=True,
                report_to=[],
                **mode,
            ),
            tasks["train"],
            peft_config=LoraConfig(r=16, target_modules="all-linear") if options.lora else None,
            callbacks=[ConflictMonitor(tasks["probe"], every=2, num_prompts=8, num_rollouts=6, at_start=True)],
        )
        start = AutoModelForCausalLM.from_pretrained(options.model, dtype=trainer.model.dtype)
        calls = watch_calls(trainer, start.to(trainer.accelerator.device))
        trainer.train()
    print(f"{'step':>5}{'rollouts':>10}{'from policy':>13}{'policy from start':>19}")
    for call in calls:
        print(f"{call.step:>5}{call.num_rollouts:>10}{call.from_policy:>13.5f}{call.from_start:>19.5f}")
    if not is_in_step(calls):
        sys.exit("vLLM is out of step, or the policy moved too little to see it: raise --learning-rate")
    print("vLLM is in step with the policy: in probes, after them, and in training.")


if __name__ == "__main__":
    main()
