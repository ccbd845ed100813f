"""The time and memory of a probe under each engine, compared with a plain pass and with the obvious alternatives.

    python benchmarks/probe.py [--engines single ddp zero3] [--hidden-size 256] [--layers 4] [--rounds 3]
    python benchmarks/probe.py --engines single --device cuda --dtype bfloat16 --hidden-size 1024 --layers 24

64 prompts x 16 rollouts of a random policy are divided over the ranks; generation is not measured. The plain pass is
TRL's: log-probabilities through its fused LM head and a backward pass into `.grad`, in batches of the same size. A
probe gives the interference at every k. All ways are timed in turn in the same process, for several rounds. A ratio is
the median over the rounds of a way's time to that of the plain pass in the same round. The obvious alternatives are
timed in the first round only. Memory is the most that a rank allocates at once beyond what it had before; on CPUs the
profiler measures it, in a separate run. DDP and ZeRO-3 run on two ranks; each rank has one thread.
"""

import argparse
import os
import socket
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from contextlib import nullcontext
from itertools import accumulate
from statistics import median
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from peft import LoraConfig, get_peft_model
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM
from trl.trainer.utils import add_fused_lm_head

from passk_trl.distributed.sharded_parameters import size_of
from passk_trl.gradients import ScoredRollouts, gram_matrix
from passk_trl.gradients.scored_rollouts import longest_first, padded
from passk_trl.interference import measure_interference


PROMPTS, ROLLOUTS, PROMPT_TOKENS, COMPLETION_TOKENS = 64, 16, 32, 32
FEW_PROMPTS, MANY_PROMPTS = 16, 256
MOE_PROMPTS, MOE_ROLLOUTS, MOE_ROUNDS = 4, 8, 5  # 2,048 tokens, in so many times the rounds
AT_A_TIME = 4  # prompts in a forward pass
KS = (1, 2, 4, 8)  # of the alternative that takes a backward pass for each k


def dense(options: argparse.Namespace) -> PreTrainedModel:
    config = Qwen2Config(**sizes(options), intermediate_size=4 * options.hidden_size)
    return Qwen2ForCausalLM(config).to(options.dtype)


def mixture(options: argparse.Namespace) -> PreTrainedModel:
    """Half as many layers, with most parameters in their experts: 91% of 10.4M by default."""
    experts = {"num_experts": 32, "num_experts_per_tok": 4, "moe_intermediate_size": options.hidden_size * 3 // 4}
    shape = sizes(options) | {"num_hidden_layers": max(1, options.layers // 2), "head_dim": 32}
    return Qwen3MoeForCausalLM(Qwen3MoeConfig(**shape, **experts)).to(options.dtype)


def sizes(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "vocab_size": options.vocabulary,
        "hidden_size": options.hidden_size,
        "num_hidden_layers": options.layers,
        "num_attention_heads": options.hidden_size // 32,
        "num_key_value_heads": max(1, options.hidden_size // 64),
        "tie_word_embeddings": False,
        "pad_token_id": None,
    }


class Policy:
    """A random policy under an engine."""

    def __init__(self, engine: str, kind: str, options: argparse.Namespace):
        torch.manual_seed(0)
        model = mixture(options) if kind == "MoE" else dense(options)
        add_fused_lm_head(model)
        if kind == "LoRA":
            model = get_peft_model(model, LoraConfig(r=16, target_modules="all-linear", init_lora_weights=False))
        PartialState(cpu=options.device == "cpu")  # Accelerator(cpu=True) would ignore DeepSpeed
        self.accelerator = Accelerator()
        self.is_zero = engine == "zero3"
        if self.is_zero:
            self.accelerator.state.deepspeed_plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = 1
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.0)
        self.wrapped, _ = self.accelerator.prepare(model, optimizer)
        self.name = kind
        self.trainable = sum(size_of(p) for p in model.parameters() if p.requires_grad)

    @property
    def device(self) -> torch.device:
        return self.accelerator.device

    @property
    def model(self) -> PreTrainedModel:
        return self.accelerator.unwrap_model(self.wrapped)

    def backward(self, loss: torch.Tensor, is_last: bool) -> None:
        if self.is_zero:
            self.wrapped.set_gradient_accumulation_boundary(is_last)
            self.wrapped.backward(loss, scale_wrt_gas=False)
        else:
            loss.backward()

    def forget(self) -> None:
        if self.is_zero:
            self.wrapped.optimizer.zero_grad()
        self.wrapped.zero_grad()


def random_rollouts(prompts: int, rollouts: int, vocabulary: int, rank: int, ranks: int) -> ScoredRollouts:
    generator = torch.Generator().manual_seed(rank)
    draw = lambda *shape: torch.randint(0, vocabulary, shape, generator=generator).tolist()  # noqa: E731
    share = prompts // ranks
    success_NG = torch.randint(0, 2, (share, rollouts), generator=generator)
    return ScoredRollouts(draw(share, PROMPT_TOKENS), draw(share, rollouts, COMPLETION_TOKENS), success_NG)


# The ways. -----

Way = Callable[[Policy, ScoredRollouts], None]


def forward_only(policy: Policy, rollouts: ScoredRollouts) -> None:
    """The forward pass of one batch, for the memory that it keeps for the backward pass."""
    batch = padded(rollouts, list(range(AT_A_TIME)), 0, policy.device)
    output = policy.model(batch.input_ids, batch.attention_mask, use_cache=False, logits_to_keep=1)
    del output


def plain(policy: Policy, rollouts: ScoredRollouts) -> None:
    order = longest_first(rollouts)
    for first in range(0, len(order), AT_A_TIME):
        is_last = first + AT_A_TIME >= len(order)
        batch = padded(rollouts, order[first : first + AT_A_TIME], 0, policy.device)
        quiet = hasattr(policy.wrapped, "no_sync") and not policy.is_zero and not is_last
        with policy.wrapped.no_sync() if quiet else nullcontext():
            output = policy.wrapped(batch.input_ids, batch.attention_mask, labels=labels(batch), fused_lm_head=True)
            log_probs_BK = batch.group(output.log_probs[:, -batch.completion_length :])
            policy.backward((log_probs_BK * batch.token_weights_BK).sum(), is_last)
    policy.forget()


def a_backward_for_each_k(policy: Policy, rollouts: ScoredRollouts) -> None:
    for _ in KS:
        plain(policy, rollouts)


def probe(store: str, method: str = "activations") -> Way:
    def run(policy: Policy, rollouts: ScoredRollouts) -> None:
        gram = gram_matrix(policy.model, rollouts, 0, store=store, method=method, batch_size=AT_A_TIME)
        num_correct = torch.cat([rollouts.num_correct_N] * policy.accelerator.num_processes)
        measure_interference(gram.gram_MNN, num_correct, rollouts.num_rollouts)

    return run


def torchjd(policy: Policy, rollouts: ScoredRollouts) -> None:
    from torchjd.autogram import Engine

    batch = padded(rollouts, list(range(rollouts.num_prompts)), 0, policy.device)
    engine = Engine(policy.model, batch_dim=0)
    logits = policy.model(batch.input_ids, batch.attention_mask, use_cache=False).logits
    log_probs = logits[:, -batch.completion_length - 1 : -1].log_softmax(dim=-1)
    targets = batch.input_ids[:, -batch.completion_length :, None]
    weights = batch.token_weights_BK.view(len(batch.input_ids), -1)
    losses = (log_probs.gather(-1, targets).squeeze(-1) * weights).sum(dim=-1)
    gram = engine.compute_gramian(losses)
    gram.unflatten(0, (-1, ROLLOUTS)).unflatten(2, (-1, ROLLOUTS)).sum(dim=(1, 3))


def labels(batch: Any) -> torch.Tensor:
    ids = batch.input_ids.clone()
    ids[:, : -batch.completion_length] = -100
    return ids


# Time and memory. -----


def seconds(way: Way, policy: Policy, rollouts: ScoredRollouts) -> float:
    synchronize = torch.cuda.synchronize if policy.device.type == "cuda" else lambda: None
    policy.accelerator.wait_for_everyone()
    synchronize()
    began = time.perf_counter()
    way(policy, rollouts)
    synchronize()
    policy.accelerator.wait_for_everyone()
    return time.perf_counter() - began


def megabytes(way: Way, policy: Policy, rollouts: ScoredRollouts) -> float:
    """The most that this rank allocates at once, beyond what it had before."""
    if policy.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        way(policy, rollouts)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        way(policy, rollouts)
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    return max(accumulate(event.nbytes() for event in sorted(events, key=lambda event: event.start_ns()))) / 2**20


# The table. -----


def measure(rank: int, engine: str, ranks: int, port: int, options: argparse.Namespace) -> None:
    if ranks > 1:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks)}
        os.environ |= {"LOCAL_WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    if engine == "zero3":
        import deepspeed

        os.environ |= {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}
        # All ranks would compile it at first use; gloo does not need it.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    warnings.simplefilter("ignore")  # of torch and deepspeed about each other
    torch.set_num_threads(1)
    options.dtype = getattr(torch, options.dtype)
    few, medium, many, of_moe = (
        random_rollouts(prompts, rollouts, options.vocabulary, rank, ranks)
        for prompts, rollouts in (
            (FEW_PROMPTS, ROLLOUTS),
            (PROMPTS, ROLLOUTS),
            (MANY_PROMPTS, ROLLOUTS),
            (MOE_PROMPTS, MOE_ROLLOUTS),
        )
    )

    def line(way: str, *cells: str) -> None:
        if rank == 0:
            print(f"{engine:<8}{policy.name:<6}{way:<34}" + "".join(f"{cell:>10}" for cell in cells), flush=True)

    def title() -> None:
        if rank == 0:
            size, device = f"{policy.trainable:,} parameters", policy.device.type
            print(f"\n{engine}, {policy.name}: {ranks} process(es), {size}, {options.dtype}, {device}")

    def compare(obvious: dict[str, Way], timed: ScoredRollouts, rounds: int, at_many: str = "") -> None:
        probes = {"probe, sketch": probe("sketch"), "probe, exact": probe("exact")}
        ways = {"plain forward and backward": plain, **probes, **obvious}
        at_few = {name: f"{megabytes(way, policy, few):.0f}" for name, way in ways.items()}  # the first run warms up
        taken: dict[str, list[float]] = defaultdict(list)
        for number in range(rounds):
            for name, way in ways.items():
                if number == 0 or name not in obvious:
                    taken[name].append(seconds(way, policy, timed))
        for name, way in ways.items():
            ratio = median(t / base for t, base in zip(taken[name], taken["plain forward and backward"], strict=False))
            many_too = f"{megabytes(way, policy, many):.0f}" if name == at_many else ""
            line(name, f"{median(taken[name]):.2f}", f"{ratio:.2f}", at_few[name], many_too)

    policy = Policy(engine, "all", options)
    title()
    obvious = {
        f"a backward for each of {len(KS)} k": a_backward_for_each_k,
        "N stored gradients of autograd": probe("exact", "parameters"),
    }
    compare(obvious if engine == "single" else {}, medium, options.rounds, at_many="probe, sketch")
    if engine == "single" and not options.no_torchjd:
        of_few = seconds(plain, policy, few)
        taken = seconds(torchjd, policy, few)
        line(
            f"TorchJD autogram, {FEW_PROMPTS} prompts",
            f"{taken:.2f}",
            f"{taken / of_few:.2f}",
            f"{megabytes(torchjd, policy, few):.0f}",
        )
    line("activations of one batch", "", "", f"{megabytes(forward_only, policy, few):.0f}")
    policy = Policy(engine, "LoRA", options)
    compare({}, medium, options.rounds)
    policy = Policy(engine, "MoE", options)
    title()
    compare({}, of_moe, MOE_ROUNDS * options.rounds)
    policy.accelerator.end_training()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engines", nargs="+", choices=["single", "ddp", "zero3"], default=["single", "ddp", "zero3"])
    parser.add_argument("--hidden-size", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--vocabulary", type=int, default=1024)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-torchjd", action="store_true", help="do not measure TorchJD, which needs most memory")
    options = parser.parse_args()
    print(
        f"{PROMPTS} prompts x {ROLLOUTS} rollouts x ({PROMPT_TOKENS} + {COMPLETION_TOKENS}) tokens, "
        f"{AT_A_TIME} prompts at a time"
    )
    columns = ("seconds", "ratio", f"MB N={FEW_PROMPTS}", f"MB N={MANY_PROMPTS}")
    print(f"{'engine':<8}{'of':<6}{'':<34}" + "".join(f"{column:>10}" for column in columns))
    for engine in options.engines:
        ranks = 1 if engine == "single" else 2
        os.environ["KINETO_LOG_LEVEL"] = "99"  # else the profiler writes to stderr when it starts and stops
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        torch.multiprocessing.spawn(measure, (engine, ranks, port, options), nprocs=ranks)


if __name__ == "__main__":
    main()
