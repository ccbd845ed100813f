"""Measures every family of causal language models in transformers, and writes docs/models.md.

OMP_NUM_THREADS=1 python docs/make_models.py
"""

import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from passk_trl.gradients import ScoredRollouts, gram_matrix


DOCS = Path(__file__).parent
sys.path.append(str(DOCS.parent / "tests" / "support"))

import zoo  # noqa: E402
from zoo_configs import LEFT_OUT  # noqa: E402


ROUNDS = 5
LONG = {"prompts": 4, "rollouts": 8, "prompt_length": 16, "completion_length": 32}

PAD = 0

PAGE = """\
# Models

transformers {version} has {all} families of causal language models. For {families} of them, the Gram matrix of
per-prompt [gradients](api/gradients.md) was measured and compared with autograd's. [The others](#left-out) are left
out.

Each family is built by its own code from a tiny random config: two layers, or one of each kind, windows shorter than
the rollouts, and no parameter at zero or one. All ran on one CPU core in float32.

- **Parameters:** the trainable numbers of the tiny model. The gradients cover all of them.
- **Closed form:** the share of them whose gradient is formed from a layer's input and the gradient at its output. A
  real model has less in norms and convolutions, and more in linear layers and experts.
- **In-graph:** the share whose gradient autograd forms, in the same backward pass.
- **Error:** of the Gram matrix of {prompts} prompts of different lengths in padded batches, relative to autograd's
  with one backward pass for each rollout, alone and without padding. The largest is {largest}.
- **Cost:** processor time of the Gram matrix relative to one forward and backward pass over the same rollouts. Here
  they are {N} prompts with {n} rollouts of {T} tokens each; medians of {rounds} rounds. The median over the families
  is {median_cost}. The tensors are so small that the number of operations decides, and what a call does once
  counts as much as the passes. So it compares families, and says little about a real model.

| family | model class | parameters | closed form | in-graph | error | cost |
|---|---|---|---|---|---|---|
{rows}

## Left out

| family | reason |
|---|---|
{reasons}

`python docs/make_models.py` measures all of it and writes this page. A test measures the error of each family again,
and fails if transformers has a family that is in neither table.
"""


@dataclass(frozen=True)
class Measured:
    """One family's row."""

    parameters: int
    in_graph: int
    error: float
    cost: float


def main() -> None:
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    measured = {family: measure(family) for family in zoo.FAMILIES}
    (DOCS / "models.md").write_text(page(measured), encoding="utf-8")


def measure(family: str) -> Measured:
    model, data = zoo.tiny_model(family), zoo.rollouts()
    result = gram_matrix(model, data, PAD)
    assert result.coverage.fraction == 1, family
    expected_NN = zoo.gram_of(zoo.gradients_one_by_one(model, data))
    error = float((result.gram_NN - expected_NN).norm() / expected_NN.norm())
    measured = Measured(result.coverage.total, result.coverage.in_graph, error, relative_cost(model))
    print(f"{family}: {measured}", flush=True)
    return measured


def relative_cost(model: PreTrainedModel) -> float:
    """Time of the Gram matrix in forward and backward passes over the same rollouts, in turns."""
    data = long_rollouts()
    rounds = [(seconds(gram_matrix, model, data, PAD), seconds(plain_pass, model, data)) for _ in range(1 + ROUNDS)]
    grams, passes = zip(*rounds[1:], strict=True)
    return statistics.median(grams) / statistics.median(passes)


def long_rollouts() -> ScoredRollouts:
    """Rollouts of one length, half of which are right."""
    generator = torch.Generator().manual_seed(0)
    shape = (LONG["prompts"], LONG["rollouts"], LONG["completion_length"])
    prompts = torch.randint(2, zoo.SIZES["vocab_size"], (LONG["prompts"], LONG["prompt_length"]), generator=generator)
    completions = torch.randint(2, zoo.SIZES["vocab_size"], shape, generator=generator)
    success_NG = (torch.arange(LONG["rollouts"]) % 2).expand(LONG["prompts"], -1)
    return ScoredRollouts(prompts.tolist(), completions.tolist(), success_NG)


def plain_pass(model: PreTrainedModel, data: ScoredRollouts) -> None:
    """One forward and one backward pass over all rollouts in one batch."""
    pairs = zip(data.prompt_ids, data.completion_ids, strict=True)
    input_ids = torch.tensor([prompt + completion for prompt, group in pairs for completion in group])
    log_probabilities = model(input_ids=input_ids, use_cache=False).logits[:, :-1].log_softmax(-1)
    scores = log_probabilities.gather(-1, input_ids[:, 1:, None])[:, -LONG["completion_length"] :].sum(dim=(1, 2))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    torch.autograd.grad(scores @ data.score_weights_NG.flatten().float(), trained, allow_unused=True)


def seconds(function: Callable[..., Any], *args: Any) -> float:
    """Of the processor, so that other processes do not count."""
    start = time.process_time()
    function(*args)
    return time.process_time() - start


def page(measured: dict[str, Measured]) -> str:
    """The page with what was measured."""
    return PAGE.format(
        families=len(measured),
        all=len(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES),
        version=transformers.__version__,
        prompts=zoo.rollouts().num_prompts,
        largest=f"{max(each.error for each in measured.values()):.0e}",
        N=LONG["prompts"],
        n=LONG["rollouts"],
        T=LONG["prompt_length"] + LONG["completion_length"],
        rounds=ROUNDS,
        median_cost=f"{statistics.median(each.cost for each in measured.values()):.1f}",
        rows="\n".join(map(row, measured, measured.values())),
        reasons=left_out_rows(),
    )


def row(family: str, measured: Measured) -> str:
    in_graph = measured.in_graph / measured.parameters
    shares = f"{percent(1 - in_graph)} | {percent(in_graph)}"
    model_class = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[family]
    numbers = f"{measured.parameters:,} | {shares} | {measured.error:.0e} | {measured.cost:.1f}"
    return f"| `{family}` | `{model_class}` | {numbers} |"


def percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def left_out_rows() -> str:
    return "\n".join(f"| `{family}` | {reason} |" for family, reason in sorted(LEFT_OUT.items()))


if __name__ == "__main__":
    main()
