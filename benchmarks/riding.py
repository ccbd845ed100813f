"""What a ride adds to training: steps with it and without it, in turn, in one run.

    python benchmarks/riding.py                                    a random policy of 4.5M parameters, three engines
    OMP_NUM_THREADS=2 python benchmarks/riding.py --policies smollm2 --engines single
    python benchmarks/riding.py --policies 256 512 1024 2048 --engines single        hidden sizes of a random policy

A random policy is given random rollouts of 32 + 32 tokens, so no time goes into generation. SmolLM2-135M generates
its own, on the divisibility task. A step has 4 prompts × 16 rollouts on each rank and trains for pass@8. Of each pair
of neighbouring steps one rides. A ratio is the median over pairs, of the time of forward and backward pass and of the
whole step. The monitor's own pass over rollouts without advantage counts in both. Reports are timed apart, on a window
of random rows: they come every few steps. DDP and ZeRO-3 run on two ranks; each rank of these has one thread.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from statistics import median
from typing import Any

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM, TrainerCallback

from passk_trl import ConflictMonitor, PassKGRPOConfig, PassKGRPOTrainer
from passk_trl.interference.measuring import report_of_pairs
from passk_trl.monitor.sketches import RIDE_SKETCHES
from passk_trl.monitor.window import Block, RiddenPrompts
from passk_trl.policy import cached_smollm2
from passk_trl.rewards import load_rewards
from passk_trl.tasks import divisibility_splits


sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

import engines
from ranks import run_ranks


PROMPTS, ROLLOUTS, TOKENS, VOCABULARY = 4, 16, 32, 1024
FIRST_BLOCK = 16  # prompts on one rank: two riding steps and the small rest
WINDOWS = (256, 1024, 2048, 4096, 8192)


class EveryOther(TrainerCallback):
    """Lets every other step ride, and times the steps, and what of them is not generation."""

    def __init__(
        self, trainer: PassKGRPOTrainer, clock: Callable[[], float] = time.perf_counter, gram: str = "sketch"
    ):
        self._clock, self._generation = clock, 0.0
        self.steps: list[tuple[bool, float, float]] = []  # rides, seconds, seconds without generation
        generate = trainer._generate_and_score_completions

        def timed(inputs: Any) -> Any:
            began = clock()
            batch = generate(inputs)
            self._generation += clock() - began
            return batch

        trainer._generate_and_score_completions = timed  # before the monitor joins, whose own pass is not generation
        self.monitor = ConflictMonitor(ride=True, window=2048, every=10_000, gram=gram).attach(trainer)
        trainer.add_callback(self)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        rider = self.monitor._rider
        if state.global_step == 0:
            self._gradients = rider._gradients
            rider.window._wanted = FIRST_BLOCK  # so that most steps have sketches that were sized for the window
        self._rides = (state.global_step // 2 + state.global_step) % 2 == 0  # ride, plain, plain, ride, …
        rider._gradients = self._gradients if self._rides else None
        self._generation, self._began = 0.0, self._clock()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        taken = self._clock() - self._began
        self.steps.append((self._rides, taken, taken - self._generation))

    def pairs(self) -> list[tuple[tuple[float, float], tuple[float, float]]]:
        """Seconds of the riding step and of the plain one, of each pair but the first: the step's, and its passes'."""
        pairs = zip(self.steps[2::2], self.steps[3::2], strict=False)
        ordered = [sorted(pair, reverse=True) for pair in pairs]
        return [(ride[1:], plain[1:]) for ride, plain in ordered]

    def ratios(self) -> list[tuple[float, float]]:
        """Riding to plain of each pair of steps but the first, of the passes and of the step."""
        return [(ride[1] / plain[1], ride[0] / plain[0]) for ride, plain in self.pairs()]


class EveryOthersMemory(EveryOther):
    """The same, with the most memory that each step takes beyond what there was before it, in MiB."""

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        super().on_step_begin(args, state, control, **kwargs)
        self._profile = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True)
        self._profile.__enter__()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._profile.__exit__(None, None, None)
        events = [each for each in self._profile.profiler.kineto_results.events() if each.name() == "[memory]"]
        events.sort(key=lambda event: event.start_ns())
        peak = max(accumulate(event.nbytes() for event in events)) / 2**20
        self.steps.append((self._rides, peak, peak))

    def added(self) -> list[float]:
        """By how much a riding step takes more than its plain neighbour."""
        return [ride[0] - plain[0] for ride, plain in self.pairs()]


def tokenizer() -> PreTrainedTokenizerFast:
    words = {f"t{i}": i for i in range(VOCABULARY)}
    tokens = Tokenizer(models.WordLevel(words, unk_token="t0"))
    tokens.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokens, pad_token="t0", eos_token="t1", unk_token="t0")


def random_rollouts(prompts: list, trainer: Any) -> dict[str, list]:
    of_prompts = torch.randint(2, VOCABULARY, (len(prompts) // ROLLOUTS, TOKENS)).repeat_interleave(ROLLOUTS, dim=0)
    completions = torch.randint(2, VOCABULARY, (len(prompts), TOKENS)).tolist()
    return {
        "prompt_ids": of_prompts.tolist(),
        "completion_ids": completions,
        "logprobs": [[0.0] * TOKENS for _ in completions],
    }


def one_in_four(completion_ids: list, **kwargs: Any) -> list[float]:
    return [float(ids[0] % 4 == 0) for ids in completion_ids]


def arguments(folder: str, steps: int, **options: Any) -> PassKGRPOConfig:
    return PassKGRPOConfig(
        folder,
        **{
            "use_cpu": not torch.cuda.is_available(),
            "bf16": torch.cuda.is_available(),
            "gradient_checkpointing": False,
            **options,
        },
        pass_at_k=8,
        num_generations=ROLLOUTS,
        per_device_train_batch_size=PROMPTS * ROLLOUTS,
        max_steps=steps,
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        report_to=[],
    )


def of_random_policy(hidden_size: int, folder: str, steps: int, **options: Any) -> PassKGRPOTrainer:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=hidden_size,
        intermediate_size=4 * hidden_size,
        num_hidden_layers=4,
        num_attention_heads=hidden_size // 32,
        num_key_value_heads=max(1, hidden_size // 64),
        tie_word_embeddings=False,
        pad_token_id=None,
    )
    data = Dataset.from_list([{"prompt": f"t{2 + i % 1000}"} for i in range(4096)])
    return PassKGRPOTrainer(
        Qwen2ForCausalLM(config),
        one_in_four,
        arguments(folder, steps, max_completion_length=TOKENS, **options),
        data,
        processing_class=tokenizer(),
        rollout_func=random_rollouts,
    )


def of_smollm2(folder: str, steps: int, **options: Any) -> PassKGRPOTrainer:
    args = arguments(folder, steps, max_completion_length=2, **options)
    data = divisibility_splits()["train"]
    return PassKGRPOTrainer(str(cached_smollm2()), load_rewards(["first_line_reward"]), args, data)


def trainer_of(policy: str, folder: str, steps: int, **options: Any) -> PassKGRPOTrainer:
    if policy == "smollm2":
        return of_smollm2(folder, steps, **options)
    return of_random_policy(int(policy), folder, steps, **options)


def measured(policy: str, engine: str, steps: int) -> list[tuple[float, float]]:
    """Of each pair of steps, riding to plain: the passes, and the whole step."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_of(policy, folder, steps, **engines.arguments(engine))
        times = EveryOther(trainer)
        trainer.train()
    return times.ratios()


def megabytes(policy: str, checkpointing: bool, steps: int = 12) -> list[float]:
    """Of each pair of steps on one process, the memory that riding adds, in MiB."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_of(policy, folder, steps, gradient_checkpointing=checkpointing)
        memory = EveryOthersMemory(trainer)
        trainer.train()
    return memory.added()


def report_seconds(
    window: int, row: tuple[int, int] = (RIDE_SKETCHES, 270 * 8), clock: Callable[[], float] = time.perf_counter
) -> float:
    """Of a report on so many prompts, by default with as many sketches and numbers as of 270 parameters at first."""
    rows = torch.randn(window, *row)
    correct = torch.randint(1, ROLLOUTS, (window,)).tolist()
    block = Block()
    block.add(RiddenPrompts(0, correct, ROLLOUTS, [1.0] * window, list(range(window)), rows), window)
    began = clock()
    report_of_pairs(block.pair_sums(torch.device("cpu")), torch.arange(1.0, ROLLOUTS, dtype=torch.float64))
    return clock() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--policies", nargs="+", default=["256"], help="smollm2, or hidden sizes of random policies.")
    parser.add_argument("--engines", nargs="+", default=["single", "ddp", "zero3"], choices=engines.ENGINES)
    parser.add_argument("--steps", type=int, default=22, help="Steps of a run; the first two are not counted.")
    parser.add_argument("--memory", action="store_true", help="Measure the memory that riding adds on one process.")
    parser.add_argument("--reports", action="store_true", help="Time reports on windows of several sizes too.")
    options = parser.parse_args()
    print(f"{'policy':>8}{'engine':>8}{'passes':>9}{'from':>7}{'to':>7}{'step':>7}", flush=True)
    for policy in options.policies:
        for engine in options.engines:
            if engine == "single":
                ratios = measured(policy, engine, options.steps)
            else:
                with tempfile.TemporaryDirectory() as folder:
                    environment = engines.environment(engine, Path(folder))
                    task = measured, policy, engine, options.steps
                    ratios = run_ranks(*task, environment=environment, timeout=1800)[0]
            passes, step = zip(*ratios, strict=True)
            row = (median(passes), min(passes), max(passes), median(step))
            print(f"{policy:>8}{engine:>8}" + "".join(f"{each:>{9 - 2 * (i > 0)}.3f}" for i, each in enumerate(row)))
    for policy in options.policies if options.memory else ():
        for checkpointing in (False, True):
            added = megabytes(policy, checkpointing)
            said = f"{median(added):.1f} MiB ({min(added):.1f} to {max(added):.1f})"
            print(f"memory, {policy}{', with gradient checkpointing' if checkpointing else ''}: {said}", flush=True)
    for window in WINDOWS if options.reports else ():
        print(f"a report on {window} prompts: {report_seconds(window):.2f} s", flush=True)


if __name__ == "__main__":
    main()
